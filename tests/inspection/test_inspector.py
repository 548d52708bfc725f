"""Fit, save, load and inspect, on drawn pictures."""

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
import drawn
import warm
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, DataError, UserError, WeightsError
from adpt.inspection import ThresholdPolicy, UnreadImage
from adpt.inspection.fitting import Fitter
from adpt.inspection.outputs import heatmap_over
from adpt.inspection.scorer import features_in_memory
from adpt.inspection.spec import make_backbone
from adpt.methods import FeatureNorm, Scores
from adpt.page.plots import heatmap, outline
from adpt.projector import FeatureProjector
from adpt.running.progress import no_progress
from adpt.weights import save_projector
from runs import TINY_FIT
from small import SmallBackbone


@pytest.fixture(scope="module")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("projector") / "p.safetensors"
    made = FeatureProjector([40, 112], num_heads=4, num_references=8, scale_by_references=True)
    save_projector(made, path)
    return path


@pytest.fixture(scope="module")
def inspector(photos: Path) -> adpt.Inspector:
    return adpt.Inspector.fit(photos / "train" / "good", **TINY_FIT)


def scores(inspector: adpt.Inspector, images: object, batch_size: int = 8) -> list[float]:
    return [one.score for one in inspector.predict_many(images, batch_size)]


CASES = [
    ("patchcore", "own"),
    ("padim", "own"),
    ("feature_norm", "residual"),
    ("padim", "residual"),
    ("patchcore", "pretrained"),
]


@pytest.mark.parametrize("weights_inside", [True, False])
@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_loaded_inspector_gives_the_same_bits(
    method, kind, weights_inside, photos: Path, projector: Path, tmp_path: Path
) -> None:
    made = adpt.Inspector.fit(
        photos / "train" / "good",
        method=method,
        features=None if kind != "residual" else kind,
        projector=projector if kind == "pretrained" else None,
        shots=2,
        **TINY_FIT,
    )
    assert made.scorer.kind == kind
    made.save(tmp_path / "m.safetensors", backbone_weights=weights_inside)
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu")
    for before, after in zip(
        made.predict_many(photos / "test"), loaded.predict_many(photos / "test"), strict=True
    ):
        assert before.score == after.score
        assert np.array_equal(before.map, after.map)
    assert (loaded.threshold, loaded.threshold_origin) == (made.threshold, made.threshold_origin)
    assert loaded.settings == made.settings
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        inside = any(name.startswith("backbone.") for name in file.keys())  # noqa: SIM118
    assert inside == weights_inside


def test_a_file_brings_mean_and_deviation_of_its_backbone_along(
    inspector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector.save(tmp_path / "m.safetensors")

    def of_another_version(spec: dict) -> SmallBackbone:
        backbone = make_backbone(spec)
        backbone.mean += 0.1
        backbone.std *= 2
        return backbone

    monkeypatch.setattr("adpt.inspection.model_file.make_backbone", of_another_version)
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu")
    image = photos / "test" / "scratch" / "000.png"
    assert loaded.predict(image).score == inspector.predict(image).score


def test_scores_of_images_left_out_come_in_the_images_order(inspector) -> None:
    backbone = inspector.scorer.backbone
    levels = backbone(torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0)))
    seen = features_in_memory(levels, ["a", "b", "c", "d"])
    fitter = Fitter(backbone, None, "own", lambda: FeatureNorm(48), 2, 0, 8)
    left_out = fitter.held_out(seen, [[2, 0], [3], [1]], no_progress)
    for found, wanted in zip(left_out, FeatureNorm(48).score(levels), strict=True):
        torch.testing.assert_close(found, wanted)


def test_scores_depend_neither_on_batch_nor_on_order(inspector, photos: Path) -> None:
    paths = sorted((photos / "test").rglob("*.png"))
    together = scores(inspector, paths)
    assert scores(inspector, paths, 1) == pytest.approx(together, rel=1e-5)
    assert scores(inspector, paths[::-1], 4)[::-1] == pytest.approx(together, rel=1e-5)
    assert len(set(together)) == len(paths)


def test_a_reference_of_the_same_name_is_not_taken_for_the_image(
    photos: Path, tmp_path: Path
) -> None:
    """A new picture may have the path of one that was fitted on."""
    good = photos / "train" / "good"
    made = adpt.Inspector.fit(good, method="padim", features="residual", shots=6, **TINY_FIT)
    path = next(iter(sorted(good.iterdir())))
    assert made.predict(path).score == made.predict(Image.open(path)).score


def test_an_image_left_out_is_scored_by_what_was_fitted_without_it(photos: Path) -> None:
    paths = sorted((photos / "train" / "good").iterdir())
    made = adpt.Inspector.fit(paths, method="padim", quantile=1.0, **TINY_FIT)
    left_out = []
    for number, path in enumerate(paths):
        rest = adpt.Inspector.fit(paths[:number] + paths[number + 1 :], method="padim", **TINY_FIT)
        left_out.append(rest.predict(path))
    assert made.threshold == pytest.approx(max(one.score for one in left_out), rel=1e-5)
    highest = max(float(one.map.max()) for one in left_out)
    assert made.settings.normal_map[1] == pytest.approx(highest, rel=1e-5)
    assert "6 normal images (each left out in turn)" in made.threshold_origin


def test_defects_give_the_threshold_that_parts_them(photos: Path) -> None:
    good, bad = photos / "test" / "good", photos / "test" / "scratch"
    made = adpt.Inspector.fit(photos / "train" / "good", good_test=good, defects=bad, **TINY_FIT)
    assert made.threshold_origin.startswith("largest F1 score, 1.000, on 3 normal and 3 anomalous")
    assert [one.anomalous for one in made.predict_many(good)] == [False] * 3
    assert [one.anomalous for one in made.predict_many(bad)] == [True] * 3
    assert not made.with_threshold(1e9).predict(next(bad.iterdir())).anomalous


def test_known_defects_cannot_be_among_the_good_images(photos: Path, tmp_path: Path) -> None:
    good, folder = photos / "train" / "good", tmp_path / "bad"
    shutil.copytree(photos / "test" / "scratch", folder)
    shutil.copy(next(good.iterdir()), folder / "under another name.png")
    for defects, said in ((folder, "1 of these"), (good, "6 of these")):
        with pytest.raises(UserError, match=f"defects: {said} images are among the good ones too"):
            adpt.Inspector.fit(good, defects=defects, **TINY_FIT)


def test_a_policy_may_be_given_by_its_fields(photos: Path) -> None:
    good = photos / "train" / "good"
    policy = ThresholdPolicy(false_positive_rate=0.3, folds=3)
    made = adpt.Inspector.fit(good, threshold=policy, **TINY_FIT)
    by_fields = adpt.Inspector.fit(good, false_positive_rate=0.3, folds=3, **TINY_FIT)
    assert made.threshold == by_fields.threshold
    assert "6 normal images (left out in 3 parts in turn)" in made.threshold_origin
    given = adpt.Inspector.fit(good, value=12.5, **TINY_FIT)
    assert (given.threshold, given.threshold_origin) == (12.5, "given by the user")
    with pytest.raises(TypeError, match="threshold= is given, so leave folds out"):
        adpt.Inspector.fit(good, threshold=policy, folds=2, **TINY_FIT)
    with pytest.raises(TypeError, match="colour"):
        adpt.Inspector.fit(good, colour="blue", **TINY_FIT)


def test_a_score_at_the_threshold_is_normal(inspector, photos: Path) -> None:
    image = next((photos / "test" / "scratch").glob("*.png"))
    score = inspector.predict(image).score
    assert not inspector.with_threshold(score).predict(image).anomalous
    assert inspector.with_threshold(float(np.nextafter(score, -np.inf))).predict(image).anomalous


def test_every_form_of_a_picture_gives_one_score(inspector, tmp_path: Path) -> None:
    pixels, _ = drawn.picture("bottle", 5, size=61)
    pixels = pixels[:43]
    drawn.save(pixels, tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels]
    forms += [tensor, tensor.double() / 255]
    found = [inspector.predict(form) for form in forms]
    assert len({one.score for one in found}) == 1
    assert {one.map.shape for one in found} == {(43, 61)}
    assert {one.map.dtype for one in found} == {np.dtype("float32")}


def test_arrays_of_16_bits_of_floats_and_of_bgr_give_the_score_of_their_picture(inspector) -> None:
    pixels, _ = drawn.picture("bottle", 5, size=61)
    turned = np.ascontiguousarray(pixels[..., ::-1])
    alike = [pixels.astype(np.uint16) * 257, pixels / 255, (pixels / 255).astype(np.float32)]
    score = inspector.predict(pixels).score
    assert [inspector.predict(form).score for form in alike] == [score] * 3
    forms = [turned, turned / 255, torch.from_numpy(turned).permute(2, 0, 1)]
    assert [inspector.predict(form, order="bgr").score for form in forms] == [score] * 3
    assert [one.score for one in inspector.predict_many(forms, order="bgr")] == [score] * 3
    assert inspector.predict(turned).score != score
    grey = pixels[..., 0]
    assert inspector.predict(grey / 255, order="bgr").score == inspector.predict(grey).score
    for wrong, told in ((pixels.astype(np.int32), "int32"), (pixels / 100, r"\[0, 1\], not in")):
        with pytest.raises(ValueError, match=told):
            inspector.predict(wrong)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        inspector.predict(pixels, order="gbr")


def test_the_map_is_laid_back_once_and_only_when_asked_for(inspector, monkeypatch) -> None:
    laid: list[tuple[int, int]] = []
    lay_back = Geometry.lay_back

    def counted(self: Geometry, score_map: torch.Tensor, original, fill, size, rows):
        laid.append(size)
        return lay_back(self, score_map, original, fill, size, rows)

    monkeypatch.setattr(Geometry, "lay_back", counted)
    pixels, _ = drawn.picture("bottle", 5, size=61)
    found = inspector.with_threshold(0.0).predict(pixels)
    assert found.regions
    copied = pickle.loads(pickle.dumps(found))  # noqa: S301
    assert laid == []
    picture = Image.fromarray(pixels).resize((30, 20))
    assert heatmap_over(picture, found, inspector.settings.normal_map).size == (30, 20)
    assert found.size == (61, 61)
    assert laid == [(20, 30)]
    assert found.map is found.map
    assert "map=array(" in repr(found)
    assert laid == [(20, 30), (61, 61)]
    assert np.array_equal(copied.map, found.map)


@pytest.mark.parametrize(("laid", "strip"), [(61 * 20, 61 * 7), (61 * 7, 61 * 20), (1, 1)])
def test_a_heatmap_in_strips_is_that_of_the_whole(
    inspector, monkeypatch, laid: int, strip: int
) -> None:
    pixels, _ = drawn.picture("bottle", 5, size=61)
    found = inspector.with_threshold(0.0).predict(pixels)
    normal_map = median, highest = inspector.settings.normal_map
    whole = heatmap(pixels, found.map, median, 2 * highest - median)
    monkeypatch.setattr("adpt.inspection.outputs._LAID", laid)
    monkeypatch.setattr("adpt.inspection.outputs._STRIP", strip)
    plain = dataclasses.replace(found, regions=())
    assert np.array_equal(heatmap_over(Image.fromarray(pixels), plain, normal_map), whole)
    mask = Image.new("L", (61, 61))
    for region in found.regions:
        ImageDraw.Draw(mask).polygon(region.outline, fill=1)
    lined = outline(whole, np.asarray(mask), width=1)
    assert not np.array_equal(lined, whole)
    assert np.array_equal(heatmap_over(Image.fromarray(pixels), found, normal_map), lined)


def test_grey_and_16_bit_pictures_are_read_alike(inspector, tmp_path: Path) -> None:
    grey = drawn.picture("bottle", 5)[0][..., 0]
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    found = scores(inspector, [tmp_path / "8.png", tmp_path / "16.png", grey])
    assert len(set(found)) == 1


def test_the_map_lies_on_the_picture_itself(inspector, photos: Path) -> None:
    """A model's map laid back by hand; a crop leaves the rest unseen."""
    path = next((photos / "test" / "scratch").iterdir())
    picture = Image.open(path).resize((90, 60))
    pixels = Geometry(48).image(picture)
    expected = Geometry(48).lay_back(inspector.scorer(pixels[None]).maps[0], (60, 90))
    assert np.array_equal(inspector.predict(picture).map, expected.numpy())
    cropping = adpt.Inspector.fit(photos / "train" / "good", resize=48, **TINY_FIT)
    unseen = np.isnan(cropping.predict(picture).map)
    assert unseen[:, 0].all()
    assert not unseen[:, 45].any()


def test_a_broken_image_is_named_and_nothing_else_is_lost(inspector, photos, tmp_path) -> None:
    good = sorted((photos / "test" / "good").iterdir())
    (tmp_path / "broken.png").write_bytes(good[0].read_bytes()[:200])
    paths = [good[0], tmp_path / "broken.png", good[1], tmp_path / "none.png"]
    found = list(inspector.predict_many(paths, batch_size=2))
    assert [one.path for one in found] == [str(path) for path in paths]
    assert [isinstance(one, UnreadImage) for one in found] == [False, True, False, True]
    assert "cannot be read as an image" in found[1].error
    assert found[3].error == "No such file or directory"
    with pytest.raises(BadImageError, match=r"broken\.png: cannot be read"):
        inspector.predict(tmp_path / "broken.png")
    some = adpt.Inspector.fit([*good, tmp_path / "broken.png"], **TINY_FIT)
    assert some.settings.images == 3


def test_images_are_taken_only_as_they_are_needed(inspector, photos: Path) -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield next((photos / "test" / "good").iterdir())

    found = inspector.predict_many(endless(), batch_size=3)
    next(found)
    assert len(taken) == 6


# ---- The file -------------------------------------------------------------------------------


def test_a_failed_save_leaves_what_was_there(inspector, tmp_path, monkeypatch) -> None:
    path = tmp_path / "m.safetensors"
    inspector.save(path)
    before = path.read_bytes()

    def fail(file, content):
        with file.open("wb") as half:
            half.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match="No space left"):
        inspector.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_foreign_and_newer_files_are_told(inspector, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    inspector.save(path)
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118

    def refused(match: str) -> None:
        with pytest.raises(WeightsError, match=match):
            adpt.Inspector.load(path, device="cpu")

    path.write_bytes(whole[: len(whole) // 2])
    refused("damaged or no model file")
    save_file(tensors, path)
    refused("is no model of adpt.predict")
    save_file(tensors, path, header | {"version": "3"})
    refused("of a newer adpt")
    for changed in (header | {"content": "{"}, {k: v for k, v in header.items() if k != "version"}):
        save_file(tensors, path, changed)
        refused("damaged or no model file")
    less = json.loads(header["content"])
    del less["threshold"]
    save_file(tensors, path, header | {"content": json.dumps(less)})
    refused("does not hold a whole model")
    save_file({k: v for k, v in tensors.items() if "backbone" not in k}, path, header)
    refused("does not hold a whole model")
    name = next(name for name in tensors if name.startswith("backbone."))
    save_file(tensors | {name: tensors[name] + 1}, path, header)
    refused("other weights of backbone 'efficientnet_lite0'")
    with pytest.raises(WeightsError, match="There is no inspector file"):
        adpt.Inspector.load(tmp_path / "none", device="cpu")


# ---- What a file may name ------------------------------------------------------------------


def named(inspector, path: Path, **changes: object) -> Path:
    """A file whose settings say something else."""
    inspector.save(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    content = json.loads(header["content"])
    for part, values in changes.items():
        content["settings"][part] |= values
    save_file(tensors, path, header | {"content": json.dumps(content)})
    return path


def test_a_file_of_the_backbone_that_is_no_more_says_what_to_do(inspector, tmp_path: Path) -> None:
    old = named(inspector, tmp_path / "old.safetensors", backbone={"name": "embedded"})
    with pytest.raises(UserError, match=r"embedded is no more: backbone=efficientnet_lite0 .* fit"):
        adpt.Inspector.load(old, device="cpu")


CALL = {"_target_": "pathlib.Path.touch", "_args_": ["touched"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"_target_": "os.mkdir", "path": "touched"}},
        {"method_options": {"_target_": "os.mkdir", "path": "touched"}},
        {"method_options": {"_target_": "evil.Method"}},
        {"method_options": {"coreset_ratio": CALL}},
        {"method_options": {"seed": [[{"a": CALL}]]}},
        {"backbone": {"levels": CALL}},
        {"method_options": {"_target_": ["os.mkdir"]}},
        # Of adpt, but neither a backbone nor a method; and what its modules have imported.
        {"method_options": {"_target_": "adpt.running.whole_files.replacing"}},
        {"method_options": {"_target_": "adpt.methods.patchcore.torch.load"}},
        {"method_options": {"_target_": "adpt.methods.fitted.torch"}},
        {"method_options": {"_target_": "adpt.methods.nn.Linear"}},
        {"method_options": {"_target_": "adpt.backbones.build_backbone"}},
        {"backbone": {"_target_": "adpt.methods.PatchCore"}},
        {"backbone": {"_target_": "adpt.backbones.weights_file.read_state_dict"}},
        {"backbone": {"_target_": "adpt.backbones..timm.TimmBackbone"}},
    ],
)
def test_nothing_is_called_because_a_file_names_it(
    changes, inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    path = named(inspector, tmp_path / "m.safetensors", **changes)
    with pytest.raises(WeightsError, match=r"m\.safetensors names .*: code that is not adpt's"):
        adpt.Inspector.load(path, device="cpu")
    assert not (tmp_path / "touched").exists()


def test_a_file_refers_to_nothing_outside_of_it(inspector, tmp_path: Path) -> None:
    """What Hydra would look up stays as it is written."""
    options = {"seed": "${oc.env:HOME}"}
    path = named(inspector, tmp_path / "m.safetensors", method_options=options)
    loaded = adpt.Inspector.load(path, device="cpu")
    assert loaded.settings.method_options["seed"] == "${oc.env:HOME}"
    assert loaded.scorer.method.seed == "${oc.env:HOME}"


def test_a_file_of_adpts_own_parts_names_no_class(inspector, tmp_path: Path) -> None:
    """As before, so that an older adpt reads it, and files of before are read."""
    inspector.save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        settings = json.loads(file.metadata()["content"])["settings"]
    assert settings["backbone"] == {
        "name": "efficientnet_lite0",
        "levels": [2, 3],
        "image_size": 48,
    }
    assert (settings["method"], settings["method_options"]) == ("patchcore", {})


class Brightness(FeatureNorm):
    """A method that is not adpt's."""

    def score(self, levels: list[torch.Tensor]) -> Scores:
        maps = torch.ones(len(levels[0]), *self.image_size) * levels[0].mean()
        return Scores(maps, maps.amax((1, 2)))


OWN = {"_target_": f"{__name__}.Brightness"}


def test_one_of_ones_own_is_loaded_where_it_is_named(photos: Path, tmp_path: Path) -> None:
    good = photos / "train" / "good"
    made = adpt.Inspector.fit(good, method="light", method_options=OWN, **TINY_FIT)
    made.save(tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"names \S*Brightness: .*trusted=\[\.\.\.\]"):
        adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu")
    trusted = [OWN["_target_"]]
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu", trusted=trusted)
    assert scores(loaded, good) == scores(made, good)
    assert loaded.settings == made.settings
    assert loaded.settings.method == "light"


class Coarse(Brightness):
    """A method of one's own whose maps are not of its image_size."""

    def score(self, levels: list[torch.Tensor]) -> Scores:
        scores = super().score(levels)
        return Scores(scores.maps[:, ::2], scores.image)


def test_maps_of_a_wrong_size_are_told_in_fitting_and_in_inspecting(
    inspector, photos: Path, monkeypatch
) -> None:
    told = r"score gives maps \(\d+, 24, 48\) and image scores \(\d+,\)"
    good = photos / "train" / "good"
    options = OWN | {"_target_": f"{__name__}.Coarse"}
    with pytest.raises(UserError, match=told):
        adpt.Inspector.fit(good, method="coarse", method_options=options, **TINY_FIT)
    # The file that is read may be of a method that has changed since.
    monkeypatch.setattr(inspector.scorer, "method", Coarse(48))
    with pytest.raises(UserError, match=told):
        inspector.predict(drawn.picture("bottle", 5, size=61)[0])


def test_options_for_pretrained_features_replace_the_others(photos: Path, projector: Path) -> None:
    options = {"epsilon": 0.5, "pretrained": {"epsilon": 0.25}}
    for through, wanted in ((None, 0.5), (projector, 0.25)):
        made = adpt.Inspector.fit(
            photos / "train" / "good", method="padim", method_options=options,
            projector=through, shots=2, **TINY_FIT,
        )  # fmt: skip
        assert made.scorer.method.epsilon == wanted


# ---- Mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "flow"}, "choose one of anomaly_dino, cflow, dinomaly, feature_norm, glass"),
        (
            {"method": "cflow", "method_options": {"published_maps": True}},
            "depend on the others that are scored",
        ),
        ({"method_options": {"image_size": 32}}, "maps must be of the images' size"),
        (
            {"method_options": {"_target_": "fractions.Fraction"}},
            "has no option|is no adpt.methods",
        ),
        (
            {"backbone": {"_target_": "fractions.Fraction"}},
            "backbone: Fraction is no adpt.backbones.Backbone",
        ),
        ({"method_options": {"ratio": 1}}, "has no option ratio; it has coreset_ratio"),
        ({"method_options": {"coreset_ratio": 2}}, "coreset_ratio is 2"),
        ({"features": "pretrained"}, "needs a projector"),
        ({"features": "best"}, "choose own, residual or pretrained"),
        ({"quantile": 0}, "quantile=0 must be"),
        ({"quantile": 0.9, "defects": "nowhere"}, "quantile and defects contradict each other"),
        ({"defects": "nowhere"}, "defects=nowhere: there is no such"),
    ],
)
def test_wrong_options_are_refused(options, said, photos: Path) -> None:
    with pytest.raises(UserError, match=said):
        adpt.Inspector.fit(photos / "train" / "good", **TINY_FIT | options)


def test_too_few_images_are_refused(photos: Path, tmp_path: Path) -> None:
    one = sorted((photos / "train" / "good").iterdir())[:1]
    with pytest.raises(DataError, match="too few to find a threshold"):
        adpt.Inspector.fit(one, **TINY_FIT)
    made = adpt.Inspector.fit(one, good_test=photos / "test" / "good", **TINY_FIT)
    assert "3 normal images (further images than those fitted on)" in made.threshold_origin
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no image in that folder"):
        adpt.Inspector.fit(tmp_path / "empty", **TINY_FIT)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.full((4, 4, 3), 2.0),
        np.full((4, 4, 3), np.nan),
        np.zeros((4, 4), np.int64),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(4, 4, 3),
        torch.ones(3, 4, 4) * 2,
    ],
)
def test_arrays_of_another_form_are_refused(inspector, wrong) -> None:
    with pytest.raises(
        ValueError, match=r"An array is|tensor|Floating-point pixels|Pixels are|no pixels"
    ):
        inspector.predict(wrong)


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, adpt; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    used = "import adpt; adpt.Inspector; adpt.Inspection"
    warm.run([sys.executable, "-c", used], lean=True, check=True, timeout=120)
    with pytest.raises(AttributeError, match="inspektor"):
        adpt.inspektor  # noqa: B018
