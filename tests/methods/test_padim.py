"""PaDiM against a literal float64 version and scikit-learn."""

import numpy as np
import pytest
import torch
from literal import padim as literal
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import PaDiM, padim

SIZE = (18, 22)
# With 7 training images the first level is narrower, the others wider than there are images.
SHAPES = [(3, 5, 4), (7, 3, 3), (12, 2, 2)]


def draw(images: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=generator) * scale + offset for shape in SHAPES]


def fitted(train: list[Tensor], epsilon: float = 0.01) -> PaDiM:
    method = PaDiM(SIZE, epsilon=epsilon)
    method.fit([train])
    return method


def literal_distances(train: Tensor, test: Tensor, epsilon: float) -> np.ndarray:
    return literal.distances(test, literal.fit(train, epsilon))


@pytest.mark.parametrize("images", [2, 7, 20])
@pytest.mark.parametrize("on", ["training images", "other images"])
def test_score_equals_the_literal_float64_version(images: int, on: str) -> None:
    train = draw(images, scale=10, offset=30)
    test = train if on == "training images" else draw(4, seed=1, scale=10, offset=30)
    scores = fitted(train).score(test)
    expected = literal.literal_maps(train, test, SIZE)
    np.testing.assert_allclose(scores.maps, expected, rtol=1e-5)
    np.testing.assert_allclose(scores.image, expected.max((1, 2)), rtol=1e-5)


def test_low_rank_keeps_its_digits_for_strongly_correlated_long_features() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(1, 5, 200, generator=generator)

    def correlated(images: int) -> Tensor:
        weights = torch.randn(images, 5, generator=generator) * torch.logspace(2, -2, 5)
        noise = torch.randn(images, 200, generator=generator) * 0.01
        return ((weights @ directions[0]) + noise + 50)[:, :, None, None]

    train, test = correlated(30), correlated(10)
    method = fitted([train])
    for features in (train, test):
        found = method._distances(0, features)
        expected = literal_distances(train, features, 0.01)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_distances_equal_scikit_learn() -> None:
    train, test = torch.randn(40, 6, 1, 2), torch.randn(5, 6, 1, 2)
    found = fitted([train])._distances(0, test)
    for x in range(2):
        oracle = EmpiricalCovariance().fit(train[:, :, 0, x].double().numpy())
        covariance = oracle.covariance_ * 40 / 39 + 0.01 * np.eye(6)
        difference = test[:, :, 0, x].double().numpy() - oracle.location_
        expected = np.sqrt(np.sum(difference @ np.linalg.inv(covariance) * difference, axis=1))
        np.testing.assert_allclose(found[:, 0, x], expected, rtol=1e-5)


def test_low_rank_is_used_exactly_where_there_are_fewer_images_than_channels() -> None:
    names = set(fitted(draw(7)).state_dict())
    assert {name for name in names if name.startswith("basis")} == {"basis_2"}


def test_low_rank_form_equals_the_full_covariance_on_padded_images() -> None:
    # Adding each image's mirror about the mean keeps the mean and gives enough images for the full
    # form; its unbiased covariance is 2(n−1)/(2n−1) times the first.
    few = torch.randn(7, 12, 2, 2, dtype=torch.float64)
    many = torch.cat([few, 2 * few.mean(0) - few])
    test = torch.randn(4, 12, 2, 2)
    ratio = 2 * 6 / 13
    low_rank = fitted([few.float()], epsilon=0.01)
    full = fitted([many.float()], epsilon=0.01 * ratio)
    assert "basis_0" in low_rank.state_dict()
    assert "basis_0" not in full.state_dict()
    torch.testing.assert_close(
        low_rank._distances(0, test), full._distances(0, test) * ratio**0.5, rtol=1e-5, atol=0
    )


def test_one_training_image_gives_the_euclidean_distance_over_sqrt_epsilon() -> None:
    train, test = draw(1), draw(3, seed=1)
    method = fitted(train, epsilon=0.25)
    for number, (known, asked) in enumerate(zip(train, test, strict=True)):
        expected = (asked - known).norm(dim=1) / 0.5
        torch.testing.assert_close(method._distances(number, asked), expected)
    assert method.score(train).maps.abs().max().item() == 0


def test_repeated_training_images_are_no_obstacle() -> None:
    train = [level[:1].repeat(5, 1, 1, 1) for level in draw(1)]
    test = draw(2, seed=1)
    expected = literal.literal_maps(train, test, SIZE)
    np.testing.assert_allclose(fitted(train).score(test).maps, expected, rtol=1e-4)


def test_scaling_features_and_epsilon_alike_changes_nothing() -> None:
    train, test = draw(7), draw(3, seed=1)
    plain = fitted(train, epsilon=0.01).score(test)
    scaled = fitted([4 * level for level in train], epsilon=0.16).score([4 * x for x in test])
    torch.testing.assert_close(plain.maps, scaled.maps, rtol=1e-5, atol=0)


def test_order_of_training_images_does_not_matter() -> None:
    train, test = draw(7), draw(3, seed=1)
    backwards = [level.flip(0) for level in train]
    torch.testing.assert_close(
        fitted(train).score(test).maps, fitted(backwards).score(test).maps, rtol=1e-5, atol=0
    )


def test_chunks_of_positions_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = draw(7), draw(3, seed=1)
    whole = fitted(train).score(test).maps
    monkeypatch.setattr(padim, "_CHUNK_BYTES", 3000)
    torch.testing.assert_close(fitted(train).score(test).maps, whole, rtol=1e-5, atol=0)


def test_separates_features_out_of_place_which_shuffled_positions_cannot() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = torch.randn(1, 6, 6, 6, generator=generator)

    def images(count: int) -> Tensor:
        return layout + 0.3 * torch.randn(count, 6, 6, 6, generator=generator)

    train, normal, anomalous = images(12), images(20), images(20)
    # Normal features in the wrong places: only a model of positions can tell.
    anomalous[:, :, 2:4, 2:4] = anomalous[:, :, 4:6, 0:2]
    test, truth = torch.cat([normal, anomalous]), [0] * 20 + [1] * 20

    def auroc(training: Tensor) -> float:
        method = PaDiM(24)
        method.fit([[training]])
        return float(roc_auc_score(truth, method.score([test]).image))

    shuffled = torch.stack(
        [one.flatten(1)[:, torch.randperm(36, generator=generator)].view(6, 6, 6) for one in train]
    )
    assert auroc(train) > 0.99
    assert auroc(shuffled) < 0.8


def test_epsilon_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        PaDiM(SIZE, epsilon=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_that_are_not_numbers_are_refused(value: float, dtype: torch.dtype) -> None:
    train = [level.to(dtype) for level in draw(2)]
    train[1][1, 3, 1, 1] = value
    with pytest.raises(UserError, match="NaN"):
        fitted(train)
