"""The contract every backbone keeps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from adpt.backbones import build_backbone
from adpt.backbones.base import Backbone, Levels
from adpt.errors import UserError
from small import SmallBackbone


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


class Counting(Identity):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def levels(self, images: torch.Tensor) -> Levels:
        self.seen.append(len(images))
        return super().levels(images)


def test_a_frozen_backbone_on_a_cpu_sees_few_images_at_once_in_their_order() -> None:
    backbone = Counting()
    images = torch.rand(10, 3, 4, 4)
    whole = backbone(images)[0]
    assert backbone.seen == [4, 4, 2]
    assert torch.equal(whole, torch.cat([backbone(images[i : i + 1])[0] for i in range(10)]))
    assert backbone(images[:0])[0].shape == (0, 3, 4, 4)
    backbone.unfreeze()
    backbone.seen.clear()
    backbone(images)[0].sum().backward()
    assert backbone.seen == [10]
    assert backbone.scale.grad is not None


def test_features_of_an_image_are_the_same_in_batches_of_any_size() -> None:
    backbone = SmallBackbone()
    images = torch.randint(0, 256, (9, 3, 64, 64), dtype=torch.uint8)
    whole = backbone(images)
    for size in (1, 2, 5, 9):
        parts = zip(*(backbone(part) for part in images.split(size)), strict=True)
        for level, part in zip(whole, parts, strict=True):
            torch.testing.assert_close(torch.cat(part), level, rtol=1e-6, atol=1e-5)


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
    other_levels = build_backbone("efficientnet_lite0", levels=[1, 4]).fingerprint
    assert build_backbone("efficientnet_lite0", levels=[2, 4]).fingerprint != other_levels
    assert len(one.fingerprint) == 64


class Powers(Identity):
    def __init__(
        self, power: float = 1, network: nn.Module | None = None, **others: object
    ) -> None:
        super().__init__()
        self.network = network
        self.power = power


def pooling(stride: int) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(2, stride=stride), nn.Conv2d(3, 3, 1, stride=stride))


def test_fingerprint_follows_options_mean_and_standard_deviation() -> None:
    torch.manual_seed(0)
    network = pooling(1)
    strided = pooling(2)
    strided.load_state_dict(network.state_dict())
    alike = [Powers(), Powers(1), Powers(power=1), copy.deepcopy(Powers())]
    assert len({one.fingerprint for one in alike}) == 1
    others = [
        *alike[:1],
        Powers(2),
        Powers(network=network),
        Powers(network=strided),
        Powers(kernel=torch.ones(3)),
        Powers(kernel=torch.zeros(3)),
        Powers(kernel=np.ones(3)),
        Powers(kernel=[1, (2, 3)]),
        Powers(kernel={"a": 1}),
        Powers(kernel="a"),
        Powers(kernel={1, 2}),
    ]
    assert len({one.fingerprint for one in others}) == len(others)
    torch.manual_seed(0)
    plain, shifted, scaled = (
        build_backbone("resnet10t", pretrained=False, levels=1, **options)
        for options in ({}, {"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)})
    )
    for changed in (shifted, scaled):
        changed.load_state_dict(plain.state_dict())
    assert plain.weights_sha256 == shifted.weights_sha256 == scaled.weights_sha256
    assert len({one.fingerprint for one in (plain, shifted, scaled)}) == 3


def test_what_decides_over_features_shows_layers_attributes_and_source() -> None:
    backbone = Powers(network=pooling(1))
    before = backbone.decides()
    assert backbone.decides() == before
    backbone.power = 3
    assert backbone.decides() != before
    backbone.power = 1
    backbone.grid = (2, 3)  # type: ignore[assignment]
    gridded = backbone.decides()
    assert gridded != before
    backbone.grid = (3, 2)  # type: ignore[assignment]
    assert backbone.decides() != gridded
    del backbone.grid
    assert backbone.network is not None
    backbone.network[1].stride = (2, 2)  # type: ignore[index]
    assert backbone.decides() != before
    assert len(before["source"]) == 64
    assert build_backbone("efficientnet_lite0").decides()["source"] is None


def test_files_of_before_options_counted_know_a_backbone_by_its_weights() -> None:
    backbone = build_backbone("efficientnet_lite0", levels=[2, 3])
    assert backbone.is_known_as(backbone.fingerprint)
    assert backbone.is_known_as(backbone.weights_sha256)
    assert not backbone.is_known_as(build_backbone("efficientnet_lite0", levels=[2, 4]).fingerprint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "file.pth"}, "no file is there"),
        ({"image_size": 0}, "positive number"),
        ({"image_size": 224.0}, "positive number"),
        ({"image_size": [64, 0]}, "positive number"),
        ({"image_size": [64, 64, 64]}, "positive number"),
        ({"mean": [0.5]}, "three numbers"),
        ({"weights": "file.pth", "pretrained": False}, "drop one"),
    ],
)
def test_contradicting_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone("efficientnet_lite0", **options)


def test_images_need_not_be_square_as_far_as_patches_divide_them() -> None:
    images = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    chosen = {
        "efficientnet_lite0": {},
        "resnet18": {"pretrained": False, "levels": [2]},
        "vit_tiny_patch16_224": {"pretrained": False, "levels": 1},
    }
    for name, options in chosen.items():
        (level, *_) = build_backbone(name, image_size=[64, 96], **options)(images)
        assert level.shape[-1] * 2 == level.shape[-2] * 3
    with pytest.raises(UserError, match=r"side of 90 in image_size.*nearest that do are 80 and 96"):
        build_backbone("vit_tiny_patch16_224", image_size=[64, 90], pretrained=False)


class Claims(Identity):
    """Claims levels of these widths, and gives one of three channels."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.channels = channels


@pytest.mark.parametrize("channels", [(5,), (3, 3), ()])
def test_levels_of_other_widths_than_claimed_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"Claims.levels gave \[\(1, 3, 4, 4\)\]: its channels"):
        Claims(*channels)(torch.rand(1, 3, 4, 4))
    assert len(Claims(3)(torch.rand(1, 3, 4, 4))) == 1
