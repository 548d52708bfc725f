"""Backbones from timm: which features they give, from which weights, and what they refuse."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adpt.backbones import build_backbone
from adpt.backbones.positions import resize_position_embedding
from adpt.backbones.recipes import Recipe
from adpt.backbones.timm import _warn_of_gelu, build_timm
from adpt.errors import UserError, WeightsError

SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}
TRANSFORMERS = [
    "vit_tiny_patch16_224",
    "vit_base_patch14_reg4_dinov2",
    "vit_base_patch16_clip_quickgelu_224",
]


def randomised(model: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(model, **arguments).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network


def saved(state: Mapping[str, Tensor], path: Path) -> Path:
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("model", TRANSFORMERS)
@torch.no_grad()
def test_levels_are_the_raw_outputs_of_the_blocks(model: str, tmp_path: Path) -> None:
    network = randomised(model, img_size=112, **SMALL)
    file = saved(network.state_dict(), tmp_path / "weights.safetensors")
    recipe = Recipe(model, (0, 2), model_args=SMALL)
    backbone = build_timm("small", recipe, weights=file, image_size=112)

    outputs = []
    for block in (0, 2):
        network.blocks[block].register_forward_hook(lambda _m, _i, out: outputs.append(out))
    images = torch.randn(2, 3, 112, 112)
    network.forward_features(images)
    side = 112 // network.patch_embed.patch_size[0]
    for level, tokens in zip(backbone.levels(images), outputs, strict=True):
        expected = tokens[:, tokens.shape[1] - side * side :].transpose(1, 2)
        torch.testing.assert_close(level, expected.reshape(2, 32, side, side))


def test_clip_features_use_quickgelu_and_the_norm_before_the_blocks() -> None:
    recipe = Recipe("vit_base_patch16_clip_quickgelu_224", 2, model_args=SMALL)
    network = build_timm("small", recipe, pretrained=False).network
    hidden = torch.randn(5)
    torch.testing.assert_close(
        network.blocks[0].mlp.act(hidden), hidden * (1.702 * hidden).sigmoid()
    )
    assert isinstance(network.norm_pre, nn.LayerNorm)


def test_nothing_behind_the_last_level_is_kept() -> None:
    recipe = Recipe("vit_tiny_patch16_224", (0, 1), model_args=SMALL)
    network = build_timm("small", recipe, pretrained=False).network
    assert len(network.blocks) == 2
    assert not [key for key in network.state_dict() if key.startswith(("norm.", "head.", "fc_"))]


@pytest.mark.parametrize(("depth", "expected"), [(12, [2, 5, 8, 11]), (24, [5, 11, 17, 23])])
def test_a_transformer_gives_evenly_spaced_blocks(depth: int, expected: list[int]) -> None:
    recipe = Recipe("vit_tiny_patch16_224", model_args={**SMALL, "depth": depth})
    assert build_timm("small", recipe, pretrained=False).indices == tuple(expected)


@pytest.mark.parametrize(
    ("model", "arguments", "shapes"),
    [
        ("resnet18", {}, [(64, 16), (128, 8), (256, 4), (512, 2)]),
        ("convnext_atto", {}, [(40, 16), (80, 8), (160, 4), (320, 2)]),
        (
            "swin_tiny_patch4_window7_224",
            {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)},
            [(8, 16), (16, 8), (32, 4), (64, 2)],
        ),
        ("mobilenetv2_100", {}, [(24, 16), (32, 8), (96, 4), (320, 2)]),
        ("efficientnet_b0", {}, [(24, 16), (40, 8), (112, 4), (320, 2)]),
    ],
)
def test_other_networks_give_their_last_four_stages(
    model: str, arguments: dict[str, Any], shapes: list[tuple[int, int]]
) -> None:
    backbone = build_timm(
        model, Recipe(model, model_args=arguments), pretrained=False, image_size=64
    )
    levels = backbone(torch.rand(2, 3, 64, 64))
    assert [tuple(level.shape) for level in levels] == [(2, c, side, side) for c, side in shapes]
    assert backbone.channels == tuple(c for c, _ in shapes)


@torch.no_grad()
def test_stages_of_a_convolutional_network_are_its_own(tmp_path: Path) -> None:
    network = timm.create_model("resnet18").eval()
    file = saved(network.state_dict(), tmp_path / "resnet.safetensors")
    backbone = build_backbone("resnet18", weights=file, levels=[1, 3], image_size=64)
    images = torch.randn(1, 3, 64, 64)
    first = network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(images)))))
    third = network.layer3(network.layer2(first))
    for level, expected in zip(backbone.levels(images), (first, third), strict=True):
        torch.testing.assert_close(level, expected)


def literal_dinov2(embedding: Tensor, grid: int) -> Tensor:
    """The authors' `interpolate_pos_encoding`, for a stored grid of 37×37."""
    scale = (grid + 0.1) / 37.0
    patches = embedding[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    assert patches.shape[-2:] == (grid, grid)
    return torch.cat([embedding[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


@pytest.mark.parametrize("published", [False, True])
def test_dinov2_position_embedding_is_resized_as_its_authors_do(
    published: bool, tmp_path: Path
) -> None:
    model, arguments = "vit_base_patch14_dinov2.lvd142m", {**SMALL, "depth": 1}
    state = randomised(model, **arguments).state_dict()
    assert state["pos_embed"].shape == (1, 1370, 32)
    content = {**state, "mask_token": torch.zeros(1, 32)} if published else state
    file = saved(content, tmp_path / "dinov2.safetensors")
    recipe = Recipe(model, 1, model_args=arguments)
    backbone = build_timm("small", recipe, weights=file)

    got = backbone.network.pos_embed
    torch.testing.assert_close(got, literal_dinov2(state["pos_embed"], 16))
    timm_way = timm.layers.resample_abs_pos_embed(state["pos_embed"], [16, 16], [37, 37])
    assert (got - timm_way).abs().max() > 0.01
    native = build_timm("small", recipe, weights=file, image_size=518)
    torch.testing.assert_close(native.network.pos_embed, state["pos_embed"])


def test_dinov2_with_registers_is_resized_with_antialiasing(tmp_path: Path) -> None:
    model, arguments = "vit_base_patch14_reg4_dinov2.lvd142m", {**SMALL, "depth": 1}
    state = randomised(model, **arguments).state_dict()
    file = saved(state, tmp_path / "registers.safetensors")
    backbone = build_timm("small", Recipe(model, 1, model_args=arguments), weights=file)
    expected = F.interpolate(
        state["pos_embed"].reshape(1, 37, 37, 32).permute(0, 3, 1, 2),
        size=(16, 16),
        mode="bicubic",
        antialias=True,
    )
    torch.testing.assert_close(
        backbone.network.pos_embed, expected.permute(0, 2, 3, 1).flatten(1, 2)
    )


@pytest.mark.parametrize("grid", [8, 16, 17, 24, 32, 40, 73])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_resized_position_embedding_fits_any_grid(grid: int, offset: float) -> None:
    embedding = torch.randn(1, 37 * 37 + 1, 2)
    resized = resize_position_embedding(embedding, (grid, grid), offset)
    assert resized.shape == (1, grid * grid + 1, 2)
    torch.testing.assert_close(resized[:, 0], embedding[:, 0])


@pytest.mark.parametrize("tokens", [2 * 2 + 2, 3 * 3 + 3])
def test_position_embedding_with_more_than_a_class_token_is_refused(tokens: int) -> None:
    with pytest.raises(WeightsError, match=f"has {tokens} tokens"):
        resize_position_embedding(torch.zeros(1, tokens, 2), (4, 4))


def test_position_embedding_without_a_square_grid_is_refused() -> None:
    with pytest.raises(WeightsError, match="square grid"):
        resize_position_embedding(torch.zeros(1, 20 * 21, 2), (16, 16))


@pytest.mark.parametrize(("size", "nearest"), [(225, "224 and 238"), (10, "are 14")])
def test_a_size_between_patches_is_refused_before_weights_are_read(size: int, nearest: str) -> None:
    with pytest.raises(UserError, match=nearest):
        build_backbone("dinov2_b", image_size=size, weights="no/such/file.pth")


def test_images_of_another_size_than_the_network_was_built_for_are_refused() -> None:
    backbone = build_timm(
        "small", Recipe("vit_tiny_patch16_224", model_args=SMALL), pretrained=False, image_size=64
    )
    assert backbone(torch.rand(1, 3, 64, 64))[0].shape == (1, 32, 4, 4)
    with pytest.raises(UserError, match=r"64×64 px and got 80×80.*data\.image_size"):
        backbone(torch.rand(1, 3, 80, 80))


def test_an_unknown_name_brings_close_ones() -> None:
    with pytest.raises(UserError, match=r"neither a preset nor.*resnet18"):
        build_backbone("resnet81")
    with pytest.raises(UserError, match=r"no weights 'a9' for resnet18, but .*a1_in1k"):
        build_backbone("resnet18.a9")


@pytest.mark.parametrize("levels", [0, 6, [], [5], [3, 1], [-1]])
def test_levels_a_network_lacks_are_refused(levels: object) -> None:
    with pytest.raises(UserError, match="resnet18 has"):
        build_backbone("resnet18", levels=levels, pretrained=False)


def test_a_network_without_spatial_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_args, **_options: nn.Linear(2, 2))
    with pytest.raises(UserError, match="no spatial features"):
        build_backbone("resnet18", pretrained=False)


def test_own_mean_and_std_replace_those_of_the_model() -> None:
    backbone = build_backbone(
        "resnet18", pretrained=False, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]
    )
    assert backbone.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert backbone.std.tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_openai_weights_without_quickgelu_bring_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _warn_of_gelu.cache_clear()
    recipe = Recipe("vit_large_patch14_clip_224.openai", 1, model_args=SMALL)
    with caplog.at_level(logging.WARNING, "adpt"):
        build_timm("small", recipe, pretrained=False)
        build_timm("small", recipe, pretrained=False)
        right = "vit_large_patch14_clip_quickgelu_224.openai"
        build_timm("small", Recipe(right, 1, model_args=SMALL), pretrained=False)
    assert [right in record.message for record in caplog.records] == [True]


@pytest.mark.skipif("ADPT_SHARED" not in os.environ, reason="ADPT_SHARED names no folder")
def test_mobilenet_with_real_weights_tells_images_apart() -> None:
    weights = Path(os.environ["ADPT_SHARED"]) / "weights" / "mobilenetv2_100.safetensors"
    backbone = build_backbone("mobilenetv2", weights=weights, image_size=96)
    network = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    network.load_state_dict(safetensors.torch.load_file(weights))
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = network.blocks(network.bn1(network.conv_stem((images - 0.5) / 0.5)))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    # Rounding differs between layouts in memory, and that between processors.
    torch.testing.assert_close(backbone(images)[-1], expected, rtol=1e-4, atol=1e-4)
