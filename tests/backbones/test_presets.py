"""The presets are the networks that their names say, at the levels and with the input they say."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from adpt.backbones import PRESETS, build_backbone
from adpt.backbones.recipes import Recipe
from adpt.backbones.timm import build_timm

SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "width", "grid", "depth", "act", "eps"),
    [
        ("dinov2_s", 384, 16, 12, "GELU", 1e-6),
        ("dinov2_b", 768, 16, 12, "GELU", 1e-6),
        ("dinov2_l", 1024, 16, 24, "GELU", 1e-6),
        ("dinov2_s_reg", 384, 16, 12, "GELU", 1e-6),
        ("dinov2_b_reg", 768, 16, 12, "GELU", 1e-6),
        ("dinov2_l_reg", 1024, 16, 24, "GELU", 1e-6),
        ("dinov3_s", 384, 14, 12, "GELU", 1e-5),
        ("dinov3_b", 768, 14, 12, "GELU", 1e-5),
        ("dinov3_l", 1024, 14, 24, "GELU", 1e-5),
        ("siglip2_b", 768, 14, 12, "GELUTanh", 1e-6),
        ("pe_core_b", 768, 14, 12, "GELU", 1e-5),
        ("clip_b", 768, 14, 12, "QuickGELU", 1e-5),
        ("clip_l", 1024, 16, 24, "QuickGELU", 1e-5),
        ("imagebind", 1280, 16, 32, "GELU", 1e-6),
    ],
)
def test_transformers_are_the_networks_of_their_papers(
    name: str, width: int, grid: int, depth: int, act: str, eps: float
) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
        levels = backbone.levels(torch.zeros(1, 3, 224, 224))
    assert [tuple(level.shape) for level in levels] == [(1, width, grid, grid)] * 4
    assert backbone.channels == (width,) * 4
    blocks = backbone.network.blocks
    assert len(blocks) == depth
    assert backbone.indices == (depth // 4 - 1, depth // 2 - 1, depth * 3 // 4 - 1, depth - 1)
    assert type(blocks[0].mlp.act).__name__ == act
    norms = [module for module in backbone.modules() if isinstance(module, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {eps}
    normed_first = name.startswith(("clip", "imagebind", "pe_core"))
    assert isinstance(backbone.network.norm_pre, nn.LayerNorm) == normed_first
    rotary = name.startswith(("dinov3", "pe_core"))
    assert (getattr(backbone.network, "rope", None) is not None) == rotary


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("convnext", [(128, 56), (256, 28), (512, 14), (1024, 7)]),
        ("wide_resnet50_2", [(512, 28), (1024, 14)]),
    ],
)
def test_convolutional_presets_give_the_stages_they_say(
    name: str, shapes: list[tuple[int, int]]
) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
        levels = backbone.levels(torch.zeros(1, 3, 224, 224))
    assert [tuple(level.shape[1:]) for level in levels] == [(c, side, side) for c, side in shapes]
    assert backbone.channels == tuple(c for c, _ in shapes)


def test_wide_resnet_is_twice_as_wide_within_its_blocks() -> None:
    with torch.device("meta"):
        network = build_backbone("wide_resnet50_2", pretrained=False).network
    assert [network.get_submodule(f"layer{n}")[0].conv2.out_channels for n in (2, 3)] == [256, 512]
    assert [len(network.get_submodule(f"layer{n}")) for n in (2, 3)] == [4, 6]


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
@pytest.mark.parametrize("name", ["dinov2_s_reg", "dinov3_s", "siglip2_b", "pe_core_b"])
@torch.no_grad()
def test_any_size_gives_what_timm_gives_and_no_prefix_tokens(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    model = PRESETS[name].model
    size = (size[0] * 7 // 8, size[1] * 7 // 8) if "patch14" in model else size
    torch.manual_seed(0)
    network = timm.create_model(model, dynamic_img_size=True, **SMALL).eval()
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    outputs: list[torch.Tensor] = []
    for block in (1, 3):
        network.blocks[block].register_forward_hook(lambda _m, _i, out: outputs.append(out))
    images = torch.randn(2, 3, *size)
    network.forward_features(images)

    file = tmp_path / "weights.safetensors"
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, file)
    recipe = Recipe(model, (1, 3), model_args=SMALL)
    backbone = build_timm("small", recipe, weights=file, image_size=size)
    patch = network.patch_embed.patch_size[0]
    height, width = size[0] // patch, size[1] // patch
    prefix = {"dinov2_s_reg": 5, "dinov3_s": 5, "siglip2_b": 0, "pe_core_b": 1}
    for level, tokens in zip(backbone.levels(images), outputs, strict=True):
        assert tokens.shape[1] == prefix[name] + height * width
        expected = tokens[:, prefix[name] :].transpose(1, 2).reshape(2, 32, height, width)
        torch.testing.assert_close(level, expected)


@torch.no_grad()
def test_dinov3_is_read_as_its_authors_published_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = PRESETS["dinov3_b"].model
    network = timm.create_model(model, **SMALL).eval()
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    state = network.state_dict()
    published = {"storage_tokens": state.pop("reg_token"), "mask_token": torch.zeros(1, 32)}
    published |= {"rope_embed.periods": torch.ones(4)}
    for key, value in state.items():
        if key.endswith("q_bias"):
            biases = [value, torch.zeros(32), state[key.replace("q_bias", "v_bias")]]
            published[key.replace("q_bias", "qkv.bias")] = torch.cat(biases)
            published[key.replace("q_bias", "qkv.bias_mask")] = torch.ones(96)
        elif not key.endswith(("k_bias", "v_bias")):
            published[key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    torch.save(published, tmp_path / "dinov3.pth")
    recipe = Recipe(model, (1, 3), model_args=SMALL)
    backbone = build_timm("small", recipe, weights=tmp_path / "dinov3.pth", image_size=64)
    assert capsys.readouterr().out == ""
    images = torch.randn(2, 3, 64, 64)
    expected = network.forward_intermediates(images, indices=[1, 3], intermediates_only=True)
    for level, wanted in zip(backbone.levels(images), expected, strict=True):
        torch.testing.assert_close(level, wanted)


STATED = {
    "mobilenetv2": ((0.5,) * 3, (0.5,) * 3),
    "efficientnet_lite0": ((0.5,) * 3, (0.5,) * 3),
    "imagebind": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_normalise_as_their_weights_expect(name: str) -> None:
    recipe = PRESETS[name]
    arguments: dict[str, Any] = SMALL if recipe.model.startswith("vit_") else {}
    if name == "convnext":
        arguments = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}
    small = Recipe(recipe.model, 1, recipe.mean, recipe.std, arguments)
    backbone = build_timm(name, small, pretrained=False)
    recorded = get_pretrained_cfg(recipe.model)
    mean, std = STATED.get(name, (recorded.mean, recorded.std))
    assert backbone.mean.tolist() == pytest.approx(mean)
    assert backbone.std.tolist() == pytest.approx(std)
