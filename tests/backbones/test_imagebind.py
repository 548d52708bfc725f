"""ImageBind's image trunk against a small literal version with the published key names."""

from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from adpt.backbones import build_backbone
from adpt.backbones.imagebind import to_timm
from adpt.errors import WeightsError

WIDTH, DEPTH, HEADS, GRID = 32, 3, 4, 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, bias=True, add_bias_kv=False)
        self.norm_1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)}
        )
        self.norm_2 = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm_2(tokens)))
        return tokens + self.mlp["fc2"](hidden)


class Trunk(nn.Module):
    """What ImageBind computes from an image, written out."""

    def __init__(self) -> None:
        super().__init__()
        vision = nn.Module()
        vision.rgbt_stem = nn.Module()
        vision.rgbt_stem.proj = nn.Sequential(
            nn.Identity(), nn.Conv3d(3, WIDTH, (2, 14, 14), (2, 14, 14), bias=False)
        )
        vision.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        vision.pos_embedding_helper = nn.Module()
        vision.pos_embedding_helper.pos_embed = nn.Parameter(torch.zeros(1, GRID**2 + 1, WIDTH))
        trunk = nn.Module()
        trunk.pre_transformer_layer = nn.Sequential(nn.LayerNorm(WIDTH, eps=1e-6))
        trunk.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.modality_preprocessors = nn.ModuleDict({"vision": vision, "text": nn.Linear(2, 2)})
        self.modality_trunks = nn.ModuleDict({"vision": trunk})

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        vision, trunk = self.modality_preprocessors["vision"], self.modality_trunks["vision"]
        film = torch.stack([images, images], dim=2)
        patches = vision.rgbt_stem.proj(film).flatten(2).transpose(1, 2)
        tokens = torch.cat([vision.cls_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = tokens + vision.pos_embedding_helper.pos_embed
        tokens = trunk.pre_transformer_layer(tokens).transpose(0, 1)
        outputs = []
        for block in trunk.blocks:
            tokens = block(tokens)
            grid = tokens[1:].permute(1, 2, 0)
            outputs.append(grid.reshape(len(images), WIDTH, GRID, GRID))
        return outputs


@pytest.fixture
def trunk() -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk().eval()
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(std=0.2)
    return trunk


@torch.no_grad()
def test_converted_weights_give_the_outputs_of_every_block(trunk: Trunk) -> None:
    network = VisionTransformer(
        img_size=14 * GRID,
        patch_size=14,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        pre_norm=True,
        final_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).eval()
    network.load_state_dict(to_timm(trunk.state_dict()))
    images = torch.randn(2, 3, 14 * GRID, 14 * GRID)
    got = network.forward_intermediates(images, intermediates_only=True)
    for ours, theirs in zip(got, trunk(images), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_missing_keys_are_named(trunk: Trunk) -> None:
    state = trunk.state_dict()
    del state["modality_trunks.vision.blocks.1.norm_2.bias"]
    with pytest.raises(WeightsError, match=r"1 keys .*blocks\.1\.norm_2\.bias"):
        to_timm(state)
    with pytest.raises(WeightsError, match="cls_token"):
        to_timm({"fc.weight": torch.zeros(1)})


def test_a_flat_patch_kernel_is_refused(trunk: Trunk) -> None:
    state = trunk.state_dict()
    key = "modality_preprocessors.vision.rgbt_stem.proj.1.weight"
    state[key] = state[key][:, :, 0]
    with pytest.raises(WeightsError, match="3-D convolution"):
        to_timm(state)


def test_without_a_file_says_where_to_get_it_and_its_licence() -> None:
    with pytest.raises(WeightsError, match=r"imagebind_huge\.pth .*CC BY-NC-SA 4\.0"):
        build_backbone("imagebind")
