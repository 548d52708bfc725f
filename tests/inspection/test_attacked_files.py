"""Model files that somebody has tampered with: refused in a moment, by one message."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
from adpt.errors import BadImageError, UserError, WeightsError
from adpt.inspection import UnreadImage
from adpt.methods import Scores
from adpt.projector import FeatureProjector
from adpt.weights import load_projector, save_projector

BACKBONE = {"name": "efficientnet_lite0", "levels": [2, 3]}


@pytest.fixture(scope="module")
def inspector(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> adpt.Inspector:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("projector") / "p.safetensors"
    save_projector(FeatureProjector([40, 112], num_heads=4, num_references=8), path)
    return adpt.Inspector.fit(
        photos / "train" / "good", image_size=48, backbone=BACKBONE, projector=path, device="cpu"
    )


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], str | None]


def tampered(inspector: adpt.Inspector, path: Path, change: Change) -> Path:
    """A file whose content or tensors were changed, the content as text if it returns any."""
    inspector.save(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    content = json.loads(header["content"])
    text = change(content, tensors) or json.dumps(content)
    save_file(tensors, path, header | {"content": text})
    return path


def setting(name: str, value: Any) -> Change:
    def change(content: dict[str, Any], _: Any) -> None:
        *parts, last = name.split(".")
        for part in parts:
            content = content[part]
        content[last] = value

    return change


def tensor(start: str, value: float) -> Change:
    def change(_: Any, tensors: dict[str, torch.Tensor]) -> None:
        name = next(n for n in tensors if n.startswith(start) and tensors[n].is_floating_point())
        tensors[name].view(-1)[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("threshold.value", math.nan), "threshold: nan is no finite number"),
        (setting("threshold.value", math.inf), "threshold: inf is no finite number"),
        (setting("threshold.value", "12"), "threshold: '12' is no finite number"),
        (setting("threshold.value", None), "threshold: None is no finite number"),
        (setting("threshold.value", True), "threshold: True is no finite number"),
        (setting("threshold.origin", 3), "does not hold a whole model"),
        (setting("settings.normal_map", [0.5, math.nan]), "0.5, nan is no finite number"),
        (setting("settings.image_size", 10**7), "images of .10000000, 1. pixels"),
        (setting("settings.image_size", "48"), "pixels, where 8192 are the most"),
        (setting("settings.image_size", -1), "pixels, where 8192 are the most"),
        (setting("settings.resize", [10**7, 10**7]), "pixels, where 8192 are the most"),
        (setting("settings.backbone.image_size", 10**7), "an option of 10000000"),
        (setting("settings.method_options.embedding_dim", 10**9), "an option of 1000000000"),
        (setting("settings.backbone.levels", [0] * 3 + [[10**9]]), "an option of 1000000000"),
        (setting("projector.channels", [10**9, 96]), "more than 65536 heads or channels"),
        (setting("projector.channels", [60000, 60000]), "not of the size that it claims"),
        (setting("projector.channels", [2] * 10**5), "claims 100000 levels"),
        (setting("projector.num_heads", 10**9), "more than 65536 heads or channels"),
        (setting("projector.num_references", 10**9), "not of the size that it claims"),
        (setting("projector", "text"), "does not hold a whole model"),
        (setting("settings", []), "does not hold a whole model"),
        (tensor("method", math.nan), "numbers that are not finite"),
        (tensor("references", math.inf), "numbers that are not finite"),
        (tensor("projector", -math.inf), "numbers that are not finite"),
        (lambda *_: "[" * 100_000 + "]" * 100_000, "damaged or no model file"),
        (lambda *_: "[" * 900 + "]" * 900, "damaged or no model file"),
        (lambda *_: '{"a":' * 900 + "1" + "}" * 900, "does not hold a whole model"),
        (lambda *_: '"' + " " * 2**24 + '"', "longer than that of any model"),
    ],
)
def test_what_would_pass_everything_or_take_all_memory_is_refused(
    change: Change, said: str, inspector: adpt.Inspector, tmp_path: Path
) -> None:
    path = tampered(inspector, tmp_path / "m.safetensors", change)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=said) as raised:
        adpt.Inspector.load(path, device="cpu")
    assert "m.safetensors" in str(raised.value)
    assert time.monotonic() - start < 5


def test_a_text_of_the_file_gives_a_terminal_no_orders(inspector, tmp_path: Path) -> None:
    text = "found\x1b]0;mine\x07\nadpt: all is well\u202e"
    path = tampered(inspector, tmp_path / "m.safetensors", setting("threshold.origin", text))
    origin = adpt.Inspector.load(path, device="cpu").threshold_origin
    assert origin == "found\\x1b]0;mine\\x07 adpt: all is well\\u202e"
    adpt.Inspector.load(path, device="cpu").save(path)
    assert adpt.Inspector.load(path, device="cpu").threshold_origin == origin


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["image", "maps"])
def test_a_score_that_is_no_number_never_reads_as_normal(
    part: str, value: float, inspector, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((photos / "test" / "good").iterdir())
    method = inspector.scorer.method
    plain = method.score

    def score(levels: list[torch.Tensor]) -> Scores:
        found = plain(levels)
        maps, image = found.maps.clone(), found.image.clone()
        {"image": image, "maps": maps}[part].view(len(image), -1)[1, -1] = value
        return Scores(maps, image)

    monkeypatch.setattr(method, "score", score)
    found = list(inspector.predict_many(files[:3]))
    assert [isinstance(one, UnreadImage) for one in found] == [False, True, False]
    assert found[1].path == str(files[1])
    assert "no finite numbers" in found[1].error
    arrays = list(inspector.predict_many([np.zeros((9, 9), np.uint8)] * 2))
    assert arrays[1].path == "a picture in memory"


def test_one_picture_whose_score_is_no_number_is_an_error(inspector, monkeypatch) -> None:
    maps = torch.full((1, 48, 48), math.nan)
    monkeypatch.setattr(inspector.scorer.method, "score", lambda _: Scores(maps, maps[:, 0, 0]))
    with pytest.raises(BadImageError, match="no finite numbers"):
        inspector.predict(np.zeros((9, 9), np.uint8))


def test_good_pictures_whose_scores_are_no_numbers_give_no_threshold(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adpt.methods import PatchCore

    plain = PatchCore.score

    def score(self: PatchCore, levels: list[torch.Tensor]) -> Scores:
        found = plain(self, levels)
        return Scores(found.maps, found.image * math.nan)

    monkeypatch.setattr(PatchCore, "score", score)
    further = {"good_test": photos / "test" / "good", "defects": photos / "test" / "scratch"}
    with pytest.raises(UserError, match="no finite numbers"):
        adpt.Inspector.fit(
            photos / "train" / "good", image_size=48, backbone=BACKBONE, device="cpu", **further
        )


@pytest.mark.parametrize("value", [math.nan, -math.inf, "high", None, [1]])
def test_a_threshold_that_is_no_number_is_refused(value, inspector) -> None:
    with pytest.raises(UserError, match="must be a finite number"):
        inspector.with_threshold(value)
    with pytest.raises(UserError, match="is no finite number"):
        replace(inspector._model, threshold=replace(inspector._model.threshold, value=value))


@pytest.mark.parametrize("value", [np.float32(2), np.array(2), torch.tensor(2.0), 2])
def test_a_threshold_is_any_kind_of_number(value, inspector) -> None:
    assert inspector.with_threshold(value).threshold == 2


@pytest.mark.parametrize(
    "changed",
    [{"channels": "[1000000000,96]"}, {"num_references": "1000000000"}, {"channels": "[" * 99999}],
)
def test_a_projector_s_file_takes_no_memory_for_what_it_claims(changed, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_projector(FeatureProjector([40, 112], num_heads=4, num_references=8), path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, header | changed)
    with pytest.raises(WeightsError, match=r"p\.safetensors does not"):
        load_projector(path)


def test_a_model_file_names_no_place_of_its_machine(photos: Path, tmp_path: Path) -> None:
    secret = tmp_path / "alice" / "acme"
    secret.mkdir(parents=True)
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), secret / "net.safetensors")
    backbone = {
        "name": "test_resnet", "weights": str(secret / "net.safetensors"), "levels": [0]
    }  # fmt: skip
    made = adpt.Inspector.fit(
        photos / "train" / "good", backbone=backbone, image_size=48, device="cpu"
    )
    for inside in (True, False):
        made.save(tmp_path / "m.safetensors", backbone_weights=inside)
        content = (tmp_path / "m.safetensors").read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(photos).encode() not in content
    # Below the model's folder, beside it under the same name, or nowhere.
    picture = next((photos / "test" / "scratch").iterdir())
    score = made.predict(picture).score
    assert adpt.Inspector.load(tmp_path / "m.safetensors", "cpu").predict(picture).score == score
    made.save(tmp_path / "other" / "m.safetensors", backbone_weights=False)
    content = (tmp_path / "other" / "m.safetensors").read_bytes()
    assert b"alice" not in content
    assert b"acme" not in content
    with pytest.raises(WeightsError, match="Give their file as backbone_weights"):
        adpt.Inspector.load(tmp_path / "other" / "m.safetensors", "cpu")
    (secret / "net.safetensors").rename(tmp_path / "other" / "net.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "other" / "m.safetensors", "cpu")
    assert loaded.predict(picture).score == score
    loaded.save(tmp_path / "again.safetensors", backbone_weights=False)
    assert b"other/net.safetensors" in (tmp_path / "again.safetensors").read_bytes()


def test_a_name_under_a_home_of_nobody_is_only_not_there(inspector, photos: Path) -> None:
    picture = next((photos / "test" / "good").iterdir())
    names = ["~nosuchuser/x.png", f"~/{'瓶' * 77}.png", "瓶" * 77 + ".png", picture]
    found = list(inspector.predict_many(names))
    assert [isinstance(one, UnreadImage) for one in found] == [True, True, True, False]
    assert all("No such file" in one.error for one in found[:3])
