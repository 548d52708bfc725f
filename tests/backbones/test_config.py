"""Every file of conf/backbone for `build_backbone` composes, and its options are those of it."""

import inspect
import os
from pathlib import Path

import hydra
import pytest
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from adpt.backbones import PRESETS, build_backbone

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(
    path.stem
    for path in (CONF / "backbone").glob("*.yaml")
    if OmegaConf.load(path)["_target_"] == "adpt.backbones.build_backbone"
)
"""Of classes of their own tests/test_configs.py builds the files."""


def composed(name: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(overrides=[f"+backbone={name}", "+data.image_size=224", *overrides])
    return config.backbone


def test_there_is_a_file_for_every_preset() -> None:
    assert {*NAMES} == {*PRESETS, "timm"}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_one_of_build_backbone(name: str) -> None:
    config = composed(name, *(["backbone.name=resnet18"] if name == "timm" else []))
    options = dict(config)
    assert get_object(options.pop("_target_")) is build_backbone
    inspect.signature(build_backbone).bind(**options)
    assert options["image_size"] == 224
    assert options["name"] == ("resnet18" if name == "timm" else name)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_builds_as_far_as_weights_allow(name: str) -> None:
    if name == "efficientnet_lite0":
        assert instantiate(composed(name)).channels == (40, 112, 320)
    elif name == "timm":
        overrides = ["backbone.name=resnet10t", "backbone.levels=[1,2]", "backbone.mean=[0,0,0]"]
        config = composed(name, *overrides, "backbone.pretrained=false")
        assert isinstance(config.levels, ListConfig)
        backbone = instantiate(config)
        assert backbone.channels == (64, 128)
        assert backbone.mean.tolist() == [0, 0, 0]
    else:
        with torch.device("meta"):
            backbone = instantiate(composed(name, "backbone.pretrained=false"))
        assert backbone.name == name
        assert len(backbone.channels) == (2 if name == "wide_resnet50_2" else 4)


@pytest.mark.skipif("ADPT_SHARED" not in os.environ, reason="ADPT_SHARED names no folder")
def test_mobilenetv2_builds_with_its_weights() -> None:
    weights = Path(os.environ["ADPT_SHARED"]) / "weights" / "mobilenetv2_100.safetensors"
    backbone = instantiate(composed("mobilenetv2", f"backbone.weights={weights}"))
    assert backbone.channels == (24, 32, 96, 320)
