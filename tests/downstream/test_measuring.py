"""What is measured of a class: metrics of the config, good scores, and the pictures' resolution."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

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
from adpt.evaluation.laid_back import LaidBack, PictureMasks
from adpt.evaluation.measuring import Measuring, make_metrics
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore, Scores
from adpt.metrics import Metric, Scored, SegF1, anomaly_metrics
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
    encoded = [encode_class(data, name, SmallBackbone(), 2, 0, CPU) for name in classes]
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
    encoded = encode_class(data, "key", SmallBackbone(), 2, 0, CPU)
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
        train = encode_class(data, name, SmallBackbone(), 2, 0, CPU).train
        assert scored.good is not None
        np.testing.assert_array_equal(scored.good.maps, method.score(train.levels).maps)


def test_a_method_that_tells_no_left_out_scores_has_no_threshold(data: Folder) -> None:
    class Own(FeatureNorm):
        def score(self, levels: list[torch.Tensor]) -> Scores:
            return super().score(levels)

    assert math.isnan(run(data, Own(48), SegF1())["key"].metrics["pixel_seg_f1"])
    assert not math.isnan(run(data, FeatureNorm(48), SegF1())["key"].metrics["pixel_seg_f1"])


@pytest.mark.parametrize("given", [{}, {"other": 0.5}, {"image_kept": math.inf}])
def test_what_a_metric_gives_must_be_what_it_names(data: Folder, given: dict[str, float]) -> None:
    class Wrong(Kept):
        def measure(self, scored: Scored) -> Mapping[str, float]:
            return given

    with pytest.raises(UserError, match=r"The metric Wrong gives .* image_kept"):
        run(data, FeatureNorm(48), Wrong())


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"a": {"_target_": "adpt.metrics.Aupro", "limit": 0}}, r"metric\.a: .*limit is 0"),
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
    laid, masks = LaidBack(maps, samples, geometry), PictureMasks(samples, geometry)
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
    laid, masks = LaidBack(maps, samples, geometry), PictureMasks(samples, geometry)
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
    maps = LaidBack(outcome.maps.numpy(), samples, geometry)  # type: ignore[arg-type]
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
    encoded = encode_class(data, "key", backbone, 2, 0, CPU)
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
