"""Gains class by class, and intervals of figures, in summaries, files and tables."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest
from scipy import stats

from adpt.errors import UserError
from adpt.results import (
    Record,
    append_records,
    latex_tables,
    markdown_tables,
    read_records,
    summarise,
    to_csv,
)
from adpt.results.paired import interval_and_p, over_classes
from adpt.results.summary import mean_of
from recorded import a_record, three

GAINS = [0.01, 0.03, -0.005, 0.02, 0.04, 0.015]


def gaining(gains: list[float]) -> list[Record]:
    return [
        record
        for number, gain in enumerate(gains)
        for record in three((0.7, 0.7, 0.7 + gain), class_name=f"c{number}")
    ]


def literal_p(gains: list[float]) -> float:
    """Share of all changes of sign whose rank sum lies as far from the middle."""
    ranks = stats.rankdata([abs(gain) for gain in gains])

    def sum_of(signs: tuple[bool, ...]) -> float:
        return float(sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign))

    middle = sum(ranks) / 2
    seen = abs(sum_of(tuple(gain > 0 for gain in gains)) - middle)
    every = list(itertools.product((True, False), repeat=len(gains)))
    return sum(abs(sum_of(signs) - middle) >= seen - 1e-9 for signs in every) / len(every)


def test_p_against_all_changes_of_sign() -> None:
    low, high, p = interval_and_p(GAINS)
    assert p == pytest.approx(literal_p(GAINS))
    expected = stats.ttest_1samp(GAINS, 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.filterwarnings("error")
def test_no_gain_anywhere_and_equal_gains_are_told_too() -> None:
    assert interval_and_p([0.0] * 5) == (0.0, 0.0, 1.0)
    assert interval_and_p([0.1] * 5)[2] == pytest.approx(2 / 2**5)
    low, high, p = interval_and_p([0.0, 0.1, 0.1, -0.1, 0.2, 0.0])
    assert low < high
    assert 0 < p <= 1


def test_tables_test_a_gain_over_five_classes() -> None:
    records = gaining(GAINS)
    text = markdown_tables(records)
    row = next(line for line in text.splitlines() if line.startswith("| **gain over classes"))
    low, high, p = interval_and_p(GAINS)
    told = rf"\[+{100 * low:.1f}, +{100 * high:.1f}\], p = {p:.2g}"
    assert row == f"| **gain over classes** |  |  |  | {told} | {told} |"
    assert "Gain over classes: 95 % of the mean gain" in text
    assert "gain over classes" in latex_tables(records)
    beside = markdown_tables([*records, *gaining_elsewhere()])
    assert "| gain over classes | " in beside.partition("visa · padim")[0]


def gaining_elsewhere() -> list[Record]:
    return [dataclasses.replace(record, method="patchcore") for record in gaining(GAINS)]


def test_fewer_classes_and_own_features_alone_are_not_tested() -> None:
    for records in (gaining(GAINS[:4]), [a_record("own", class_name=f"c{n}") for n in range(6)]):
        assert "over classes" not in markdown_tables(records)


def test_means_over_sets_are_not_tested_as_if_they_were_classes() -> None:
    (summary,) = summarise(gaining(GAINS))
    mean = summary.mean.metrics["image_auroc"]
    assert over_classes(mean, "difference").text
    assert not over_classes(mean_of([mean] * 6), "difference").text


# ---- Intervals of figures --------------------------------------------------------------------


def with_interval(name: str, value: float, low: float, high: float, seed: int = 0) -> Record:
    record = a_record("own", value, class_name=name, seed=seed)
    return dataclasses.replace(record, intervals={"image_auroc": (low, high)})


def test_intervals_come_back_from_a_file(tmp_path: Path) -> None:
    records = [with_interval("a", 0.8, 0.7, 0.85), a_record("own", class_name="b")]
    append_records(tmp_path / "results.jsonl", records)
    assert read_records(tmp_path) == records
    to_csv(records, tmp_path / "results.csv")
    head, first, second = (tmp_path / "results.csv").read_text().splitlines()
    columns = head.split(",")
    assert [first.split(",")[columns.index(f"image_auroc_{end}")] for end in ("low", "high")] == [
        "0.7", "0.85",
    ]  # fmt: skip
    assert second.split(",")[columns.index("image_auroc_low")] == ""


@pytest.mark.parametrize("ends", [3, [0.1], [0.1, None], [0.1, "0.2"]])
def test_a_line_with_a_damaged_interval_is_named(tmp_path: Path, ends: object) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [with_interval("a", 0.8, 0.7, 0.85)])
    fields = json.loads(path.read_text())
    fields["intervals"]["image_auroc"] = ends
    path.write_text(json.dumps(fields) + "\n")
    with pytest.raises(UserError, match="line 1 is not a record: the interval of image_auroc"):
        read_records(path)


def test_tables_show_intervals_and_that_of_a_mean_by_hand() -> None:
    records = [with_interval("a", 0.8, 0.7, 0.84), with_interval("b", 0.6, 0.6, 0.63)]
    mean = summarise(records)[0].mean.metrics["image_auroc"]
    assert mean.intervals["own"] == pytest.approx((0.7 - 0.05, 0.7 + math.hypot(0.04, 0.03) / 2))
    text = markdown_tables(records)
    assert r"| a | 80.0 \[70.0, 84.0\] |" in text
    assert r"| **mean** | 70.0 \[65.0, 72.5\] |" in text
    assert "95 % over resamples of the test images" in text
    lacking = markdown_tables([*records, a_record("own", 0.5, class_name="c")])
    assert "| **mean** | 63.3 |" in lacking


def test_several_seeds_have_a_deviation_in_place_of_intervals() -> None:
    seeds = [with_interval("a", 0.7 + seed / 10, 0.6, 0.9, seed) for seed in range(2)]
    text = markdown_tables(seeds)
    assert "75.0 ± 7.1 |" in text
    assert "resamples" not in text


def test_further_metrics_are_shown_by_their_names() -> None:
    metrics = {"pixel_aupro_05": 0.5, "mad": 0.6, "image_own_thing": 0.7}
    record = dataclasses.replace(a_record("own"), metrics=metrics)
    text = markdown_tables([record], list(metrics))
    assert "AUPRO to 0.05: own | mAD: own | image own thing: own" in text
