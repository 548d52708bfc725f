"""Metrics beside the seven, against literal loops, hand-made examples and recorded values."""

import itertools
import math
import tracemalloc
from collections.abc import Callable
from statistics import fmean

import numpy as np
import pytest
from literal.metrics import exact_metrics, literal_aupro

from adpt.metrics import (
    Aupimo,
    Aupro,
    Good,
    IoUMax,
    MeanOfSeven,
    Metric,
    Scored,
    SegF1,
    ranked_metrics,
)

ALL: list[Metric] = [
    Aupro(0.05), Aupro(0.3), Aupro(1.0), IoUMax(), MeanOfSeven(), SegF1(0.5), Aupimo(5e-3, 0.1),
]  # fmt: skip
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda scores: scores.astype(np.float32),
    "float64": lambda scores: scores,
    "ties": lambda scores: np.round(2 * scores).astype(np.float32),
    "constant": lambda scores: np.ones_like(scores),
}


def example(scale: str = "plain", images: int = 6, size: int = 9) -> Scored:
    """Draw maps, and masks with several regions of irregular shape in half the images."""
    rng = np.random.default_rng(0)
    masks = rng.random((images, size, size)) < 0.2
    masks[: images // 2] = False
    maps = SCALES[scale](rng.normal(size=masks.shape) + 0.8 * masks)
    return scored(maps, masks)


def scored(maps: np.ndarray, masks: np.ndarray | None, **options: object) -> Scored:
    labels = np.zeros(len(maps), bool) if masks is None else masks.any(axis=(1, 2))
    return Scored(maps, masks, labels, maps.max(axis=(1, 2)), **options)  # type: ignore[arg-type]


def one_by_one(whole: Scored) -> Scored:
    """The same images, each an array of its own."""
    assert whole.masks is not None
    return Scored(list(whole.maps), list(whole.masks), whole.labels, whole.image_scores)


def all_of(images: Scored) -> dict[str, float]:
    return {name: value for metric in ALL for name, value in metric.measure(images).items()}


@pytest.mark.parametrize("options", [{"threshold": v} for v in (math.nan, math.inf)])
def test_a_threshold_is_finite(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="threshold=null"):
        SegF1(**options)
    with pytest.raises(ValueError, match="give finite numbers"):
        SegF1(deviations=-math.inf)


# ---- Literal versions ------------------------------------------------------------------------


def literal_iou_max(maps: np.ndarray, masks: np.ndarray) -> float:
    return max(
        float(((maps >= t) & masks).sum() / ((maps >= t) | masks).sum()) for t in np.unique(maps)
    )


def literal_f1(maps: np.ndarray, masks: np.ndarray, threshold: float) -> float:
    true = false = missed = 0
    for score, mask in zip(maps.ravel().tolist(), masks.ravel().tolist(), strict=True):
        true += score >= threshold and mask
        false += score >= threshold and not mask
        missed += score < threshold and mask
    return 2 * true / (2 * true + false + missed)


def literal_aupimo(
    maps: np.ndarray, masks: np.ndarray, labels: np.ndarray, lower: float, upper: float
) -> list[float]:
    """Area of each anomalous image's curve; one threshold after the other, just above and at it."""
    areas = []
    for scores, mask in zip(maps[labels], masks[labels], strict=True):
        points = []
        for threshold in sorted(set(maps[~labels].ravel().tolist()), reverse=True):
            for reaches in (np.greater, np.greater_equal):
                rates = [float(reaches(normal, threshold).mean()) for normal in maps[~labels]]
                points.append((fmean(rates), float(reaches(scores[mask], threshold).mean())))
        area = 0.0
        for (rate0, y0), (rate1, y1) in itertools.pairwise(points):
            if rate1 == rate0:
                continue
            if rate0 == 0:
                area += max(0.0, math.log(rate1 / lower)) * y0
                continue
            x0, x1 = math.log(rate0), math.log(rate1)
            a, b = max(x0, math.log(lower)), min(x1, math.log(upper))
            if a < b:
                at_a, at_b = (y0 + (y1 - y0) * (x - x0) / (x1 - x0) for x in (a, b))
                area += (b - a) * (at_a + at_b) / 2
        areas.append(area / math.log(upper / lower))
    return areas


@pytest.mark.parametrize("scale", SCALES)
def test_agrees_with_literal_loops(scale: str) -> None:
    images = example(scale)
    maps, masks = np.asarray(images.maps), np.asarray(images.masks)
    assert all_of(images) == pytest.approx(
        {
            "pixel_aupro_05": literal_aupro(maps, masks, 0.05),
            "pixel_aupro_30": literal_aupro(maps, masks),
            "pixel_aupro_full": literal_aupro(maps, masks, 1.0),
            "pixel_iou_max": literal_iou_max(maps, masks),
            "mad": fmean(exact_metrics(maps, masks).values()),
            "pixel_seg_f1": literal_f1(maps, masks, 0.5),
            "pixel_aupimo": fmean(literal_aupimo(maps, masks, images.labels, 5e-3, 0.1)),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("scale", SCALES)
def test_pictures_one_by_one_give_what_one_array_gives(scale: str) -> None:
    images = example(scale)
    pixel, alone = images.rankings.pixel, one_by_one(images).rankings.pixel
    assert alone.normal is None
    for name in set(pixel._fields) - {"normal"}:
        np.testing.assert_array_equal(getattr(pixel, name), getattr(alone, name), name)
    assert all_of(one_by_one(images)) == all_of(images)
    assert ranked_metrics(one_by_one(images).rankings) == ranked_metrics(images.rankings)


def test_pictures_of_different_sizes_count_pixel_by_pixel() -> None:
    whole = example("ties")
    assert whole.masks is not None
    cut = [slice(None, rows) for rows in (9, 7, 9, 3, 8, 5)]
    parts = [
        [one[rows] for one, rows in zip(every, cut, strict=True)]
        for every in (whole.maps, whole.masks)
    ]
    ranked = Scored(parts[0], parts[1], whole.labels, whole.image_scores).rankings
    flat = [np.concatenate([part.ravel() for part in one]) for one in parts]
    expected = scored(flat[0][None, None], flat[1][None, None]).rankings
    found, wanted = ranked_metrics(ranked), ranked_metrics(expected)
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1max"):
        assert found[name] == wanted[name]


def test_order_of_images_changes_nothing() -> None:
    images = example("ties")
    order = np.random.default_rng(0).permutation(len(images))
    assert images.masks is not None
    turned = scored(np.asarray(images.maps)[order], np.asarray(images.masks)[order])
    assert all_of(turned) == pytest.approx(all_of(images), rel=1e-12)


@pytest.mark.parametrize("scale", ["plain", "ties"])
def test_only_the_order_of_scores_matters(scale: str) -> None:
    images = example(scale)
    cubed = scored(np.cbrt(np.asarray(images.maps, np.float64)), np.asarray(images.masks))
    expected, found = all_of(images), all_of(cubed)
    for name in expected.keys() - {"pixel_seg_f1"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-12)


def test_perfect_maps_score_one() -> None:
    _, masks = example().maps, np.asarray(example(size=40).masks)
    noise = np.random.default_rng(0).random(masks.shape) / 4
    assert set(all_of(scored(masks + noise, masks)).values()) == {1.0}


# ---- Where they are not defined ---------------------------------------------------------------


def test_without_masks_nothing_of_pixels_is_known() -> None:
    maps = np.asarray(example().maps)
    images = Scored(maps, None, np.arange(6) > 2, maps.max(axis=(1, 2)))
    assert all(math.isnan(value) for value in all_of(images).values())


@pytest.mark.parametrize("anomalous", [False, True])
def test_one_kind_of_images_alone_leaves_aupimo_undefined(anomalous: bool) -> None:
    images = example()
    assert images.masks is not None
    chosen = images.labels == anomalous
    kept = scored(np.asarray(images.maps)[chosen], np.asarray(images.masks)[chosen])
    assert math.isnan(Aupimo(5e-3, 0.1).measure(kept)["pixel_aupimo"])


def test_aupimo_needs_pixels_enough_to_tell_its_lowest_rate() -> None:
    images = example()  # Three normal images of 81 pixels: 0.0041 a pixel.
    assert math.isnan(Aupimo(4.1e-3, 0.1).measure(images)["pixel_aupimo"])
    assert not math.isnan(Aupimo(4.2e-3, 0.1).measure(images)["pixel_aupimo"])


def test_anomalous_images_whose_mask_is_empty_have_no_part_in_aupimo() -> None:
    images = example()
    masks = np.asarray(images.masks).copy()
    labels = images.labels.copy()
    labels[2] = True  # Marked nowhere: neither normal nor to be found.
    again = Scored(images.maps, masks, labels, images.image_scores)
    maps = np.delete(np.asarray(images.maps), 2, 0)
    without = scored(maps, np.delete(masks, 2, 0))
    metric = Aupimo(1e-2, 0.1)
    assert metric.measure(again) == metric.measure(without)


# ---- By hand, and as others have them ----------------------------------------------------------


def test_iou_max_by_hand() -> None:
    masks = np.array([[[True, True, True, False, False]]])
    maps = np.array([[[5.0, 3.0, 1.0, 4.0, 0.0]]])
    # 1/3, then 1/4, 2/4 and, at 1, 3/4.
    assert IoUMax().measure(scored(maps, masks)) == {"pixel_iou_max": 0.75}


def test_aupimo_agrees_with_anomalib() -> None:
    """Its 2.7.0 with 3,000,000 thresholds, at rates that it has exactly."""
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 96, 96), bool)
    for number in range(3, 6):
        masks[number, 20:50, 10 * number : 10 * number + 25] = True
    maps = rng.normal(size=masks.shape) + np.array([0, 0, 0, 2, 3, 4])[:, None, None] * masks
    maps = maps.astype(np.float32)
    images = scored(maps, masks)
    areas, numbers = Aupimo(27 / 27648, 276 / 27648).of_images(images, images.each_once)
    assert numbers.tolist() == [3, 4, 5]
    assert areas[0] == pytest.approx([0.23742745, 0.60429957, 0.87652315], abs=1e-6)


def test_threshold_of_seg_f1_comes_from_good_images() -> None:
    images = example()
    rng = np.random.default_rng(3)
    good = Good(rng.normal(size=(4, 5, 5)).astype(np.float32), np.zeros(4, np.float32))
    asked: list[Good] = []

    def score_good() -> Good:
        asked.append(good)
        return good

    with_good = Scored(
        images.maps, images.masks, images.labels, images.image_scores, (), score_good
    )
    pixels = good.maps.astype(np.float64)
    threshold = float(pixels.mean() + 2 * pixels.std())
    found = SegF1(deviations=2).measure(with_good)
    assert found == SegF1(threshold).measure(images)
    SegF1().measure(with_good)
    assert len(asked) == 1, "they are scored once for all metrics"
    assert math.isnan(SegF1().measure(images)["pixel_seg_f1"])


def test_names_tell_the_limit() -> None:
    limits = {0.05: "05", 0.3: "30", 0.005: "005", 0.125: "125", 1.0: "full"}
    assert {limit: Aupro(limit).names[0] for limit in limits} == {
        limit: f"pixel_aupro_{name}" for limit, name in limits.items()
    }


@pytest.mark.parametrize(
    "make",
    [lambda: Aupro(0), lambda: Aupro(1.1), lambda: Aupimo(0, 0.1), lambda: Aupimo(0.1, 0.1)],
)
def test_limits_out_of_range_are_refused(make: Callable[[], Metric]) -> None:
    with pytest.raises(ValueError, match="give"):
        make()


def test_memory_is_for_one_picture_and_anomalous_pixels() -> None:
    masks = np.zeros((40, 256, 256), bool)
    masks[30:, :32, :32] = True
    base = np.random.default_rng(0).normal(size=masks.shape[1:]).astype(np.float32)

    class Made(list[np.ndarray]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return (base + np.float32(number) for number in range(40))

        def __getitem__(self, number):  # type: ignore[no-untyped-def, override]
            return base + np.float32(number)

        def __len__(self) -> int:
            return 40

    labels = masks.any(axis=(1, 2))
    made = Scored(Made(), masks, labels, np.arange(40.0))
    tracemalloc.start()
    ranked_metrics(made.rankings)
    SegF1(2.0).measure(made)
    Aupimo().measure(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * base.size + 120 * masks.sum()
