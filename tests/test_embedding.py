"""The layout keeps near patches near, is the same each time and draws patches as it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.results.embedding import Embedding, embed, load_embedding, save_embedding


def drawn(
    images: int = 6, defective: int = 3, side: int = 6, distance: float = 20.0
) -> tuple[Tensor, Tensor]:
    """Random features (N, 8, side, side), moved by `distance` under masks of 8 pixels a patch."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 8, side, side, generator=generator)
    masks = torch.zeros(images, 8 * side, 8 * side, dtype=torch.bool)
    masks[:defective, 8:24, 24:32] = True
    features[:defective, :, 1:3, 3] += distance
    return features, masks


def neighbours_agree(embedding: Embedding, kind: str) -> float:
    """Share of anomalous patches whose nearest other patch is anomalous."""
    points = embedding.points[kind]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(1)[embedding.anomalous]
    return float(embedding.anomalous[nearest].mean())


def test_anomalous_patches_that_differ_lie_together_and_others_do_not() -> None:
    apart, masks = drawn()
    same, _ = drawn(distance=0.0)
    found = embed({"own": same, "pretrained": apart}, masks, seed=0)
    assert found.points["own"].shape == (6 * 36, 2)
    assert found.anomalous.sum() == 3 * 2
    assert neighbours_agree(found, "pretrained") == 1
    assert neighbours_agree(found, "own") <= 0.5


def test_layout_is_the_same_each_time_and_for_equal_features() -> None:
    features, masks = drawn(images=3)
    first = embed({"own": features, "residual": features}, masks, seed=3)
    again = embed({"own": features}, masks, seed=3)
    np.testing.assert_array_equal(first.points["own"], first.points["residual"])
    np.testing.assert_array_equal(first.points["own"], again.points["own"])
    np.testing.assert_array_equal(first.anomalous, again.anomalous)


@pytest.mark.parametrize(
    ("points", "anomalous"),
    [
        (216, 6),  # all there are
        (100, 6),  # a quarter would be more than there are
        (12, 3),  # a quarter
    ],
)
def test_rare_anomalous_patches_get_up_to_a_quarter_of_the_points(
    points: int, anomalous: int
) -> None:
    found = embed({"own": drawn()[0]}, drawn()[1], seed=0, points=points)
    assert len(found.anomalous) == points
    assert found.anomalous.sum() == anomalous


def test_frequent_anomalous_patches_keep_their_share() -> None:
    features, masks = drawn(images=4)
    masks[:2] = True
    masks[2:] = False
    found = embed({"own": features}, masks, seed=0, points=40)
    assert found.anomalous.sum() == 20


def test_seed_decides_which_patches_are_drawn() -> None:
    features, masks = drawn()
    layouts = [embed({"own": features}, masks, seed, points=30).points["own"] for seed in (0, 1)]
    assert not np.allclose(*layouts)


def test_patches_on_the_edge_of_a_defect_are_left_out() -> None:
    features, masks = drawn(images=2, defective=0)
    masks[0, :4, :8] = True  # half of a patch
    masks[0, 8:13, :8] = True  # more than half
    masks[0, 16, 0] = True  # a pixel
    found = embed({"own": features}, masks, seed=0)
    assert len(found.anomalous) == 2 * 36 - 2
    assert found.anomalous.tolist() == [index == 5 for index in range(70)]


@pytest.mark.parametrize("width", [1, 2])
def test_features_without_spread_or_of_little_width_are_laid_out(width: int) -> None:
    masks = drawn()[1]
    for features in (torch.zeros(6, width, 6, 6), torch.rand(6, width, 6, 6)):
        assert np.isfinite(embed({"own": features}, masks, 0, points=20).points["own"]).all()


def test_what_does_not_fit_is_refused() -> None:
    features, masks = drawn()
    with pytest.raises(ValueError, match="same images"):
        embed({"own": features, "residual": features[1:]}, masks, 0)
    with pytest.raises(ValueError, match="same images"):
        embed({"own": features}, masks[1:], 0)
    with pytest.raises(ValueError, match="at least 5 patches, got 4"):
        embed({"own": features[:1, :, :2, :2]}, torch.zeros(1, 16, 16, dtype=torch.bool), 0)


def test_file_holds_everything(tmp_path: Path) -> None:
    made = Embedding({"own": np.eye(2, dtype=np.float32)}, np.array([True, False]))
    save_embedding(tmp_path / "new" / "a.npz", made)
    read = load_embedding(tmp_path / "new" / "a.npz")
    assert list(read.points) == ["own"]
    np.testing.assert_array_equal(read.points["own"], made.points["own"])
    np.testing.assert_array_equal(read.anomalous, made.anomalous)


@pytest.mark.parametrize("content", [None, b"PK no archive"])
def test_damaged_or_missing_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz cannot be read .* evaluate again"):
        load_embedding(tmp_path / "a.npz")
