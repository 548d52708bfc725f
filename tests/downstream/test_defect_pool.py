"""Drawn defects on training images: how many are drawn anew, and what decides over each."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.data.texture_defects import TextureDefects
from adpt.errors import UserError
from adpt.evaluation import DefectPool
from drawn import draw_folder
from runs import folder_data
from small import SmallBackbone

CPU = torch.device("cpu")


class Counting(SmallBackbone):
    """Counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen += len(images)
        return super().forward(images)


def pool(root: Path, refresh: float, seed: int = 0) -> tuple[DefectPool, Counting]:
    data = folder_data(root)
    data.setup()
    samples = data.select("train", class_name="key")
    backbone = Counting()
    draw = TextureDefects(geometry=data.geometry)
    return DefectPool(
        samples,
        data.geometry,
        backbone,
        draw,
        batch_size=data.batch_size,
        device=CPU,
        refresh=refresh,
        seed=seed,
    ), backbone


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", ("key",), train=6)


def changed(before: Tensor, after: Tensor) -> list[int]:
    return [row for row in range(len(before)) if not torch.equal(before[row], after[row])]


@pytest.mark.parametrize(("refresh", "each"), [(1, 6), (0.5, 3), (1 / 3, 2), (0, 0)])
def test_a_share_is_drawn_anew_in_every_epoch_each_image_in_its_turn(
    root: Path, refresh: float, each: int
) -> None:
    drawn, backbone = pool(root, refresh)
    drawn.start_epoch(0)
    assert backbone.seen == 6
    turns: list[int] = []
    period = 6 // each if each else 1
    for epoch in range(1, 1 + period):
        before = drawn.read(range(6))[0][0].clone()
        backbone.seen = 0
        drawn.start_epoch(epoch)
        assert backbone.seen == each
        found = changed(before, drawn.read(range(6))[0][0])
        assert len(found) == each
        turns += found
    assert sorted(turns) == (list(range(6)) if each else [])


def test_what_is_drawn_depends_on_seed_image_and_epoch_alone(root: Path) -> None:
    steady, _ = pool(root, 0.5)
    for epoch in range(4):
        steady.start_epoch(epoch)
    resumed, backbone = pool(root, 0.5)
    resumed.start_epoch(3)
    assert backbone.seen == 6
    other, _ = pool(root, 0.5, seed=1)
    other.start_epoch(3)
    for ours, theirs, others in zip(
        steady.read(range(6))[0], resumed.read(range(6))[0], other.read(range(6))[0], strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert changed(ours, others) == list(range(6))
    assert torch.equal(steady.read(range(6))[1], resumed.read(range(6))[1])


def test_masks_lie_where_the_defects_are(root: Path) -> None:
    drawn, _ = pool(root, 1)
    drawn.start_epoch(0)
    levels, masks = drawn.read([1, 4])
    assert masks.shape == (2, 48, 48)
    assert [len(level) for level in levels] == [2, 2]
    assert drawn.read(range(6))[1].flatten(1).any(1).sum() >= 3


@pytest.mark.parametrize("refresh", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(root: Path, refresh: float) -> None:
    with pytest.raises(UserError, match=r"defects\.refresh="):
        pool(root, refresh)
