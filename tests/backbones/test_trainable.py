"""Backbones that learn: gradients, fingerprints, and weights that come back from a file."""

from pathlib import Path

import pytest
import torch

from adpt.backbones import build_backbone
from adpt.backbones.imagebind import to_timm
from adpt.backbones.recipes import Recipe
from adpt.backbones.timm import TimmBackbone, build_timm
from adpt.weights import save_backbone

VIT = {"embed_dim": 32, "depth": 4, "num_heads": 2}
RECIPES = {
    "vit": Recipe("vit_tiny_patch16_224", (1, 2), model_args=VIT),
    "dinov2": Recipe("vit_small_patch14_dinov2", (1, 3), model_args=VIT),
    "clip": Recipe("vit_base_patch16_clip_quickgelu_224", (0, 2), model_args=VIT),
    "imagebind": Recipe(
        "vit_huge_patch14_clip_224",
        (1, 3),
        model_args=VIT,
        convert=to_timm,
        position_offset=0.0,
        where="a file",
    ),
    "resnet": Recipe("resnet10t", (1, 2)),
    "mobilenetv2": Recipe("mobilenetv2_035", (2, 3), model_args={"pad_type": "same"}),
    "convnext": Recipe("convnext_atto", (1, 2)),
    "swin": Recipe(
        "swin_tiny_patch4_window7_224",
        (0, 1),
        model_args={"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    ),
}


def size_of(name: str) -> int:
    return {"dinov2": 56, "imagebind": 56, "swin": 112}.get(name, 64)


def built(name: str, weights: Path | None = None, seed: int = 0) -> TimmBackbone:
    torch.manual_seed(seed)
    recipe = RECIPES[name]
    random = weights is None
    return build_timm(
        name, recipe, weights=weights, pretrained=not random, image_size=size_of(name)
    )


def images(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, size_of(name), size_of(name), generator=generator)


@pytest.mark.parametrize("name", RECIPES)
def test_learned_weights_come_back_from_their_file(name: str, tmp_path: Path) -> None:
    backbone = built(name)
    start = backbone.fingerprint
    backbone.unfreeze()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    assert backbone.fingerprint != start
    save_backbone(backbone.weights, tmp_path / "backbone.safetensors")
    again = built(name, tmp_path / "backbone.safetensors", seed=7)
    assert again.frozen
    assert again.fingerprint == backbone.fingerprint
    with torch.no_grad():
        for one, other in zip(again(images(name)), backbone(images(name)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", RECIPES)
def test_gradient_reaches_every_weight_of_an_unfrozen_backbone(name: str) -> None:
    """What got none would stop training in several processes."""
    backbone = built(name)
    backbone.unfreeze()
    sum(level.square().sum() for level in backbone(images(name))).backward()
    without = [key for key, value in backbone.named_parameters() if value.grad is None]
    assert without == []


def test_unfrozen_stays_in_evaluation_mode_and_keeps_its_batch_statistics() -> None:
    backbone = built("resnet")
    backbone.unfreeze()
    backbone.train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(images("resnet"))
    assert not any(module.training for module in backbone.modules())
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())


def test_without_gradient_where_none_is_wanted_and_after_freezing() -> None:
    backbone = built("resnet")
    backbone.unfreeze()
    assert backbone(images("resnet"))[0].requires_grad
    with torch.no_grad():
        assert not backbone(images("resnet"))[0].requires_grad
    backbone.freeze()
    assert not backbone(images("resnet").requires_grad_())[0].requires_grad


def test_fingerprint_of_a_frozen_backbone_is_kept_and_of_a_learning_one_follows() -> None:
    backbone = built("resnet")
    first = backbone.fingerprint
    backbone.unfreeze()
    assert backbone.fingerprint == first
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    moved = backbone.fingerprint
    assert moved != first
    backbone.freeze()
    assert backbone.fingerprint == moved
    # In another precision it is still the one that was asked for first.
    assert backbone.bfloat16().fingerprint == moved


def test_weights_of_a_package_learn_and_come_back_from_their_file(tmp_path: Path) -> None:
    backbone = build_backbone("efficientnet_lite0", levels=[1, 2])
    start = backbone.fingerprint
    backbone.unfreeze()
    with torch.no_grad():
        backbone.network.conv_stem.weight += 1
    save_backbone(backbone.weights, tmp_path / "backbone.safetensors")
    back = build_backbone(
        "efficientnet_lite0", levels=[1, 2], weights=tmp_path / "backbone.safetensors"
    )
    assert back.weights_sha256 == backbone.weights_sha256
    assert back.fingerprint != start
