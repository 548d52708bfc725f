"""The literal step that the benchmark times computes what the project's step computes."""

import pytest
import torch
from literal.projector import PublishedProjector
from parts.pretraining import Both

from adpt.backbones import build_backbone


@pytest.fixture(scope="module")
def both() -> Both:
    backbone = build_backbone("vit_tiny_patch16_224", levels=2, pretrained=False, image_size=64)
    return Both(backbone, side=64, num_references=8)


def test_steps_have_the_same_losses(both: Both) -> None:
    ours = both.ours()
    literal = both.theirs()
    steps = [(ours(), literal()) for _ in range(3)]
    assert steps[0][0] != pytest.approx(steps[2][0], rel=1e-3), "nothing was learned"
    for own, other in steps:
        assert own == pytest.approx(other, rel=1e-5)


def test_gated_images_do_not_mix() -> None:
    projector = PublishedProjector([16], 2, 4)
    images = torch.randn(3, 16, 2, 2)
    together = projector([images])[0]
    alone = torch.cat([projector([image[None]])[0] for image in images])
    torch.testing.assert_close(together, alone)
