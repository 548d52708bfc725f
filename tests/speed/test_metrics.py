"""The seven metrics against the loop over 200 thresholds and scikit-learn."""

import numpy as np
import pytest
from literal.metrics import exact_metrics, fpr_and_pro, literal_metrics

from adpt.metrics import anomaly_metrics


def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    masks = rng.random((5, 14, 14)) < 0.15
    masks[:2] = False
    return (rng.normal(size=masks.shape) + masks).astype(np.float32), masks


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (1e-6, 0), (1, -1000), (1, 1e6)])
def test_ours_is_exact_on_any_range_and_the_loop_is_the_papers(
    factor: float, offset: float
) -> None:
    maps, masks = drawn()
    maps = (factor * maps + offset).astype(np.float32)
    found = anomaly_metrics(maps, masks, paper_aupro=True)
    assert found == pytest.approx(literal_metrics(maps, masks) | exact_metrics(maps, masks))


def test_overlap_is_the_mean_over_regions_of_all_images() -> None:
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[0, :2, :2] = masks[1, 0, 0] = masks[1, 3, 3] = True
    above = np.zeros_like(masks)
    above[0, 0, 0] = above[1, 3, 3] = above[1, 1, 1] = True
    fpr, pro = fpr_and_pro(above, masks)
    assert fpr == pytest.approx(1 / 26)
    assert pro == pytest.approx((1 / 4 + 0 + 1) / 3)
