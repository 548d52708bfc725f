"""The embedded backbone: its interface, and that its weights learned something."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from adpt.backbones import build_backbone
from adpt.backbones.base import Backbone
from adpt.backbones.embedded import EmbeddedNetwork
from adpt.data.foreign_textures import render_texture
from adpt.data.procedural.products import DOWNSTREAM_PRODUCTS
from adpt.data.procedural.render import Shot, photograph_defect
from adpt.errors import UserError

WEIGHTS_SHA256 = "162e64a31a47dd5964b853e6729c1434426488fca251ff033e787ddc104cec1a"


@pytest.fixture(scope="module")
def textures() -> Tensor:
    """Thirty materials that its training did not draw: (30, 3, 128, 128) uint8."""
    draws = (np.random.default_rng([99, index]) for index in range(30))
    return torch.stack([render_texture(rng, (128, 128)) for rng in draws])


def test_it_has_four_levels_of_different_widths() -> None:
    backbone = build_backbone("embedded")
    levels = backbone(torch.rand(2, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (32, 16, 16),
        (64, 8, 8),
        (96, 4, 4),
        (128, 4, 4),
    ]
    assert backbone.channels == (32, 64, 96, 128)


def test_the_smallest_images_have_every_level() -> None:
    assert [level.shape[-1] for level in build_backbone("embedded")(torch.rand(1, 3, 16, 16))] == [
        *(4, 2, 1, 1)
    ]


@pytest.mark.parametrize(("levels", "channels"), [(2, (96, 128)), ([0, 2], (32, 96))])
def test_it_gives_the_levels_asked_for(levels: object, channels: tuple[int, ...]) -> None:
    backbone = build_backbone("embedded", levels=levels)
    assert backbone.channels == channels
    images = torch.rand(1, 3, 32, 32)
    every = build_backbone("embedded")(images)
    for level, index in zip(backbone(images), backbone.indices, strict=True):
        torch.testing.assert_close(level, every[index])


@pytest.mark.parametrize("levels", [0, 5, [], [4], [2, 1], [-1]])
def test_it_refuses_levels_it_lacks(levels: object) -> None:
    with pytest.raises(UserError, match="levels 0 to 3"):
        build_backbone("embedded", levels=levels)


def test_it_is_the_same_in_every_process() -> None:
    # Also a fixed value: another one means that results change with the installation.
    told = "print(b.fingerprint, b.weights_sha256)"
    command = f"from adpt.backbones import build_backbone; b = build_backbone('embedded'); {told}"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    backbone = build_backbone("embedded")
    assert result.stdout.decode().split() == [backbone.fingerprint, WEIGHTS_SHA256]
    assert backbone.weights_sha256 == WEIGHTS_SHA256


def test_its_file_is_small_and_holds_finite_half_precision() -> None:
    packed = files("adpt.backbones").joinpath("embedded.safetensors").read_bytes()
    assert len(packed) < 1.5e6
    weights = load(packed)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(weight.isfinite().all() for weight in weights.values())
    assert {name: weight.shape for name, weight in weights.items()} == {
        name: weight.shape for name, weight in EmbeddedNetwork().state_dict().items()
    }


def test_features_do_not_depend_on_the_batch_and_see_colour_and_texture() -> None:
    backbone = build_backbone("embedded")
    images = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    swapped = images.clone()
    swapped[:, [0, 2]] = images[:, [2, 0]]
    for both, alone, other in zip(
        backbone(images), backbone(images[:1]), backbone(swapped), strict=True
    ):
        torch.testing.assert_close(both[:1], alone, atol=1e-4, rtol=1e-4)
        assert (both - other).abs().mean() > 0.1 * both.abs().mean()


def as_images(pictures: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def level_area(sound: Tensor, level: Tensor, mask: Tensor) -> float:
    """AUROC of one level; NaN where the mask covers no whole patch."""
    known, patches = (part.permute(0, 2, 3, 1).flatten(0, 2) for part in (sound, level))
    nearest = (normalize(patches, dim=1) @ normalize(known, dim=1).T).argmax(1)
    scores = (patches - known[nearest]).norm(dim=1)
    labels = adaptive_avg_pool2d(mask[None].float(), level.shape[-2:]).flatten() > 0.3
    return roc_auc_score(labels, scores) if labels.any() else float("nan")


def found(backbone: Backbone) -> float:
    """Mean AUROC of patches of products that the training did not draw, over all levels.

    A patch scores its distance to the most similar patch of three sound specimens.
    """
    areas = []
    for name, product in DOWNSTREAM_PRODUCTS.items():
        view, kinds = next(iter(product.views)), product.defects
        shots = [Shot(5, name, view, "NG", index) for index in range(3 + len(kinds))]
        drawn = [photograph_defect(product, shot, 128, kinds[0]) for shot in shots[:3]]
        sound = backbone(as_images([clean for clean, *_ in drawn]))
        for shot, kind in zip(shots[3:], kinds, strict=True):
            _, picture, mask = photograph_defect(product, shot, 128, kind)
            areas += [
                level_area(one, level, torch.from_numpy(mask))
                for one, level in zip(sound, backbone(as_images([picture])), strict=True)
            ]
    return float(np.nanmean(areas))


def test_its_weights_find_defects_and_shuffled_ones_do_so_less() -> None:
    learned, shuffled = build_backbone("embedded"), build_backbone("embedded")
    generator = torch.Generator().manual_seed(0)
    for name, weight in shuffled.state_dict().items():
        if "stages" in name and weight.ndim == 4:
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.reshape(-1)[order].view_as(weight))
    assert found(learned) > found(shuffled) + 0.07


def test_features_of_new_materials_are_centred_and_of_unit_size(textures: Tensor) -> None:
    for level in build_backbone("embedded")(textures):
        assert 0.3 < level.square().mean() < 3
        assert level.mean((0, 2, 3)).square().mean() < 0.5 * level.square().mean()


def test_it_says_that_it_knows_drawn_pictures_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adpt"):
        build_backbone("embedded")
    assert [record for record in caplog.records if "drawn pictures alone" in record.message]
