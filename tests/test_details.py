"""Details hold scikit-learn's curves, histograms that add up, and maps that keep their range."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve, roc_curve
from torch import Tensor

from adpt.errors import UserError
from adpt.results.details import Details, details_of, load_details, save_details


def made(maps: Tensor, masks: Tensor) -> Details:
    """Details of maps (N, H, W) and their masks; an image's score is its map's maximum."""
    labels, scores = masks.flatten(1).any(1).long(), maps.flatten(1).amax(1)
    return details_of([f"{i}.png" for i in range(len(maps))], labels, masks, scores, maps)


def drawn(count: int = 6, side: int = 64, overlap: float = 2.0, steps: int = 0) -> Details:
    maps, masks = scores_and_masks(count, side, overlap, steps)
    return made(maps, masks)


def scores_and_masks(
    count: int = 6, side: int = 64, overlap: float = 2.0, steps: int = 0
) -> tuple[Tensor, Tensor]:
    """Random maps, higher within masks; with `steps` whole numbers, so that many are tied."""
    generator = torch.Generator().manual_seed(count)
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    masks[: count // 2 + 1, : side // 4, : side // 3] = True
    maps = overlap * torch.randn(count, side, side, generator=generator) + masks
    return ((maps * steps).round() if steps else maps), masks


def gap(ours: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Area between two curves over x."""
    grid = np.linspace(0, 1, 20001)
    return float(np.abs(np.interp(grid, *ours) - np.interp(grid, x, y)).mean())


@pytest.mark.parametrize("overlap", [0.05, 0.5, 3.0, 50.0])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_pixel_curves_are_scikit_learn_s(overlap: float, steps: int) -> None:
    maps, masks = scores_and_masks(overlap=overlap, steps=steps)
    found = made(maps, masks)
    labels, scores = masks.flatten().numpy(), maps.flatten().numpy()
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert found.pixel_roc.shape[1] <= 400
    assert found.pixel_pr.shape[1] <= 400
    assert gap(found.pixel_roc, fpr, tpr) < 0.005
    assert gap(found.pixel_pr, recall[::-1], precision[::-1]) < 0.005


def test_points_of_few_scores_are_exactly_scikit_learn_s() -> None:
    scores = torch.tensor([0.9, 0.1, 0.8, 0.8, 0.3, 0.3, 0.2, 0.95])
    labels = torch.tensor([1, 0, 1, 0, 1, 0, 0, 0])
    maps = torch.zeros(8, 4, 4)
    found = details_of([""] * 8, labels, labels[:, None, None].expand(maps.shape) > 0, scores, maps)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(labels, scores)
    # scikit-learn has further points, on the straight lines between ours.
    theirs = {(round(x, 6), round(y, 6)) for x, y in zip(fpr, tpr, strict=True)}
    assert {(round(float(x), 6), round(float(y), 6)) for x, y in found.image_roc.T} <= theirs
    theirs = {(round(x, 6), round(y, 6)) for x, y in zip(recall, precision, strict=True)}
    assert {(round(float(x), 6), round(float(y), 6)) for x, y in found.image_pr.T} <= theirs
    np.testing.assert_allclose(np.trapezoid(*found.image_roc[::-1]), np.trapezoid(tpr, fpr))


def test_curves_rise_from_corner_to_corner() -> None:
    for found in (drawn(), drawn(overlap=0.01), drawn(steps=1)):
        for roc in (found.image_roc, found.pixel_roc):
            assert roc[:, 0].tolist() == [0, 0]
            assert roc[:, -1].tolist() == [1, 1]
            assert (np.diff(roc) >= 0).all()
        for curve in (found.image_pr, found.pixel_pr):
            assert curve[:, 0].tolist() == [0, 1]
            assert curve[0, -1] == 1
            assert (np.diff(curve[0]) >= 0).all()
        assert found.pixel_pr[1, -1] == pytest.approx(4 * 16 * 21 / (6 * 64 * 64))


def test_order_of_images_changes_no_curve() -> None:
    maps, masks = scores_and_masks()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    found, other = made(maps, masks), made(maps[order], masks[order])
    for name in ("image_roc", "pixel_roc", "pixel_pr", "pixel_histogram"):
        np.testing.assert_array_equal(getattr(found, name), getattr(other, name))


@pytest.mark.parametrize("anomalous", [False, True])
def test_images_of_one_kind_have_histograms_and_no_curves(anomalous: bool) -> None:
    maps, _ = scores_and_masks()
    found = made(maps, torch.full(maps.shape, anomalous))
    for curve in (found.image_roc, found.image_pr, found.pixel_roc, found.pixel_pr):
        assert curve.shape == (2, 0)
    normal, wrong = found.pixel_histogram[1:].sum(1)
    assert (normal, wrong) == (pytest.approx(1 - anomalous), pytest.approx(float(anomalous)))


def test_a_single_image_has_pixel_curves() -> None:
    found = drawn(count=1)
    assert found.image_roc.shape == (2, 0)
    assert found.pixel_roc.shape[1] > 100
    assert found.maps.shape == (1, 64, 64)


@pytest.mark.parametrize("score", [0.0, -3.0, 1e30, 1e-30])
def test_constant_scores_give_the_diagonal(score: float) -> None:
    maps, masks = torch.full((4, 8, 8), score), torch.zeros(4, 8, 8, dtype=torch.bool)
    masks[:2, :4] = True
    found = made(maps, masks)
    assert found.pixel_roc.T.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert set(found.pixel_pr[1].tolist()) == {1, 0.25}
    assert (found.maps == 0).all()
    edges, *shares = found.pixel_histogram
    assert (np.diff(edges) > 0).all()
    for share in shares:
        assert share[0] == 1


def test_histograms_are_numpy_s_over_the_whole_range() -> None:
    maps, masks = scores_and_masks()
    found = made(maps, masks).pixel_histogram
    scores, wrong = maps.flatten().numpy(), masks.flatten().numpy()
    edges = np.append(found[0], scores.max())
    for share, kind in zip(found[1:], (~wrong, wrong), strict=True):
        counts, _ = np.histogram(scores[kind], edges)
        # A score within rounding of an edge may fall on either side of it.
        assert np.abs(share * kind.sum() - counts).max() <= 1
        assert share.sum() == pytest.approx(1)


def test_nearly_constant_scores_have_distinct_bins() -> None:
    maps = torch.ones(2, 4, 4)
    maps[0, 0, 0] = 1 + 2**-23
    edges = made(maps, maps > 1).pixel_histogram[0]
    assert (np.diff(edges) > 0).all()


def test_maps_are_made_smaller_and_lie_between_0_and_1() -> None:
    maps = torch.zeros(2, 128, 256)
    maps[0, :64], maps[1] = -2.0, 6.0
    found = made(maps, maps > 1)
    assert found.maps.dtype == np.float16
    assert found.maps.shape == (2, 32, 64)
    assert found.map_range.tolist() == [-2, 6]
    assert (found.maps[0, :16] == 0).all()
    assert (found.maps[0, 16:] == 0.25).all()
    assert (found.maps[1] == 1).all()


def test_file_holds_everything(tmp_path: Path) -> None:
    found = drawn()
    save_details(found, tmp_path / "new" / "a.npz")
    read = load_details(tmp_path / "new" / "a.npz")
    for field in dataclasses.fields(Details):
        expected = getattr(found, field.name)
        np.testing.assert_array_equal(getattr(read, field.name), expected)
        assert getattr(read, field.name).dtype == expected.dtype


@pytest.mark.parametrize("content", [None, b"", b"PK no archive"])
def test_damaged_or_missing_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz cannot be read .* evaluate again"):
        load_details(tmp_path / "a.npz")
