"""sPRO against a slow literal version, and the AUROCs of kinds of defects and of pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from adpt.data.mvtec_loco import Saturation
from adpt.metrics import SPRO, AurocByKind, SampleAuroc, Scored, TrueRegion, aupro
from adpt.results.metric_names import title
from oracles.spro import literal

KINDS = {"logical": "logical_anomalies", "structural": "structural_anomalies"}


class Seen(NamedTuple):
    defect: str = "good"
    piece: str = ""
    image: Path = Path("a.png")
    mask: Path | None = None
    view: str = ""


def example(seed: int, ties: bool = False) -> tuple[np.ndarray, list[list[tuple[np.ndarray, int]]]]:
    """Maps of 6 images; defects of 3 of them, which overlap, each with what is enough of it."""
    rng = np.random.default_rng(seed)
    regions: list[list[tuple[np.ndarray, int]]] = [[], [], []]
    maps = rng.normal(size=(6, 9, 11))
    for number in (3, 4, 5):
        defects = []
        for _ in range(rng.integers(1, 4)):
            pixels = rng.random((9, 11)) < 0.15
            pixels[rng.integers(9), rng.integers(11)] = True
            maps[number] += pixels
            defects.append((pixels, int(rng.integers(1, pixels.sum() + 1))))
        regions.append(defects)
    return (np.round(maps) if ties else maps).astype(np.float32), regions


def scored(
    maps: np.ndarray, regions: list[list[tuple[np.ndarray, int]]], defects: Sequence[str] = ()
) -> Scored:
    masks = np.stack([
        np.any([np.zeros(maps.shape[1:], bool), *(pixels for pixels, _ in each)], axis=0)
        for each in regions
    ])  # fmt: skip
    known = [
        [TrueRegion(np.flatnonzero(pixels), enough) for pixels, enough in each] for each in regions
    ]
    return Scored(
        maps,
        masks,
        masks.any((1, 2)),
        maps.max((1, 2)),
        [Seen(defect) for defect in defects],
        find_regions=known.__getitem__,
    )


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_literal_version(seed: int, ties: bool, limit: float) -> None:
    maps, regions = example(seed, ties)
    metric = SPRO(limit)
    found = metric.measure(scored(maps, regions))[metric.names[0]]
    assert found == pytest.approx(literal(maps, regions, limit), abs=1e-12)


def test_agrees_with_the_published_evaluation_code() -> None:
    """What MVTec's `mvtec_loco_ad_evaluation` gives at every distinct score as a threshold."""
    rng = np.random.default_rng(7)
    maps = rng.normal(size=(6, 9, 11)).round(2).astype(np.float32)
    regions: list[list[tuple[np.ndarray, int]]] = [[], [], []]
    for number in (3, 4, 5):
        regions.append([])
        for saturation in (Saturation(8, False), Saturation(0.5, True)):
            pixels = rng.random((9, 11)) < 0.15
            maps[number] += pixels
            regions[-1].append((pixels, saturation.area(int(pixels.sum()))))
    found = {limit: SPRO(limit).measure(scored(maps, regions)) for limit in (0.01, 0.05, 0.3, 1.0)}
    assert {limit: next(iter(areas.values())) for limit, areas in found.items()} == pytest.approx({
        0.01: 0.2839316186216037,
        0.05: 0.4596835652750165,
        0.3: 0.8736055886900818,
        1.0: 0.9620816766070245,
    })  # fmt: skip


def test_each_kind_is_measured_on_its_own_images_and_the_normal_ones() -> None:
    maps, regions = example(0)
    defects = ["good"] * 3 + ["logical_anomalies", "structural_anomalies", "logical_anomalies"]
    found = SPRO(kinds=KINDS).measure(scored(maps, regions, defects))
    alone = {
        kind: literal(maps[rows], [regions[row] for row in rows], 0.05)
        for kind, rows in (("logical", [0, 1, 2, 3, 5]), ("structural", [0, 1, 2, 4]))
    }
    assert found == pytest.approx({
        "pixel_spro_05_logical": alone["logical"],
        "pixel_spro_05_structural": alone["structural"],
        "pixel_spro_05": (alone["logical"] + alone["structural"]) / 2,
    })  # fmt: skip
    assert SPRO(kinds=KINDS).names == tuple(found)


def test_the_order_of_images_and_whether_maps_come_one_by_one_change_nothing() -> None:
    maps, regions = example(1)
    whole = scored(maps, regions)
    order = [4, 0, 5, 2, 1, 3]
    other = scored(maps[order], [regions[row] for row in order])
    one_by_one = Scored(
        list(maps), list(whole.masks), whole.labels, whole.image_scores,
        find_regions=whole.find_regions,
    )  # fmt: skip
    for another in (other, one_by_one):
        assert SPRO().measure(another) == pytest.approx(SPRO().measure(whole), abs=1e-12)


def test_where_nothing_tells_what_is_enough_it_is_aupro() -> None:
    maps, regions = example(2)
    whole = scored(maps, regions)
    plain = Scored(maps, whole.masks, whole.labels, whole.image_scores)
    assert SPRO(0.3).measure(plain)["pixel_spro_30"] == pytest.approx(aupro(maps, whole.masks))


def test_half_of_a_defect_can_be_enough() -> None:
    """The upper half of the only defect scores 1, all else 0."""
    maps, pixels = np.zeros((2, 4, 4), np.float32), np.ones((4, 4), bool)
    maps[1, :2, :3] = 1
    pixels[:, 3] = False
    for enough, height in ((6, 1.0), (12, 0.5)):
        # A limit of next to nothing: the curve's height where no pixel beside it is taken.
        found = SPRO(1e-9).measure(scored(maps, [[], [(pixels, enough)]]))
        assert [*found.values()] == [pytest.approx(height, abs=1e-6)]


def test_it_is_not_defined_without_masks_or_defects_of_a_kind() -> None:
    maps, regions = example(3)
    whole = scored(maps, regions, ["good"] * 3 + ["logical_anomalies"] * 3)
    found = SPRO(kinds=KINDS).measure(whole)
    assert found["pixel_spro_05_logical"] > 0
    assert np.isnan([found["pixel_spro_05_structural"], found["pixel_spro_05"]]).all()
    blank = Scored(maps, None, whole.labels, whole.image_scores)
    assert np.isnan([*SPRO().measure(blank).values()]).all()


@pytest.mark.parametrize("limit", [0.0, -1.0, 1.5])
def test_a_limit_is_a_rate(limit: float) -> None:
    with pytest.raises(ValueError, match="give a false positive rate"):
        SPRO(limit)


def test_auroc_of_each_kind_against_all_normal_images() -> None:
    rng = np.random.default_rng(0)
    defects = np.array(["good"] * 6 + ["logical_anomalies"] * 4 + ["structural_anomalies"] * 5)
    labels, scores = defects != "good", rng.normal(size=15).round(1)
    whole = Scored(np.zeros((15, 1, 1)), None, labels, scores, [Seen(d) for d in defects])
    found = AurocByKind(KINDS).measure(whole)
    alone = [
        roc_auc_score(labels[rows], scores[rows])
        for rows in (defects != "structural_anomalies", defects != "logical_anomalies")
    ]
    assert found == pytest.approx({
        "image_auroc_logical": alone[0],
        "image_auroc_structural": alone[1],
        "image_auroc_mean": sum(alone) / 2,
    })  # fmt: skip
    often = rng.integers(0, 3, (4, 15))
    resampled = AurocByKind(KINDS).resampled(whole, often)
    for row, weights in enumerate(often):
        rows = np.repeat(np.arange(15), weights * (defects != "structural_anomalies"))
        assert resampled["image_auroc_logical"][row] == pytest.approx(
            roc_auc_score(labels[rows], scores[rows])
        )


def test_a_piece_counts_by_its_worst_view() -> None:
    pieces = ["a", "b", "c", "a", "b", "c", "d"]
    labels = np.array([0, 0, 0, 1, 0, 0, 1], bool)
    scores = np.array([0.9, 0.2, 0.3, 0.1, 0.4, 0.95, 0.5])
    whole = Scored(np.zeros((7, 1, 1)), None, labels, scores, [Seen("x", p) for p in pieces])
    # a: 0.9, anomalous; b: 0.4; c: 0.95; d: 0.5, anomalous.
    assert SampleAuroc().measure(whole) == {"image_sample_auroc": 0.5}
    one_by_one = Scored(np.zeros((7, 1, 1)), None, labels, scores, [Seen("x")] * 7)
    assert np.isnan(SampleAuroc().measure(one_by_one)["image_sample_auroc"])


def test_readers_know_them_by_these_names() -> None:
    assert [*map(title, SPRO(kinds=KINDS).names)] == [
        "sPRO to 0.05, logical", "sPRO to 0.05, structural", "sPRO to 0.05",
    ]  # fmt: skip
    assert title(SPRO(1.0).names[0]) == "sPRO to 1"
    assert title(AurocByKind(KINDS).names[0]) == "image AUROC, logical"
    assert title(SampleAuroc.names[0]) == "S-AUROC"
