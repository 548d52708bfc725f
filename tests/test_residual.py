"""Residual features against brute-force loops, their invariances, and input that does not fit."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from adpt import nearest, residual
from adpt.residual import reference_scale, residual_features


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(11, 6), (3, 11, 6)], ids=["shared", "per image"])
def test_residuals_are_those_of_brute_force(shape: tuple[int, ...]) -> None:
    level = draw(3, 6, 2, 4)
    # Lengths far apart: the longest or the closest reference is seldom the one of nearest angle.
    references = draw(*shape, seed=1) * torch.logspace(-2, 2, 11)[:, None]
    (ours,) = residual_features([level], [references])
    torch.testing.assert_close(ours.double(), oracles.residuals(level, references))


def test_levels_of_different_sizes_and_widths_use_their_own_references() -> None:
    levels = [draw(2, 6, 4, 4), draw(2, 9, 2, 3)]
    references = [draw(5, 6, seed=1), draw(2, 7, 9, seed=2)]
    together = residual_features(levels, references)
    for ours, level, own in zip(together, levels, references, strict=True):
        torch.testing.assert_close(ours.double(), oracles.residuals(level, own))


@pytest.mark.parametrize("shape", [(11, 6), (3, 11, 6)], ids=["shared", "per image"])
def test_order_and_copies_of_references_do_not_matter(shape: tuple[int, ...]) -> None:
    level, references = draw(3, 6, 2, 4), draw(*shape, seed=1)
    (expected,) = residual_features([level], [references])
    for change in (references.flip(-2), torch.cat([references, references[..., :4, :]], dim=-2)):
        (changed,) = residual_features([level], [change])
        assert torch.equal(changed, expected)


def test_shared_references_are_each_image_s() -> None:
    level, references = draw(3, 6, 2, 4), draw(11, 6, seed=1)
    (shared,) = residual_features([level], [references])
    (each,) = residual_features([level], [references.expand(3, -1, -1)])
    assert torch.equal(each, shared)


def test_images_do_not_use_each_other_s_references() -> None:
    level, references = draw(2, 6, 2, 4), draw(2, 11, 6, seed=1)
    (expected,) = residual_features([level], [references])
    changed = references.clone()
    changed[1] = draw(11, 6, seed=2)
    (ours,) = residual_features([level], [changed])
    assert torch.equal(ours[0], expected[0])
    assert not torch.allclose(ours[1], expected[1])


def test_feature_among_the_references_leaves_nothing() -> None:
    level = draw(2, 6, 2, 4)
    own = level.flatten(2).transpose(1, 2)
    for references in (own, own.flatten(0, 1)):
        (ours,) = residual_features([level], [references])
        assert torch.equal(ours, torch.zeros_like(level))


def test_length_of_a_reference_changes_what_is_subtracted_but_not_which() -> None:
    level, references = draw(3, 6, 2, 4), draw(11, 6, seed=1)
    (once,) = residual_features([level], [references])
    scaled = references * torch.logspace(-3, 3, 11)[:, None]
    (ours,) = residual_features([level], [scaled])
    matched, rescaled = ((level - result).flatten(2).transpose(1, 2) for result in (once, ours))
    torch.testing.assert_close(
        F.normalize(matched, dim=-1), F.normalize(rescaled, dim=-1), rtol=1e-3, atol=1e-3
    )
    assert not torch.allclose(matched, rescaled)


@pytest.mark.parametrize("elements", [1, 8 * 11, 2 * 8 * 11])
def test_chunks_of_images_change_nothing(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    level, references = draw(5, 6, 2, 4), draw(5, 11, 6, seed=1)
    (whole,) = residual_features([level], [references])
    monkeypatch.setattr(residual, "CHUNK_ELEMENTS", elements)
    (chunked,) = residual_features([level], [references])
    assert torch.equal(chunked, whole)


@pytest.mark.parametrize(("rows", "tile"), [(1, 1), (7, 3), (40, 11)])
def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch, rows: int, tile: int) -> None:
    level, references = draw(5, 6, 2, 4), draw(11, 6, seed=1)
    (whole,) = residual_features([level], [references])
    monkeypatch.setattr(nearest, "_QUERIES", rows)
    monkeypatch.setattr(nearest, "_TILE", tile)
    (tiled,) = residual_features([level], [references])
    assert torch.equal(tiled, whole)


@pytest.mark.parametrize("shape", [(11, 6), (5, 11, 6)], ids=["shared", "per image"])
def test_result_does_not_depend_on_the_batch(shape: tuple[int, ...]) -> None:
    level, references = draw(5, 6, 2, 4), draw(*shape, seed=1)
    (together,) = residual_features([level], [references])
    alone = [
        residual_features(
            [level[i : i + 1]], [references if references.ndim == 2 else references[i : i + 1]]
        )[0]
        for i in range(5)
    ]
    assert torch.equal(torch.cat(alone), together)


def test_batch_without_images_gives_none() -> None:
    for references in (draw(11, 6), draw(0, 11, 6)):
        (ours,) = residual_features([draw(0, 6, 2, 4)], [references])
        assert ours.shape == (0, 6, 2, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_zero_vectors_give_finite_residuals(dtype: torch.dtype) -> None:
    level, references = draw(1, 6, 1, 3), draw(5, 6, seed=1)
    level[..., 1] = 0
    references[2] = 0
    (ours,) = residual_features([level.to(dtype)], [references.to(dtype)])
    assert ours.isfinite().all()
    assert any(torch.equal(-ours[0, :, 0, 1], one) for one in references.to(dtype))
    others = ours[..., [0, 2]].double()
    kept = references[[0, 1, 3, 4]].to(dtype)
    expected = oracles.residuals(level[..., [0, 2]].to(dtype), kept)
    torch.testing.assert_close(others, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_finds_the_same_reference_as_float64(dtype: torch.dtype) -> None:
    # Near each other and long: half precision alone could neither rank nor measure them.
    middle = draw(1, 6)
    references = (100 * (middle + 0.02 * draw(64, 6, seed=1))).to(dtype)
    level = (100 * (middle[..., None, None] + 0.02 * draw(2, 6, 4, 4, seed=2))).to(dtype)
    (ours,) = residual_features([level], [references])
    assert ours.dtype == dtype
    expected = oracles.residuals(level, references).to(dtype)
    assert torch.equal(ours, expected)


def test_autocast_does_not_change_the_choice() -> None:
    middle = draw(1, 6)
    references = middle + 0.02 * draw(64, 6, seed=1)
    level = middle[..., None, None] + 0.02 * draw(2, 6, 4, 4, seed=2)
    (expected,) = residual_features([level], [references])
    with torch.autocast("cpu", torch.bfloat16):
        (ours,) = residual_features([level], [references])
    assert torch.equal(ours, expected)


def test_result_keeps_the_level_s_type() -> None:
    (ours,) = residual_features([draw(1, 6, 2, 2).bfloat16()], [draw(5, 6, seed=1)])
    assert ours.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)], ids=["shared", "own"])
def test_gradient_goes_to_the_level_alone_and_as_it_is(shape: tuple[int, ...]) -> None:
    level, references = draw(2, 6, 2, 2).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    weight = draw(2, 6, 2, 2, seed=2)
    (residual_features([level], [references])[0] * weight).sum().backward()
    assert torch.equal(level.grad, weight)
    assert references.grad is None


def test_result_of_a_frozen_level_has_no_gradient() -> None:
    (ours,) = residual_features([draw(1, 6, 2, 2)], [draw(5, 6, seed=1).requires_grad_()])
    assert not ours.requires_grad


def test_input_is_left_as_it_was() -> None:
    level, references = draw(2, 6, 2, 4), draw(11, 6, seed=1)
    before = level.clone(), references.clone()
    residual_features([level], [references])
    assert torch.equal(level, before[0])
    assert torch.equal(references, before[1])


@pytest.mark.parametrize(
    "shape",
    [(5, 7), (0, 6), (3, 5, 6), (1, 5, 6), (2, 0, 6), (2, 5, 7), (6,), (2, 1, 5, 6)],
    ids=str,
)
def test_references_that_do_not_fit_are_an_error_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit a level of shape") as caught:
        residual_features([draw(2, 6, 2, 4)], [draw(*shape)])
    assert str(shape) in str(caught.value)
    assert "(2, 6, 2, 4)" in str(caught.value)


def test_another_number_of_references_than_levels_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 levels, but references for 1"):
        residual_features([draw(2, 6, 2, 4)] * 2, [draw(5, 6)])


def test_reference_scale_is_the_mean_residual_norm_of_each_against_the_others() -> None:
    torch.manual_seed(0)
    references = [torch.randn(3, 5, 4), torch.randn(3, 2, 6)]
    expected = []
    for level in references:
        norms = []
        for image in range(3):
            others = [level[other, patch] for other in range(3) if other != image
                      for patch in range(level.shape[1])]  # fmt: skip
            for patch in level[image]:
                nearest = max(others, key=lambda o: torch.cosine_similarity(o, patch, dim=0))
                norms.append((patch - nearest).norm())
        expected.append(torch.stack(norms).mean())
    torch.testing.assert_close(reference_scale(references), torch.stack(expected))


def test_reference_scale_of_equal_images_is_above_zero() -> None:
    same = torch.randn(1, 5, 4).repeat(2, 1, 1)
    assert reference_scale([same]).item() > 0


def test_reference_scale_needs_two() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        reference_scale([torch.randn(1, 5, 4)])
