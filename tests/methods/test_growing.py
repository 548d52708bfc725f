"""Further images taken in without the earlier ones, against one fit on all of them."""

import pytest
import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import FeatureNorm, Method, PaDiM, PatchCore


def features(images: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(images, 12, 5, 5, generator=generator) * 3 + 1
    return [fine, torch.randn(images, 40, 3, 3, generator=generator) * 2]


def joined(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    return [torch.cat(pair) for pair in zip(first, second, strict=True)]


# Fewer images than channels at both levels, at one before, at one after, and at none.
@pytest.mark.parametrize(("images", "further"), [(1, 3), (9, 2), (9, 5), (20, 4), (35, 9), (50, 1)])
def test_padim_with_further_images_is_padim_of_all(images: int, further: int) -> None:
    old, new, other = features(images, 0), features(further, 1), features(4, 2)
    every = joined(old, new)
    grown, whole = PaDiM(48), PaDiM(48)
    grown.fit([old])
    whole.fit([every])
    left_out = grown.extend([[level[:1] for level in new], [level[1:] for level in new]], images)
    assert {k: v.shape for k, v in grown.state_dict().items()} == {
        k: v.shape for k, v in whole.state_dict().items()
    }
    torch.testing.assert_close(grown.score(other), whole.score(other), rtol=1e-5, atol=0)
    expected = whole.left_out_scores([every]).image[images:]
    torch.testing.assert_close(left_out.image, expected, rtol=1e-5, atol=0)


def test_patchcore_with_further_images_has_a_bank_of_all() -> None:
    old, new, other = features(10, 0), features(6, 1), features(40, 2)
    options = {"embedding_dim": 32, "coreset_ratio": 0.3}
    grown, whole = PatchCore(48, **options), PatchCore(48, **options)
    grown.fit([old])
    before = {tuple(row) for row in grown.bank.tolist()}
    whole.fit([joined(old, new)])
    left_out = grown.extend([new], 10)
    assert grown.bank.shape == whole.bank.shape
    patches = whole.embed(joined(old, new)).flatten(0, 1).tolist()
    assert {tuple(row) for row in grown.bank.tolist()} <= {tuple(row) for row in patches}
    assert before & {tuple(row) for row in grown.bank.tolist()}
    ratio = grown.score(other).image.median() / whole.score(other).image.median()
    assert 0.9 < ratio < 1.1
    # Of what an image would score if its own patches were looked at.
    assert (left_out.image > 1.5 * grown.score(new).image).all()


def test_feature_norm_keeps_nothing() -> None:
    new = features(3, 1)
    assert torch.equal(FeatureNorm(48).extend([new], 10).image, FeatureNorm(48).score(new).image)


def test_other_methods_say_that_they_must_be_fitted_again() -> None:
    with pytest.raises(UserError, match="takes no further images in: fit again"):
        Method.extend(PaDiM(48), [], 3)


def test_levels_of_other_shapes_are_refused() -> None:
    method = PaDiM(48)
    method.fit([features(4, 0)])
    with pytest.raises(UserError, match="fitted PaDiM was trained on"):
        method.extend([features(2, 1)[:1]], 4)
