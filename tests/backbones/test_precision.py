"""In which precision a frozen backbone computes, and where that is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adpt.backbones import WindowedBackbone, build_backbone
from adpt.backbones.precision import _tf32, computing_in, rounded
from adpt.backbones.recipes import Recipe
from adpt.backbones.timm import build_timm
from adpt.errors import UserError
from adpt.evaluation.feature_cache import FeatureCache
from small import SmallBackbone

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}


def images(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)


@pytest.mark.parametrize("precision", HALVES)
def test_features_are_float32_and_near_those_of_float32(precision: str) -> None:
    full, half = SmallBackbone(), SmallBackbone()
    half.precision = precision
    batch = images()
    for level, exact in zip(half(batch), full(batch), strict=True):
        assert level.dtype == torch.float32
        assert not torch.equal(level, exact)
        # Eleven bits of a number, or eight.
        most = {"float16": 0.01, "bfloat16": 0.08}[precision]
        assert (level - exact).norm() < most * exact.norm()
        # Half the bytes hold every one of them.
        assert torch.equal(level.to(half.kept_as).float(), level)


@pytest.mark.parametrize("precision", HALVES)
def test_products_take_half_and_sums_float32(precision: str) -> None:
    recipe = Recipe("vit_tiny_patch16_224", 2, model_args=SMALL)
    backbone = build_timm("small", recipe, pretrained=False, image_size=64)
    backbone.precision = precision
    seen: dict[str, torch.dtype] = {}
    block = backbone.network.blocks[0]
    block.attn.qkv.register_forward_hook(lambda _m, _i, out: seen.update(product=out.dtype))
    block.register_forward_hook(lambda _m, _i, out: seen.update(block=out.dtype))
    backbone(images())
    assert seen == {"product": HALVES[precision], "block": torch.float32}
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_precision_decides_and_is_no_part_of_what_a_projector_is_made_for() -> None:
    full = build_backbone("resnet10t", pretrained=False, levels=[1])
    half = build_backbone("resnet10t", pretrained=False, levels=[1], precision="bfloat16")
    half.load_state_dict(full.state_dict())
    assert half.is_known_as(full.fingerprint)
    assert half.fingerprint == full.fingerprint
    ours, theirs = half.decides(), full.decides()
    assert {key for key in ours if ours[key] != theirs[key]} == {"precision", "network"}


def test_windows_are_seen_in_it_too() -> None:
    options: dict[str, Any] = {"levels": [2], "image_size": 128, "windows": 64}
    full = build_backbone("efficientnet_lite0", **options)
    half = build_backbone("efficientnet_lite0", **options, precision="bfloat16")
    assert isinstance(half, WindowedBackbone)
    assert half.decides()["precision"] == "bfloat16"
    batch = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
    assert not torch.equal(half(batch)[0], full(batch)[0])
    assert half(batch)[0].dtype == torch.float32


def test_within_autocast_of_another_precision_its_own_holds() -> None:
    backbone = SmallBackbone()
    backbone.precision = "bfloat16"
    batch = images()
    alone = backbone(batch)
    with torch.autocast("cpu", torch.float16):
        within = backbone(batch)
    assert all(torch.equal(one, other) for one, other in zip(alone, within, strict=True))


def test_tf32_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"precision=tf32 needs an NVIDIA GPU.*bfloat16"):
        build_backbone("resnet10t", pretrained=False, precision="tf32")
    # On a machine that has one, but not for this.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    backbone = build_backbone("resnet10t", pretrained=False, precision="tf32")
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        backbone(images())


def test_tf32_is_allowed_while_the_backbone_computes_and_no_longer() -> None:
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    with _tf32():
        assert all(flag.allow_tf32 for flag in flags)
    assert [flag.allow_tf32 for flag in flags] == before


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match=r"precision=int8: choose one of float32, tf32"):
        build_backbone("resnet10t", pretrained=False, precision="int8")


def test_a_backbone_that_is_trained_computes_as_the_trainer_says() -> None:
    backbone = SmallBackbone()
    backbone.precision = "bfloat16"
    with pytest.raises(UserError, match=r"frozen.*trainer\.precision"):
        backbone.unfreeze()
    assert backbone.frozen


def test_features_beyond_the_largest_half_are_refused_not_infinite() -> None:
    level = torch.tensor([1.0, 7e4])
    with pytest.raises(UserError, match="65504"):
        rounded(level, "float16", "small")
    assert rounded(level, "bfloat16", "small").isfinite().all()
    assert rounded(level, "float32", "small") is level


def test_float32_leaves_autocast_as_it_finds_it() -> None:
    product = nn.Linear(2, 2)
    with torch.autocast("cpu", torch.bfloat16), computing_in("float32", "cpu"):
        assert product(torch.ones(1, 2)).dtype == torch.bfloat16


def test_the_cache_holds_halves_in_half_the_bytes(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    level = torch.randn(8, 16, 16).bfloat16().float()
    sizes = {}
    for dtype in (torch.float32, torch.bfloat16):
        space = cache.space(dtype, name=str(dtype))
        space.write("0" * 64, [level])
        (read,) = space.read(["0" * 64])
        assert read.dtype == torch.float32
        assert torch.equal(read[0], level)
        sizes[dtype] = space.path("0" * 64).stat().st_size
    header = 200
    assert sizes[torch.bfloat16] < sizes[torch.float32] / 2 + header


def test_a_model_file_says_it_where_it_is_not_float32() -> None:
    from adpt.inspection.settings import Settings
    from adpt.inspection.spec import backbone_spec

    def told(**options: Any) -> dict[str, Any]:
        spec = backbone_spec({"name": "efficientnet_lite0", **options}, 64)
        method = {"_target_": "adpt.methods.PaDiM", "image_size": 64}
        settings = Settings(spec, "padim", method, 64, None, 1, (0, 1))
        kept = json.loads(json.dumps(settings.to_json()))
        assert Settings.from_json(kept).backbone.get("precision", "float32") == options.get(
            "precision", "float32"
        )
        return dict(kept["backbone"])

    assert told(precision="bfloat16")["precision"] == "bfloat16"
    assert "precision" not in told(precision="float32")
