"""AnomalyDINO: literal distances, its original's numbers, scores of images left out."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from adpt.methods import AnomalyDino
from filled import numbers


def fitted(levels: list[torch.Tensor], **options: int) -> AnomalyDino:
    method = AnomalyDino((22, 24), **options)
    method.fit([[level[:1] for level in levels], [level[1:] for level in levels]])
    return method


def test_image_scores_are_the_originals() -> None:
    # `mean_top1p` of github.com/dammsi/AnomalyDINO (b3435f0) of the halved squared distances that
    # its index gives of vectors of length 1.
    method = fitted([numbers(3, 5, 11, 12, shift=0.2)])
    scores = method.score([numbers(2, 5, 11, 12, shift=0.25) ** 2])
    torch.testing.assert_close(scores.image, torch.tensor([0.8065664, 0.8065633]))


def test_an_images_score_is_the_mean_of_the_largest_hundredth() -> None:
    normal, test = (torch.randn(2, 3, 20, 20) for _ in range(2))
    method = fitted([normal])
    bank = method.directions([normal]).flatten(0, 1)
    distances = 1 - (method.directions([test]) @ bank.mT).amax(2)
    assert distances.shape[1] > 200
    few = max(1, distances.shape[1] // 100)
    expected = distances.topk(few, 1).values.mean(1)
    torch.testing.assert_close(method.score([test]).image, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_levels", [1, 2, 9])
def test_distances_equal_the_literal_ones(num_levels: int) -> None:
    shapes = [(3, 20, 22), (5, 11, 12)]
    normal, test = ([torch.randn(2, *shape) for shape in shapes] for _ in range(2))
    if num_levels > 1:  # Not resized, so that the literal version needs no resizing.
        normal[0], test[0] = normal[0][..., :11, :12], test[0][..., :11, :12]
    method = fitted(normal, num_levels=num_levels)
    used = slice(-num_levels, None)

    def vectors(levels: list[torch.Tensor], image: int, row: int, column: int) -> list[np.ndarray]:
        patches = [level[image, :, row, column].double().numpy() for level in levels[used]]
        return [patch / np.linalg.norm(patch) for patch in patches]

    places = [(row, column) for row in range(11) for column in range(12)]
    bank = [vectors(normal, image, *place) for image in range(2) for place in places]
    scores = method.score(test)
    for image in range(2):
        grid = np.zeros((11, 12))
        for place in places:
            one = vectors(test, image, *place)
            grid[place] = min(
                np.mean([1 - a @ b for a, b in zip(one, other, strict=True)]) for other in bank
            )
        assert float(scores.image[image]) == pytest.approx(grid.max(), rel=1e-4)
        large = torch.nn.functional.interpolate(
            torch.tensor(grid)[None, None], (22, 24), mode="bilinear", align_corners=False
        )[0, 0]
        expected = gaussian_filter(large.numpy(), 4)
        np.testing.assert_allclose(scores.maps[image].numpy(), expected, rtol=1e-3, atol=1e-5)


def test_a_normal_image_scores_nothing_and_levels_are_resized() -> None:
    levels = [torch.randn(3, 4, 20, 9), torch.randn(3, 6, 10, 5)]
    scores = fitted(levels, num_levels=2).score(levels)
    assert scores.maps.shape == (3, 22, 24)
    assert float(scores.maps.abs().max()) < 1e-6


def test_no_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="num_levels"):
        AnomalyDino(num_levels=0)
