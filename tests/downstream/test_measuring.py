"""What is measured of a class: metrics of the config, good scores, and the pictures' resolution."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from adpt.data import Folder, Sample
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, UserError
from adpt.evaluate import evaluate
from adpt.evaluation import encode_class, run_method
from adpt.evaluation.class_data import features_of
from adpt.evaluation.measuring import Measuring, make_metrics
from adpt.evaluation.picture_maps import PictureMaps, PictureMasks
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore, Scores
from adpt.metrics import Metric, RankedMetric, Rankings, Scored, SegF1, anomaly_metrics
from adpt.results import METRICS, read_records
from drawn import draw_folder, picture, save
from runs import evaluation, folder_data, run_task
from small import SmallBackbone

CPU = torch.device("cpu")


class Kept(Metric):
    """Keeps what it was given."""

    names = ("image_kept",)

    def __init__(self) -> None:
        self.seen: list[Scored] = []

    def measure(self, scored: Scored) -> Mapping[str, float]:
        self.seen.append(scored)
        return {"image_kept": 0.25}


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    made = folder_data(draw_folder(tmp_path / "own", ("bottle", "key")))
    made.setup()
    return made


def run(data: Folder, method: Method, *metrics: Metric, classes: tuple[str, ...] = ("key",)):
    encoded = [
        encode_class(data, name, SmallBackbone(), shots=2, seed=0, device=CPU) for name in classes
    ]
    features = {one.name: features_of(one, "own", None, 4) for one in encoded}
    samples = {str(sample.image): sample for sample in data.samples}
    return run_method(
        method,
        [train for train, _ in features.values()],
        {name: test for name, (_, test) in features.items()},
        name="m",
        kind="own",
        batch_size=4,
        device=CPU,
        measuring=Measuring(metrics, samples=samples),
    )


def test_a_metric_sees_the_test_images_and_their_files(data: Folder) -> None:
    kept = Kept()
    outcome = run(data, FeatureNorm(48), kept)["key"]
    assert outcome.metrics["image_kept"] == 0.25
    assert list(outcome.metrics) == [*METRICS, "image_kept"]
    assert outcome.intervals == {}
    (scored,) = kept.seen
    np.testing.assert_array_equal(scored.maps, outcome.maps)
    np.testing.assert_array_equal(scored.image_scores, outcome.image_scores)
    assert [sample.defect for sample in scored.samples] == ["good"] * 3 + ["scratch"] * 3
    assert scored.labels.tolist() == [False] * 3 + [True] * 3
    assert scored.masks is not None
    for sample, mask in zip(scored.samples, scored.masks, strict=True):
        assert (sample.mask is not None) == mask.any()


@pytest.mark.parametrize("make", [FeatureNorm, PaDiM, partial(PatchCore, embedding_dim=8)])
def test_good_scores_are_those_of_images_left_out(data: Folder, make) -> None:
    kept = Kept()
    method = make(48)
    run(data, method, kept)
    good = kept.seen[0].good
    encoded = encode_class(data, "key", SmallBackbone(), shots=2, seed=0, device=CPU)
    expected = method.left_out_scores([encoded.train.levels])
    assert good is not None
    assert good.maps.shape == (6, 48, 48)
    np.testing.assert_allclose(good.maps, expected.maps, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(good.image, expected.image, rtol=1e-4, atol=1e-4)


def test_each_class_of_one_model_for_all_has_its_own_good_images(data: Folder) -> None:
    kept = Kept()
    method = FeatureNorm(48)
    run(data, method, kept, classes=("bottle", "key"))
    for scored, name in zip(kept.seen, ("bottle", "key"), strict=True):
        train = encode_class(data, name, SmallBackbone(), shots=2, seed=0, device=CPU).train
        assert scored.good is not None
        np.testing.assert_array_equal(scored.good.maps, method.score(train.levels).maps)


def test_a_method_that_tells_no_left_out_scores_has_no_threshold(data: Folder) -> None:
    class Own(FeatureNorm):
        def score(self, levels: list[torch.Tensor]) -> Scores:
            return super().score(levels)

    assert math.isnan(run(data, Own(48), SegF1())["key"].metrics["pixel_seg_f1"])
    assert not math.isnan(run(data, FeatureNorm(48), SegF1())["key"].metrics["pixel_seg_f1"])


def some_scored() -> Scored:
    maps, masks = np.arange(64.0).reshape(4, 4, 4) / 64, np.zeros((4, 4, 4), bool)
    masks[2:, 1] = True
    return Scored(maps, masks, masks.any((1, 2)), maps.max((1, 2)))


@pytest.mark.parametrize(
    "given",
    [
        {}, {"other": 0.5}, {"image_kept": math.inf}, {"image_kept": 0.5, "image_auroc": 0.5},
        {"image_kept": 1.01}, {"image_kept": -0.01}, {"image_kept": "high"}, {"image_kept": None},
        {"image_kept": np.zeros(2)}, "image_kept", None, np.zeros(1), 0.5,
    ],
)  # fmt: skip
def test_what_a_metric_gives_must_be_what_it_names(given: Any) -> None:
    class Wrong(Kept):
        def measure(self, scored: Scored) -> Mapping[str, float]:
            return given  # type: ignore[no-any-return]

    class WrongRanked(RankedMetric):
        names = ("image_kept",)

        def of_rankings(self, rankings: Rankings) -> Mapping[str, float]:
            return given  # type: ignore[no-any-return]

    for wrong in (Wrong(), WrongRanked()):
        with pytest.raises(UserError, match=rf"The metric {type(wrong).__name__} gives .*kept"):
            Measuring([wrong]).measure(some_scored())
    with pytest.raises(UserError, match=r"The metric WrongRanked gives .*kept"):
        Measuring([WrongRanked()], with_intervals=True).intervals(some_scored())


@pytest.mark.parametrize("value", [1 + 1e-9, -1e-9, math.nan, np.float32(1), torch.tensor(0.5)])
def test_fractions_may_be_off_by_rounding(value: Any) -> None:
    class Off(Kept):
        def measure(self, scored: Scored) -> Mapping[str, float]:
            return {"image_kept": value}

    found = Measuring([Off()]).measure(some_scored())["image_kept"]
    assert type(found) is float
    assert found == pytest.approx(float(value), abs=0, nan_ok=True)


class Resampled(Kept):
    """Gives of resamples what it is told to."""

    def __init__(self, give: Callable[[int], Any]) -> None:
        super().__init__()
        self.give = give

    def resampled(self, scored: Scored, weights: Any) -> Any:
        return self.give(len(weights))


@pytest.mark.parametrize(
    "give",
    [
        lambda _: {"image_auroc": np.zeros(1000)},
        lambda _: {"image_kept": np.zeros(3)},
        lambda r: {"image_kept": np.zeros((r, 2))},
        lambda r: {"image_kept": np.full(r, 1.5)},
        lambda _: {"image_kept": 0.5},
        lambda _: None,
    ],
)
def test_resamples_are_measured_under_own_names_and_one_number_each(give: Any) -> None:
    measuring = Measuring([Resampled(give)], with_intervals=True)
    with pytest.raises(UserError, match=r"The metric Resampled gives .* in resampled.*"):
        measuring.intervals(some_scored())


def test_intervals_of_what_a_metric_tells_of_resamples() -> None:
    def some(r: int) -> Any:
        return {"image_kept": [0.25] * r}

    found = Measuring([Resampled(some)], with_intervals=True).intervals(some_scored())
    assert found["image_kept"] == (0.25, 0.25)
    assert "image_kept" not in Measuring([Kept()], with_intervals=True).intervals(some_scored())


def test_a_metric_that_fails_is_named() -> None:
    class Failing(Kept):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def measure(self, scored: Scored) -> Mapping[str, float]:
            raise self.error

    said = r"The metric Failing fails in measure with ZeroDivisionError: x \(.*\.py, line \d+\)"
    with pytest.raises(UserError, match=said):
        Measuring([Failing(ZeroDivisionError("x"))]).measure(some_scored())
    # A picture that cannot be read is no mistake of the metric.
    with pytest.raises(BadImageError, match=r"^a picture$"):
        Measuring([Failing(BadImageError("a picture"))]).measure(some_scored())


@pytest.mark.parametrize("names", [("Image AUROC",), ("image-x",), ("image__x",), (), "image_x", 1])
def test_names_are_words(names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adpt.metrics.IoUMax.names", names)
    with pytest.raises(UserError, match=r"The metric IoUMax has the names .*lower case"):
        make_metrics(OmegaConf.create({"a": {"_target_": "adpt.metrics.IoUMax"}}))


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"a": {"_target_": "adpt.metrics.Aupro", "limit": 0}}, r"metric\.a: .*limit is 0"),
        (
            {"a": {"_target_": "adpt.metrics.SegF1", "threshold": math.nan}},
            r"metric\.a: .*threshold is nan",
        ),
        ({"a": {"_target_": "adpt.methods.PaDiM"}}, r"metric\.a: PaDiM is no adpt.metrics.Metric"),
        (
            {name: {"_target_": "adpt.metrics.IoUMax"} for name in "ab"},
            "IoUMax gives pixel_iou_max, which is given by IoUMax too",
        ),
    ],
)
def test_metrics_that_cannot_be_made_are_refused(configs: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_metrics(OmegaConf.create(configs))


def test_a_name_of_the_seven_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adpt.metrics.IoUMax.names", ("pixel_ap",))
    with pytest.raises(UserError, match="pixel_ap, which is always given"):
        make_metrics(OmegaConf.create({"a": {"_target_": "adpt.metrics.IoUMax"}}))


def test_a_metric_is_switched_off_by_null() -> None:
    assert make_metrics(None) == []
    assert make_metrics(OmegaConf.create({"a": None})) == []


# ---- At the pictures' resolution ---------------------------------------------------------------


def drawn_samples(folder: Path, sizes: list[tuple[int, int]]) -> list[Sample]:
    """Pictures of these heights and widths, every second one with a marked rectangle."""
    samples = []
    for number, (height, width) in enumerate(sizes):
        save(np.zeros((height, width, 3), np.uint8), folder / f"{number}.png")
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : height // 2, width // 4 : width // 2] = 255 * (number % 2)
        save(mask, folder / f"{number}_mask.png")
        marked = folder / f"{number}_mask.png" if number % 2 else None
        samples.append(Sample(folder / f"{number}.png", number % 2, "key", "test", marked))
    return samples


SIZES = [(48, 48), (30, 70), (101, 64), (48, 96)]


def test_maps_lie_over_their_pictures(tmp_path: Path) -> None:
    samples, geometry = drawn_samples(tmp_path, SIZES), Geometry(48)
    maps = np.random.default_rng(0).random((4, 48, 48), dtype=np.float32)
    laid, masks = PictureMaps(maps, samples, geometry), PictureMasks(samples, geometry)
    assert [one.shape for one in laid] == [one.shape for one in masks] == SIZES
    np.testing.assert_allclose(laid[0], maps[0], atol=1e-5)
    for number, (height, width) in enumerate(SIZES):
        expected = geometry.lay_back(torch.from_numpy(maps[number]), (height, width))
        np.testing.assert_array_equal(laid[number], expected)
        shown = np.asarray(Image.open(tmp_path / f"{number}_mask.png")) > 0
        np.testing.assert_array_equal(masks[number], shown)
    assert [one.shape for one in laid[1:3]] == [one.shape for one in masks[1:3]] == SIZES[1:3]


@pytest.mark.parametrize("resize", [56, (60, 50)])
def test_what_the_crop_left_unseen_does_not_count(tmp_path: Path, resize: int) -> None:
    samples, geometry = drawn_samples(tmp_path, SIZES), Geometry(48, resize)
    maps = np.random.default_rng(0).random((4, 48, 48), dtype=np.float32)
    laid, masks = PictureMaps(maps, samples, geometry), PictureMasks(samples, geometry)
    for number, size in enumerate(SIZES):
        whole = geometry.lay_back(torch.from_numpy(maps[number]), size).numpy()
        seen = ~np.isnan(whole)
        assert 0 < seen.sum() < seen.size
        np.testing.assert_array_equal(laid[number].ravel(), whole[seen])
        shown = np.asarray(Image.open(tmp_path / f"{number}_mask.png")) > 0
        np.testing.assert_array_equal(masks[number].ravel(), shown[seen])


def test_a_table_at_the_pictures_resolution(tmp_path: Path) -> None:
    """Against the metrics of maps that were laid over the pictures by hand."""
    root = tmp_path / "own"
    for number in range(4):
        save(picture("key", number, 60)[0], root / f"key/train/good/{number}.png")
        save(picture("key", 10 + number, 72)[0], root / f"key/test/good/{number}.png")
        image, mask = picture("key", 20 + number, 96, defect=True)
        save(image, root / f"key/test/scratch/{number}.png")
        save(mask, root / f"key/ground_truth/scratch/{number}_mask.png")
    words = [
        "data=folder", f"data.root={root}", "method=padim", "features=own", "cache=null",
        "metric=[iou_max,seg_f1]", "heatmaps=0",
    ]  # fmt: skip
    for resolution in ("network", "picture"):
        folder = tmp_path / resolution
        run_task(evaluate, evaluation(folder, *words, f"metric_resolution={resolution}"))
    (plain,), (fine,) = (read_records(tmp_path / name) for name in ("network", "picture"))
    assert fine.setting == {**plain.setting, "picture_resolution": True}
    assert set(fine.metrics) == set(plain.metrics) - {"pixel_aupro_paper"}
    for name, value in plain.metrics.items():
        if name.startswith("image"):
            assert fine.metrics[name] == value
    assert fine.metrics["pixel_ap"] != plain.metrics["pixel_ap"]

    data = folder_data(root)
    data.setup()
    kept = Kept()
    outcome = run_padim_of_the_table(data, kept)
    geometry, samples = data.geometry, kept.seen[0].samples
    maps = PictureMaps(outcome.maps.numpy(), samples, geometry)  # type: ignore[arg-type]
    masks = PictureMasks(samples, geometry)  # type: ignore[arg-type]
    ordered = [
        np.concatenate([one.ravel() for one in every])[None, None] for every in (maps, masks)
    ]
    expected = anomaly_metrics(*ordered)
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1max"):
        assert fine.metrics[name] == pytest.approx(expected[name], abs=1e-4)


def run_padim_of_the_table(data: Folder, kept: Kept):
    from adpt.backbones import build_backbone

    backbone = build_backbone("efficientnet_lite0", levels=[2, 3])
    encoded = encode_class(data, "key", backbone, shots=2, seed=0, device=CPU)
    return run_method(
        PaDiM(48), [encoded.train], {"key": encoded.test}, name="padim", kind="own", batch_size=6,
        device=CPU,
        measuring=Measuring([kept], samples={str(s.image): s for s in data.samples}),
    )["key"]  # fmt: skip


def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    samples = drawn_samples(tmp_path, SIZES)
    (tmp_path / "1_mask.png").write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"1_mask\.png"):
        PictureMasks(samples, Geometry(48))[1]
