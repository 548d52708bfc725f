"""Defects drawn on normal images."""

import pytest
import torch

from adpt.data import Folder
from adpt.data.synthetic import AREA, SyntheticDefects
from adpt.errors import DataError
from drawn import draw_folder

IMAGE = torch.randint(0, 255, (3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()


def test_the_mask_is_where_the_image_changed() -> None:
    for seed in range(30):
        image, mask = SyntheticDefects(1.0)(IMAGE, seed)
        changed = (image.int() - IMAGE.int()).abs().amax(0) > 8
        assert image.dtype == torch.uint8
        assert mask[changed].all()
        untouched = ~torch.nn.functional.max_pool2d(changed[None].float(), 7, 1, 3)[0].bool()
        assert not mask[untouched].any()


def test_defects_cover_the_stated_area() -> None:
    areas = [SyntheticDefects(1.0)(IMAGE, seed)[1].float().mean() for seed in range(60)]
    drawn = torch.stack([area for area in areas if area > 0])
    assert len(drawn) > 50
    assert drawn.max() < 1.5 * AREA[1]
    assert drawn.max() > 4 * drawn.min()


def test_the_seed_decides_and_the_share_is_kept() -> None:
    draw = SyntheticDefects(0.5)
    once = [draw(IMAGE, seed)[0] for seed in range(200)]
    again = [draw(IMAGE, seed)[0] for seed in range(200)]
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    touched = sum(not torch.equal(image, IMAGE) for image in once)
    assert 70 < touched < 130


def test_share_zero_draws_nothing() -> None:
    image, mask = SyntheticDefects(0.0)(IMAGE, 3)
    assert image is IMAGE
    assert not mask.any()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=r"synthetic_defects"):
        SyntheticDefects(share)


def test_pretraining_labels_drawn_defects_and_leaves_the_others(tmp_path) -> None:
    draw_folder(tmp_path)
    for share in (0.0, 1.0):
        data = Folder(tmp_path, image_size=64, num_workers=0, synthetic_defects=share)
        data.setup()
        normal = {str(s.image) for s in data.pretraining_samples() if s.label == 0}
        for batch in data.train_dataloader():
            assert torch.equal(batch.label.bool(), batch.mask.flatten(1).any(1))
            drawn = [bool(label) for label, path in zip(batch.label, batch.path, strict=True)
                     if path in normal]  # fmt: skip
            assert any(drawn) == (share == 1.0)
