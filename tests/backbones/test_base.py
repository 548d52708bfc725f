"""The contract every backbone keeps."""

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from adpt.backbones import build_backbone
from adpt.backbones.base import Backbone, Levels
from adpt.errors import UserError


class Identity(Backbone):
    def __init__(self) -> None:
        super().__init__("identity", [3], mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout()
        self.freeze()

    def levels(self, images: torch.Tensor) -> Levels:
        return [images * self.scale]


def test_forward_normalises_bytes_like_floats() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = torch.stack(
        [
            (images[:, i] / 255 - mean) / std
            for i, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)])
        ],
        dim=1,
    )
    backbone = Identity()
    torch.testing.assert_close(backbone(images)[0], expected)
    torch.testing.assert_close(backbone(images / 255)[0], expected)


def test_forward_takes_float_images_when_the_network_is_in_half_precision() -> None:
    assert Identity().bfloat16()(torch.rand(1, 3, 4, 4))[0].dtype == torch.bfloat16


def test_stays_frozen_inside_a_module_that_trains() -> None:
    holder = nn.Sequential(Identity())
    holder.train()
    backbone = holder[0]
    assert holder.training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone(torch.rand(1, 3, 4, 4, requires_grad=True))[0].requires_grad


def test_fingerprint_follows_the_weights() -> None:
    one, same, other = Identity(), Identity(), Identity()
    with torch.no_grad():
        other.scale += 1e-6
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint
    other_levels = build_backbone("embedded", levels=[0, 3]).fingerprint
    assert build_backbone("embedded", levels=[1, 3]).fingerprint != other_levels
    assert len(one.fingerprint) == 64


def test_embedded_has_four_levels_of_different_widths() -> None:
    backbone = build_backbone("embedded")
    levels = backbone(torch.rand(2, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (32, 16, 16),
        (64, 8, 8),
        (96, 4, 4),
        (128, 4, 4),
    ]
    assert backbone.channels == (32, 64, 96, 128)


def test_embedded_is_the_same_in_every_process() -> None:
    # Also a fixed value: another one means that demonstrations change with the installation.
    fingerprint = "1cf314bb1dd38ac5c4881852798ec30aadf9253138f00b6b6ca50811ec972b58"
    command = "from adpt.backbones import build_backbone as b; print(b('embedded').fingerprint)"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert result.stdout.decode().strip() == fingerprint
    assert build_backbone("embedded").fingerprint == fingerprint


def test_embedded_features_do_not_depend_on_the_batch_and_see_colour_and_texture() -> None:
    backbone = build_backbone("embedded")
    images = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    swapped = images.clone()
    swapped[:, [0, 2]] = images[:, [2, 0]]
    for both, alone, other in zip(
        backbone(images), backbone(images[:1]), backbone(swapped), strict=True
    ):
        torch.testing.assert_close(both[:1], alone)
        assert (both - other).abs().mean() > 0.1 * both.abs().mean()


def test_embedded_filters_are_orthogonal() -> None:
    for stage in build_backbone("embedded").stages:
        flat = stage.weight.flatten(1).double()
        expected = 2 * torch.eye(len(flat), dtype=torch.double)
        torch.testing.assert_close(flat @ flat.T, expected, atol=1e-3, rtol=0)


def test_embedded_says_that_it_is_for_demonstration(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adpt"):
        build_backbone("embedded")
    assert [record for record in caplog.records if "demonstration only" in record.message]


@pytest.mark.parametrize(("levels", "channels"), [(2, (96, 128)), ([0, 2], (32, 96))])
def test_embedded_gives_the_levels_asked_for(levels: object, channels: tuple[int, ...]) -> None:
    backbone = build_backbone("embedded", levels=levels)
    assert backbone.channels == channels
    assert tuple(level.shape[1] for level in backbone(torch.rand(1, 3, 32, 32))) == channels


@pytest.mark.parametrize("levels", [0, 5, [], [4], [2, 1], [-1]])
def test_embedded_refuses_levels_it_lacks(levels: object) -> None:
    with pytest.raises(UserError, match="levels 0 to 3"):
        build_backbone("embedded", levels=levels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "file.pth"}, "takes no weights"),
        ({"image_size": 0}, "positive number"),
        ({"image_size": 224.0}, "positive number"),
        ({"mean": [0.5]}, "three numbers"),
        ({"weights": "file.pth", "pretrained": False}, "drop one"),
    ],
)
def test_contradicting_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone("embedded", **options)
