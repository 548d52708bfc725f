"""Scores of images that were fitted on, left out without fitting again, against fitting again."""

import pytest
import torch
from torch import Tensor

from adpt.methods import AnomalyDino, FeatureNorm, Method, PaDiM, PatchCore
from adpt.methods.left_out import left_out_patches

SIZE = 16


def levels_of(count: int, channels: tuple[int, ...] = (5, 8), seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, width, side, side, generator=generator)
        for width, side in zip(channels, (6, 3), strict=True)
    ]


def without(levels: list[Tensor], number: int) -> list[Tensor]:
    return [torch.cat([level[:number], level[number + 1 :]]) for level in levels]


def refitted(make, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Maps and image scores of each image by a method that was fitted on the others."""
    found = []
    for number in range(len(levels[0])):
        method: Method = make()
        method.fit([without(levels, number)])
        found.append(method.score([level[number : number + 1] for level in levels]))
    return torch.cat([one.maps for one in found]), torch.cat([one.image for one in found])


@pytest.mark.parametrize(
    ("make", "count"),
    [
        # Fewer images than channels, as many, and more; two have no spread without one of them.
        *[(lambda: PaDiM(SIZE), count) for count in (2, 3, 5, 6, 9, 30)],
        (lambda: PaDiM(SIZE, epsilon=1e-4), 7),
        # With all patches in the bank there is nothing to choose without an image.
        *[(lambda: PatchCore(SIZE, 1.0, embedding_dim=16), count) for count in (2, 7)],
        (lambda: FeatureNorm(SIZE), 4),
        *[(lambda: AnomalyDino(SIZE, 2), count) for count in (2, 5)],
    ],
)
def test_left_out_scores_are_those_of_fitting_again(make, count: int) -> None:
    levels = levels_of(count)
    method = make()
    method.fit([levels])
    # In other batches than those fitted on, and with the same image scores as maps.
    batches = [[level[:1] for level in levels], [level[1:] for level in levels]]
    found = method.left_out_scores(batches)
    maps, image = refitted(make, levels)
    torch.testing.assert_close(found.maps, maps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.image, image, rtol=1e-4, atol=1e-5)


def alike(count: int) -> list[Tensor]:
    """Images of one product: patches differ little between images, much between places."""
    base, noise = levels_of(1, seed=1), levels_of(count, seed=2)
    return [one + 0.2 * more for one, more in zip(base, noise, strict=True)]


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_a_chosen_bank_gives_about_what_refits_give(ratio: float) -> None:
    """Where the images' own patches stay in the bank, scores are 30 to 40 % lower."""

    def make() -> PatchCore:
        return PatchCore(SIZE, ratio, embedding_dim=16)

    levels = alike(12)
    method = make()
    method.fit([levels])
    found = method.left_out_scores([levels])
    _, image = refitted(make, levels)
    assert float((found.image / image).log().mean()) == pytest.approx(0, abs=0.08)
    assert float((method.score(levels).image / image).log().mean()) < -0.3


def literally(embedded: Tensor, bank: Tensor) -> Tensor:
    """`left_out_patches`, one distance at a time."""
    count, patches, _ = embedded.shape
    owner = [next(i for i in range(count) if (embedded[i] == row).all(1).any()) for row in bank]

    def distance(one: Tensor, other: Tensor) -> float:
        return float((one - other).square().sum())

    substitute: dict[int, Tensor] = {}
    least: dict[int, float] = {}
    for image in range(count):
        for patch in embedded[image]:
            row = min(range(len(bank)), key=lambda r: distance(patch, bank[r]))
            apart = distance(patch, bank[row])
            if owner[row] != image and apart < least.get(row, float("inf")):
                least[row], substitute[row] = apart, patch
    found = torch.zeros(count, patches)
    for image in range(count):
        rest = [bank[row] for row in range(len(bank)) if owner[row] != image]
        rest += [substitute[row] for row in substitute if owner[row] == image]
        for place, patch in enumerate(embedded[image]):
            found[image, place] = min(distance(patch, other) for other in rest)
    return found


@pytest.mark.parametrize(("count", "size"), [(2, 1), (2, 5), (5, 3), (5, 20)])
def test_left_out_patches_against_one_distance_at_a_time(count: int, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    embedded = torch.randn(count, 9, 4, generator=generator)
    bank = embedded.flatten(0, 1)[torch.randperm(count * 9, generator=generator)[:size]]
    found = left_out_patches(embedded.flatten(0, 1), count, bank)
    torch.testing.assert_close(found, literally(embedded, bank))


def test_the_copy_of_an_image_stands_in_for_it() -> None:
    one = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0))
    found = left_out_patches(torch.cat([one, one, one + 9]).flatten(0, 1), 3, one[0])
    assert (found[:2] == 0).all()
    assert (found[2] > 0).all()


def test_a_bank_of_other_images_cannot_tell() -> None:
    method = PatchCore(SIZE, 1.0, embedding_dim=16)
    method.fit([levels_of(3)])
    assert method.left_out_scores([levels_of(3, seed=5)]) is None
