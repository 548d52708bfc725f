"""PaDiM against the whole covariance, with fewer images than channels."""

import numpy as np
import torch
from literal import padim as literal

from adpt.methods import PaDiM


def test_maps_equal_the_literal_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(40, 4, 4), (24, 2, 3)]
    train = [torch.randn(15, *shape, generator=generator) + 5 for shape in shapes]
    test = [torch.randn(4, *shape, generator=generator) + 5 for shape in shapes]
    method = PaDiM(32)
    method.fit([[level[:8] for level in train], [level[8:] for level in train]])
    for levels in (test, train):
        expected = literal.literal_maps(train, levels, (32, 32))
        np.testing.assert_allclose(method.score(levels).maps, expected, rtol=1e-5)


def test_literal_covariance_is_numpys() -> None:
    train = torch.randn(9, 5, 1, 2, generator=torch.Generator().manual_seed(0))
    means, inverses = literal.fit(train)
    for x in range(2):
        sample = train[:, :, 0, x].double().numpy()
        np.testing.assert_allclose(means[0, x], sample.mean(0))
        covariance = np.cov(sample, rowvar=False) + 0.01 * np.eye(5)
        np.testing.assert_allclose(np.linalg.inv(inverses[0, x]), covariance, rtol=1e-9)
