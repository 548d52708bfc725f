"""The good images: left out without fitting again, normalised scores, remarks, their page."""

import json
import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
from adpt.errors import UserError
from adpt.inspection import ThresholdPolicy
from adpt.inspection.good_images import GoodImages
from adpt.inspection.good_page import write_good_page
from adpt.inspection.grounds import Grounds
from adpt.inspection.limits import GoodScores
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore, Scores
from adpt.methods.base import tells_left_out
from runs import TINY_FIT


@pytest.fixture(scope="module")
def inspector(photos: Path) -> adpt.Inspector:
    return adpt.Inspector.fit(photos / "train" / "good", method="padim", **TINY_FIT)


class Halved(PatchCore):
    """Scores in a way of its own, of which its parent's left-out scores know nothing."""

    def score(self, levels: list[torch.Tensor]) -> Scores:
        return Scores(*(part / 2 for part in super().score(levels)))


class Renamed(PaDiM):
    """Changes nothing."""


@pytest.mark.parametrize(
    ("made", "tells"),
    [
        (PaDiM, True), (PatchCore, True), (FeatureNorm, True), (Renamed, True),
        (Halved, False), (Method, True),
    ],
)  # fmt: skip
def test_what_a_method_inherits_is_used_where_it_holds(made: type[Method], tells: bool) -> None:
    assert tells_left_out(made) == tells


def test_a_method_of_ones_own_is_fitted_again_for_each_part(photos: Path) -> None:
    good = photos / "train" / "good"
    own = {"_target_": f"{__name__}.Halved", "coreset_ratio": 1.0}
    halved = adpt.Inspector.fit(good, method="own", method_options=own, quantile=1, **TINY_FIT)
    options = {"coreset_ratio": 1.0}
    for folds in (None, 6):
        whole = adpt.Inspector.fit(
            good, method_options=options, quantile=1, folds=folds, **TINY_FIT
        )
        assert whole.threshold / 2 == pytest.approx(halved.threshold, rel=1e-4)


def test_parts_that_are_asked_for_are_fitted_again(photos: Path) -> None:
    steps: list[str] = []
    adpt.Inspector.fit(
        photos / "train" / "good", method="padim", folds=3,
        progress=lambda what, done, total: steps.append(f"{what} {done} {total}"), **TINY_FIT,
    )  # fmt: skip
    assert "fitting the method 0 6" in steps
    assert steps[-3:] == [f"leaving good images out {number} 3" for number in range(3)]


def test_normalised_scores_say_how_many_good_images_score_higher(
    inspector: adpt.Inspector, photos: Path, tmp_path: Path
) -> None:
    inspector.save(tmp_path / "m.safetensors")
    loaded = adpt.Inspector.load(tmp_path / "m.safetensors", device="cpu")
    spread = GoodScores.robust(inspector.good_images.scores.image)
    for one, again in zip(
        inspector.predict_many(photos / "test"), loaded.predict_many(photos / "test"), strict=True
    ):
        assert one.normalised == again.normalised == spread.share_above(one.score)
        assert 0 <= one.normalised <= 1
    assert inspector.normalised(spread.limit(0.05)) == pytest.approx(0.05)
    assert loaded.with_threshold(1.0).normalised(2.0) == inspector.normalised(2.0)
    assert loaded.good_images is None


def test_a_file_of_before_has_no_normalised_scores(
    inspector: adpt.Inspector, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    inspector.save(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    content = json.loads(header["content"])
    del content["good_scores"]
    save_file(tensors, path, header | {"content": json.dumps(content)})
    image = next((photos / "test" / "scratch").iterdir())
    old = adpt.Inspector.load(path, device="cpu").predict(image)
    assert old.normalised is None
    assert old.score == inspector.predict(image).score


def examined(values: list[float], policy: ThresholdPolicy) -> list[str]:
    names = [f"{number}.png" for number in range(len(values))]
    scores = Scores(torch.zeros(len(values), 1, 1), torch.tensor(values))
    return GoodImages.examined(names, scores, policy, None).remarks


def test_the_image_that_sets_the_threshold_is_named() -> None:
    (only,) = examined([1.0, 3.0, 2.0], ThresholdPolicy())
    assert only == "The highest score of a good image is that of 1.png (3)."


def test_images_that_stand_apart_are_named_with_what_they_cost() -> None:
    values = np.linspace(9, 11, 30).tolist()
    values[3], values[20] = 40.0, 50.0
    _, apart = examined(values, ThresholdPolicy(quantile=0.99))
    assert apart.startswith(
        "2 of 30 good images stand apart from the others: 20.png (50), 3.png (40)."
    )
    assert apart.endswith("without them the threshold would be 11, not 50.")
    _, apart = examined(values, ThresholdPolicy(value=5))
    assert apart.endswith("Look whether they are good.")


def test_the_page_of_good_images_shows_them_by_score(
    inspector: adpt.Inspector, tmp_path: Path
) -> None:
    good = inspector.good_images
    write_good_page(tmp_path, inspector, good)
    page = (tmp_path / "good.html").read_text(encoding="utf-8")
    order = [good.paths[row] for row in good.scores.image.argsort(descending=True)]
    places = [page.index(f'alt="{path}') for path in order]
    assert places == sorted(places)
    assert page.count("data:image/jpeg") == len(order)
    assert all(remark in page for remark in good.remarks)


GROUNDS = {
    "good": [1.0, 2.0, 4.0], "defects": [9.0], "source": "left out", "files": ["ab"],
    "quantile": None, "false_positive_rate": 0.05, "value": None,
}  # fmt: skip


def test_grounds_of_a_threshold_go_through_json() -> None:
    found = Grounds.from_json(json.loads(json.dumps(Grounds.from_json(GROUNDS).to_json())))
    assert found.threshold().value == 6.5
    assert found.given(3.0).threshold().value == 3.0
    assert found.spread() == GoodScores.robust([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"good": []}, {"good": [float("nan")]}, {"good": ["1"]}, {"defects": [float("inf")]},
        {"files": [1]}, {"source": 3}, {"false_positive_rate": 7}, {"value": float("nan")},
    ],
)  # fmt: skip
def test_grounds_that_a_file_got_wrong_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"."):
        Grounds.from_json(GROUNDS | wrong)


def test_steps_are_reported_where_there_is_no_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adpt.running.progress import StepBar

    now = [0.0]
    monkeypatch.setattr("adpt.running.progress.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), StepBar("Fitting", logged=True) as progress:
        for done, seconds in enumerate((0, 1, 9, 10, 12)):
            now[0] = float(seconds)
            progress("encoding", done, 5)
        progress("fitting the method", 0, 5)
    assert caplog.messages == [
        "Fitting: encoding, 0 of 5",
        "Fitting: encoding, 3 of 5",
        "Fitting: fitting the method, 0 of 5",
    ]


def test_a_step_that_takes_long_says_that_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adpt.running.progress import StepBar

    monkeypatch.setattr("adpt.running.progress._SECONDS", 0.02)
    with caplog.at_level(logging.INFO), StepBar("Fitting", logged=True) as progress:
        progress("fitting the method", 0, 5)
        for _ in range(500):
            if len(caplog.messages) > 2:
                break
            time.sleep(0.01)
    said = len(caplog.messages)
    assert caplog.messages[0] == "Fitting: fitting the method, 0 of 5"
    assert re.fullmatch(r"Fitting: fitting the method, \d+ s so far", caplog.messages[1])
    time.sleep(0.1)
    assert len(caplog.messages) == said


def test_a_bar_is_shown_once_there_is_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    from adpt.running.progress import StepBar

    with pytest.raises(UserError), StepBar("Examining"):
        raise UserError("There is no folder.")
    assert capsys.readouterr().out == ""
    with StepBar("Examining") as progress:
        progress("listing", 1, 2)
    assert "Examining: done" in capsys.readouterr().out
