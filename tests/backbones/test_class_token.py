"""The class token of a vision transformer: the one that timm has, in the same forward pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from adpt.backbones import Backbone, build_backbone
from adpt.backbones.recipes import PRESETS, Recipe
from adpt.backbones.timm import TimmBackbone, build_timm
from adpt.errors import UserError
from small import SmallBackbone

SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2}
WITH = [
    "vit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_small_patch16_dinov3_qkvb",
    "vit_pe_core_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
]
WITHOUT = [
    "vit_base_patch16_siglip_224.v2_webli",
    "vit_base_patch16_reg4_gap_256",
    "vit_relpos_small_patch16_224",
]


def small(model: str, levels: tuple[int, ...] = (0, 2), **more: Any) -> TimmBackbone:
    torch.manual_seed(0)
    made = build_timm("small", Recipe(model, levels, model_args=SMALL | more), pretrained=False)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.2)
    return made


@pytest.mark.parametrize("model", WITH)
@torch.no_grad()
def test_it_is_the_first_token_of_timm_out_of_the_last_block_used(model: str) -> None:
    backbone = small(model)
    assert backbone.has_class_token
    images = torch.rand(2, 3, 224, 224)
    *levels, token = backbone(images, class_token=True)
    assert all(map(torch.equal, levels, backbone(images)))
    assert token.shape == (2, 32, 1, 1)
    # The norm behind it is cut off, so these are all tokens as the block leaves them.
    mean, std = backbone.mean.view(1, 3, 1, 1), backbone.std.view(1, 3, 1, 1)
    tokens = backbone.network.forward_features((images - mean) / std)  # type: ignore[operator]
    torch.testing.assert_close(token[:, :, 0, 0], tokens[:, 0])
    patches = levels[-1].flatten(2).mT
    torch.testing.assert_close(patches, tokens[:, tokens.shape[1] - patches.shape[1] :])


@torch.no_grad()
def test_normed_it_is_what_timm_gives_of_the_whole_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=224, **SMALL).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    recipe = Recipe("vit_small_patch14_reg4_dinov2", (0, 2), model_args=SMALL)
    backbone = build_timm("small", recipe, weights=tmp_path / "weights.pth")
    images = torch.rand(2, 3, 224, 224)
    token = backbone.levels_and_token(images)[-1]
    expected = network.forward_features(images)[:, 0]
    torch.testing.assert_close(network.norm(token[:, :, 0, 0]), expected)


@torch.no_grad()
def test_it_takes_no_second_pass() -> None:
    backbone, passes = small("vit_tiny_patch16_224"), []
    first: nn.Module = backbone.network.blocks[0]  # type: ignore[index, union-attr, assignment]
    first.register_forward_hook(lambda *_: passes.append(1))
    backbone.encoding(True)(torch.rand(2, 3, 224, 224))
    assert len(passes) == 1


@pytest.mark.parametrize("class_token", [False, True])
def test_images_of_another_size_are_refused_with_it_too(class_token: bool) -> None:
    with pytest.raises(UserError, match="built for images of 224×224 px and got 224×112"):
        small("vit_tiny_patch16_224")(torch.rand(1, 3, 224, 112), class_token)


@pytest.mark.parametrize("model", WITHOUT)
def test_other_tokens_are_none_of_the_image(model: str) -> None:
    more = {"img_size": 224} if "256" in model else {}
    assert not small(model, **more).has_class_token


def test_one_that_timm_keeps_to_itself_cannot_be_had() -> None:
    backbone = build_timm("pit", Recipe("pit_ti_distilled_224", (0,)), pretrained=False)
    assert backbone.network.cls_token is not None
    assert not backbone.has_class_token


def refused(backbone: Backbone) -> str:
    with pytest.raises(UserError, match="A method uses the class token") as error:
        backbone(torch.rand(1, 3, 224, 224), class_token=True)
    with pytest.raises(UserError, match="method=mine uses the class token"):
        backbone.require_class_token("method=mine")
    return str(error.value)


class Plain(Backbone):
    """Of one's own, without a class token."""

    def __init__(self) -> None:
        super().__init__("plain", [3], mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.freeze()

    def levels(self, images: Tensor) -> list[Tensor]:
        return [images[..., ::8, ::8]]


class Mean(Plain):
    """Of one's own, with one."""

    has_class_token = True

    def levels_and_token(self, images: Tensor) -> list[Tensor]:
        return [*self.levels(images), images.mean((2, 3), keepdim=True)]


def test_what_has_none_is_refused() -> None:
    vit = {"name": "vit_tiny_patch16_224", "levels": [0], "pretrained": False, "image_size": 224}
    assert build_backbone(**vit).has_class_token
    assert "windows.size" in refused(build_backbone(**vit, windows=112))  # type: ignore[arg-type]
    assert "backbone=efficientnet_lite0 has none: choose a vision" in refused(SmallBackbone())
    assert "backbone=plain has none" in refused(Plain())


def test_a_backbone_of_ones_own_may_have_one() -> None:
    images = torch.rand(2, 3, 16, 16)
    level, token = Mean()(images, class_token=True)
    assert torch.equal(level, Mean()(images)[0])
    torch.testing.assert_close(token, images.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda level, token: [level],
        lambda level, token: [],
        lambda level, token: [token],
        lambda level, token: [token, level],
        lambda level, token: [level, level, token],
        lambda level, token: [level, token[..., 0, 0]],
        lambda level, token: [level, token.expand(-1, -1, 2, 1)],
    ],
)
def test_one_that_gives_another_thing_is_refused(wrong: Callable[..., list[Tensor]]) -> None:
    class Wrong(Mean):
        def levels_and_token(self, images: Tensor) -> list[Tensor]:
            return wrong(*super().levels_and_token(images))

    images = torch.rand(5, 3, 16, 16)
    with pytest.raises(UserError, match=r"Wrong.levels_and_token gave .* its 1 levels and behind"):
        Wrong()(images, class_token=True)
    assert torch.equal(Wrong()(images)[0], Mean()(images)[0])


@pytest.mark.slow
def test_which_presets_have_one() -> None:
    with torch.device("meta"):
        networks = {
            name: timm.create_model(recipe.model.partition(".")[0])
            for name, recipe in PRESETS.items()
        }
        found = {
            name
            for name, network in networks.items()
            if TimmBackbone(
                name, network, indices=[0], channels=[1], mean=[0.0] * 3, std=[1.0] * 3
            ).has_class_token
        }
    without = {"siglip2_b", "convnext", "wide_resnet50_2", "efficientnet_lite0", "mobilenetv2"}
    assert found == set(PRESETS) - without
