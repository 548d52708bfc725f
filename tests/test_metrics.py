"""Metrics against scikit-learn, literal AUPRO loops, hand-made examples and invariances."""

import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from literal.metrics import exact_metrics, literal_aupro_paper
from sklearn.metrics import roc_auc_score

from adpt.metrics import (
    anomaly_metrics,
    aupro,
    aupro_paper,
    auroc,
    average_precision,
    f1_max,
)

KEYS = [
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
]

SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda scores: scores.astype(np.float32),
    "float64": lambda scores: scores,
    "ties": lambda scores: np.round(2 * scores).astype(np.float32),
    "two values": lambda scores: (scores > 1).astype(np.float32),
    "constant": lambda scores: np.full_like(scores, -3.0, dtype=np.float32),
    "negative": lambda scores: (scores - 1000).astype(np.float32),
    "around 1e6": lambda scores: (scores + 1e6).astype(np.float32),
    "huge": lambda scores: (1e38 * np.tanh(scores)).astype(np.float32),
    "widest": lambda scores: 1e300 * np.tanh(scores),
    "around 1e-7": lambda scores: (1e-7 * scores).astype(np.float32),
    "half": lambda scores: scores.astype(np.float16),
    "integers": lambda scores: np.round(2 * scores).astype(np.int64),
}


def example(seed: int = 0, images: int = 6, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Draw float64 maps, and masks with several regions of irregular shape in half the images."""
    rng = np.random.default_rng(seed)
    masks = rng.random((images, size, size)) < 0.2
    masks[: images // 2] = False
    maps = rng.normal(size=masks.shape) + 0.8 * masks
    return maps, masks


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_sklearn_and_literal_aupro_on_any_range(scale: str, seed: int) -> None:
    maps, masks = example(seed)
    maps = SCALES[scale](maps)
    expected = exact_metrics(maps, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = anomaly_metrics(maps, masks)
    assert result == pytest.approx(expected, rel=1e-12, abs=0)
    assert list(result) == KEYS
    assert all(type(value) is float for value in result.values())


def test_parts_agree_with_the_whole() -> None:
    maps, masks = example()
    image_scores, labels = maps.max(axis=(1, 2)), masks.any(axis=(1, 2))
    whole = anomaly_metrics(maps, masks, paper_aupro=True)
    parts = {
        "image_auroc": auroc(image_scores, labels),
        "image_ap": average_precision(image_scores, labels),
        "image_f1max": f1_max(image_scores, labels),
        "pixel_auroc": auroc(maps, masks),
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1max": f1_max(maps, masks),
        "pixel_aupro": aupro(maps, masks),
        "pixel_aupro_paper": aupro_paper(maps, masks),
    }
    assert parts == whole
    assert len(set(parts.values())) == len(parts)


def test_aupro_by_hand() -> None:
    # Regions of 1 and 4 pixels, 10 normal pixels: each of those is 0.1 of false positive rate.
    masks = np.zeros((1, 3, 5), dtype=bool)
    masks[0, 0, 0] = masks[0, 1:, 2:4] = True
    maps = np.ones((1, 3, 5))
    maps[0, 0, 0] = 10
    maps[0, 1:, 2:4] = [[8, 6], [4, 0]]
    maps[0, 0, 2:] = [9, 7, 5]
    # PRO is 1/2 up to a rate of 0.1, then 1/2 + 1/8, then 1/2 + 2/8.
    assert aupro(maps, masks) == pytest.approx((0.5 + 0.625 + 0.75) / 3)
    # Tied with a normal pixel the first step is a slope.
    maps[0, 1, 2] = 9
    assert aupro(maps, masks) == pytest.approx((0.5625 + 0.625 + 0.75) / 3)
    # One slope over all of the rate from 0.2 to 1, cut at 0.3: an eighth of its height.
    maps[0, 1:, 2:4] = [[8, 6], [1, 1]]
    maps[0, 0, 4] = 1
    assert aupro(maps, masks) == pytest.approx((0.5 + 0.625 + 0.75 + 0.25 / 16) / 3)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    masks = np.zeros((1, 6, 6), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 4, 4] = True
    maps = np.zeros((1, 6, 6))
    maps[0, 0, 0] = maps[0, 4, 4] = 1
    maps[0, 1, 1] = -1
    assert aupro(maps, masks) == pytest.approx(0.75)


def test_regions_do_not_reach_into_the_next_image() -> None:
    masks = np.zeros((2, 6, 6), dtype=bool)
    masks[0, 2, 2] = masks[1, 2, 1:4] = True
    maps = np.zeros((2, 6, 6))
    maps[0, 2, 2] = 1
    maps[1, 2, 1:4] = -1
    assert aupro(maps, masks) == pytest.approx(0.5)


def test_perfect_maps_score_exactly_one_and_inverted_ones_zero() -> None:
    _, masks = example(size=40)
    maps = masks + np.random.default_rng(0).random(masks.shape) / 2
    assert set(anomaly_metrics(maps, masks).values()) == {1.0}
    worst = anomaly_metrics(-maps, masks)
    assert worst["pixel_auroc"] == worst["pixel_aupro"] == 0.0


def test_strictly_increasing_transforms_change_nothing() -> None:
    maps, masks = example()
    maps = np.round(maps, 1)
    expected = anomaly_metrics(maps, masks)
    for transform in (np.exp, np.cbrt, lambda scores: 1e6 * scores - 1e7):
        assert anomaly_metrics(transform(maps), masks) == pytest.approx(expected, rel=1e-12)


def test_only_linear_transforms_leave_the_paper_variant_alone() -> None:
    maps, masks = example()
    expected = aupro_paper(maps, masks)
    # The wider of the two ranges doesn't fit into a float64.
    for factor in (4, 1.7e308 / abs(maps).max()):
        assert aupro_paper(factor * maps, masks) == pytest.approx(expected, rel=1e-12)
    assert aupro_paper(np.exp(4 * maps), masks) != pytest.approx(expected, rel=0.01)


def test_order_of_images_changes_nothing() -> None:
    maps, masks = example()
    maps = np.round(maps, 1)
    scores = np.random.default_rng(1).normal(size=len(maps))
    order = np.random.default_rng(2).permutation(len(maps))
    expected = anomaly_metrics(maps, masks, scores, paper_aupro=True)
    result = anomaly_metrics(maps[order], masks[order], scores[order], paper_aupro=True)
    assert result == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", ["plain", "float64", "ties", "negative", "huge", "around 1e-7"])
def test_paper_variant_agrees_with_literal_loop(scale: str) -> None:
    maps, masks = example()
    maps = SCALES[scale](maps)
    result = anomaly_metrics(maps, masks, paper_aupro=True)
    assert result["pixel_aupro_paper"] == pytest.approx(literal_aupro_paper(maps, masks), rel=1e-9)
    assert list(result) == [*KEYS, "pixel_aupro_paper"]


def test_paper_variant_says_half_below_three_points_and_nan_without_a_range() -> None:
    masks = np.zeros((1, 4, 5), dtype=bool)
    masks[0, 0, :2] = True
    maps = np.zeros((1, 4, 5))
    maps[0, 1:, :] = 1
    # Most normal pixels hold the highest score: no threshold keeps a rate below 0.3.
    assert aupro_paper(maps, masks) == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(aupro_paper(np.ones_like(maps), masks))
        assert np.isnan(aupro_paper(masks.astype(float), masks))


def test_paper_variant_by_hand() -> None:
    masks = np.zeros((1, 3, 5), dtype=bool)
    masks[0, 0, 0] = masks[0, 1:, 2:4] = True
    maps = np.ones((1, 3, 5))
    maps[0, 0, 0] = 10
    maps[0, 1:, 2:4] = [[8, 6], [4, 0]]
    maps[0, 0, 2:] = [9, 7, 5]
    # Rates 0, 0.1 and 0.2 are kept, 0.3 is not; PRO is 1/2, then 1/2 + 1/8 where they change.
    assert aupro_paper(maps, masks) == pytest.approx((0.5 + 0.625) / 2)

    # Thresholds are 0, 1, ... 199: two have a rate below 0.3, and then three.
    maps[masks] = 200
    maps[~masks] = [198.5, *[198.0] * 8, 0]
    assert aupro_paper(maps, masks) == 0.5
    maps[~masks] = [198.5, *[197.0] * 8, 0]
    assert aupro_paper(maps, masks) == 1.0


def test_given_image_scores_and_labels_are_used() -> None:
    maps, masks = example()
    scores = np.array([3.0, 1.0, 2.0, 2.0, 0.0, 1.0])
    labels = np.array([1, 0, 1, 0, 0, 2])
    result = anomaly_metrics(maps, masks, scores, labels=labels)
    assert result["image_auroc"] == pytest.approx(roc_auc_score(labels > 0, scores))
    assert result["image_auroc"] != anomaly_metrics(maps, masks, scores)["image_auroc"]
    assert result["image_auroc"] != anomaly_metrics(maps, masks, labels=labels)["image_auroc"]
    assert result["pixel_aupro"] == anomaly_metrics(maps, masks)["pixel_aupro"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_any_non_zero_mask_value_is_anomalous(dtype: torch.dtype) -> None:
    maps, masks = example()
    values = 255 * torch.from_numpy(masks).to(torch.uint8)
    assert anomaly_metrics(maps, values.to(dtype)) == anomaly_metrics(maps, masks)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_give_what_arrays_give(dtype: torch.dtype) -> None:
    maps, masks = example()
    tensor = torch.from_numpy(maps).to(dtype).requires_grad_()
    result = anomaly_metrics(tensor, torch.from_numpy(masks), tensor.amax(dim=(1, 2)))
    assert result == anomaly_metrics(tensor.detach().double().numpy(), masks)


def test_float64_tensors_keep_their_precision() -> None:
    maps, masks = example()
    maps += 1e9  # one value in float32
    result = anomaly_metrics(torch.from_numpy(maps), torch.from_numpy(masks))
    assert result == anomaly_metrics(maps, masks)
    assert result["pixel_auroc"] > 0.6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu() -> None:
    maps, masks = (torch.from_numpy(array) for array in example())
    assert anomaly_metrics(maps.cuda(), masks.cuda()) == anomaly_metrics(maps, masks)


def test_arguments_are_left_as_they_were() -> None:
    maps, masks = (torch.from_numpy(array) for array in example())
    before = maps.clone(), masks.clone()
    anomaly_metrics(maps, masks, maps[:, 0, 0])
    assert torch.equal(maps, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("anomalous", [False, True])
def test_one_class_alone_gives_nan_without_a_warning(anomalous: bool) -> None:
    maps, masks = example()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = anomaly_metrics(maps, np.full_like(masks, anomalous), paper_aupro=True)
    assert list(result) == [*KEYS, "pixel_aupro_paper"]
    assert all(np.isnan(value) for value in result.values())


def test_pixel_metrics_are_defined_where_image_metrics_are_not() -> None:
    maps, masks = example()
    result = anomaly_metrics(maps[3:], masks[3:])
    assert {key for key, value in result.items() if np.isnan(value)} == set(KEYS[:3])


def test_without_masks_only_metrics_of_images_are_known() -> None:
    maps, labels = np.random.default_rng(0).random((6, 4, 4)), np.array([0, 1, 0, 1, 1, 0])
    found = anomaly_metrics(maps, None, labels=labels, paper_aupro=True)
    assert found["image_auroc"] == roc_auc_score(labels, maps.max(axis=(1, 2)))
    assert {name for name, value in found.items() if np.isnan(value)} == {
        name for name in found if name.startswith("pixel")
    }
    scored = anomaly_metrics(torch.tensor(maps), None, labels, labels=torch.tensor(labels))
    assert scored["image_auroc"] == scored["image_f1max"] == 1
    with pytest.raises(ValueError, match="labels must tell"):
        anomaly_metrics(maps, None)


def test_no_images_give_nan() -> None:
    result = anomaly_metrics(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), dtype=bool))
    assert list(result) == KEYS
    assert all(np.isnan(value) for value in result.values())


def test_scores_that_are_not_finite_are_counted_and_placed() -> None:
    maps, masks = example()
    bad = maps.copy()
    bad[2, 3, 4], bad[4, 0, 0], bad[5, 1, 1] = np.nan, np.inf, np.nan
    message = r"maps hold 2 NaN and 1 infinite scores among 864, the first at \(2, 3, 4\).*finite"
    for function in (anomaly_metrics, aupro, aupro_paper):
        with pytest.raises(ValueError, match=message):
            function(bad, masks)
    with pytest.raises(ValueError, match=r"scores hold 2 NaN"):
        auroc(bad, masks)
    image_scores = np.array([0, 1, -np.inf, 2, 3, 4])
    with pytest.raises(ValueError, match=r"image_scores hold 0 NaN and 1 infinite .*at \(2,\)"):
        anomaly_metrics(maps, masks, image_scores)


def test_shapes_that_do_not_match_are_both_named() -> None:
    maps, masks = example()
    with pytest.raises(ValueError, match=r"\(6, 12, 12\) and masks \(6, 12, 11\)"):
        anomaly_metrics(maps, masks[:, :, 1:])
    with pytest.raises(ValueError, match=r"\(6, 1, 12, 12\) and masks \(6, 1, 12, 12\).*squeeze"):
        anomaly_metrics(maps[:, None], masks[:, None])
    with pytest.raises(ValueError, match=r"image_scores have shape \(6, 1\) for 6 maps"):
        anomaly_metrics(maps, masks, np.zeros((6, 1)))
    with pytest.raises(ValueError, match=r"labels have shape \(5,\) for 6 maps"):
        anomaly_metrics(maps, masks, labels=np.zeros(5))
    with pytest.raises(ValueError, match=r"\(6, 12, 12\) and labels \(6,\)"):
        auroc(maps, masks.any(axis=(1, 2)))
    with pytest.raises(ValueError, match=r"\(6, 0, 12\) have no pixels"):
        anomaly_metrics(maps[:, :0], masks[:, :0])


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_memory_stays_within_what_the_docstring_says(share: float) -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((50, 64, 64), dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[:25, : round(share * 128)] = True
    anomaly_metrics(maps, masks)
    tracemalloc.start()
    anomaly_metrics(maps, masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 7 * maps.size + 80 * masks.sum()
