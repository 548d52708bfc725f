"""Means, standard deviations and differences, against numbers by hand."""

import math
import statistics

import pytest

from adpt.results import METRICS, percent, points, setting_in_words, summarise
from adpt.results.compare import conditions_of
from adpt.results.conditions import facts
from adpt.results.summary import Comparison, mean_of
from adpt.results.words import options_in_words
from recorded import a_record, three


def test_summary_against_numbers_by_hand() -> None:
    records = three((0.60, 0.65, 0.90), class_name="b") + three((0.80, 0.85, 0.70), class_name="a")
    (summary,) = summarise(records)
    assert (summary.dataset, summary.method) == ("visa", "padim")
    assert (
        summary.setting
        == "clip_b, clean protocol, 8 references per class, projector abababab, seed 0"
    )
    assert [row.name for row in summary.rows] == ["a", "b"]
    a, b = (row.metrics["image_auroc"] for row in summary.rows)
    assert (a.own, a.residual, a.pretrained) == (0.80, 0.85, 0.70)
    assert a.difference == pytest.approx(-0.10)
    assert a.beyond_residual == pytest.approx(-0.15)
    assert b.difference == pytest.approx(0.30)
    assert math.isnan(b.deviation("own"))
    mean = summary.mean.metrics["image_auroc"]
    assert (mean.own, mean.residual, mean.pretrained) == pytest.approx((0.70, 0.75, 0.80))
    assert mean.difference == pytest.approx(0.10)
    assert mean.beyond_residual == pytest.approx(0.05)
    assert mean.classes == 2


def test_deviation_is_over_seeds_and_that_of_a_mean_the_mean_s_own() -> None:
    values = {("a", 0): 0.80, ("a", 1): 0.90, ("a", 2): 0.70, ("b", 0): 0.6, ("b", 1): 0.5}
    values["b", 2] = 0.7
    records = [
        a_record("pretrained", value, class_name=name, seed=seed)
        for (name, seed), value in values.items()
    ]
    (summary,) = summarise(records)
    a, b = (row.metrics["image_auroc"] for row in summary.rows)
    assert (a.pretrained, a.deviation("pretrained")) == pytest.approx((0.8, math.sqrt(0.02 / 2)))
    assert (b.pretrained, b.deviation("pretrained")) == pytest.approx((0.6, 0.1))
    # One class gains in each seed what the other loses: the mean over classes does not move.
    mean = summary.mean.metrics["image_auroc"]
    assert (mean.pretrained, mean.deviation("pretrained")) == pytest.approx((0.7, 0.0))
    assert math.isnan(mean.deviation("own"))


def test_deviation_of_a_mean_against_the_plain_formula() -> None:
    values = [[0.91, 0.72, 0.83], [0.55, 0.61, 0.47], [0.99, 0.98, 0.93]]
    records = [
        a_record("own", value, class_name=f"c{number}", seed=seed)
        for number, row in enumerate(values)
        for seed, value in enumerate(row)
    ]
    mean = summarise(records)[0].mean.metrics["image_auroc"]
    by_seed = [statistics.fmean(row[seed] for row in values) for seed in range(3)]
    assert mean.deviation("own") == pytest.approx(statistics.stdev(by_seed))
    assert mean.own == pytest.approx(statistics.fmean(by_seed))


def test_deviation_of_a_mean_leaves_out_seeds_that_a_class_lacks() -> None:
    records = [
        a_record("own", value, class_name=name, seed=seed)
        for name, seed, value in (("a", 0, 0.2), ("a", 1, 0.4), ("a", 2, 0.9), ("b", 0, 0.2))
    ]
    assert math.isnan(summarise(records)[0].mean.metrics["image_auroc"].deviation("own"))
    records.append(a_record("own", 0.6, class_name="b", seed=1))
    deviation = summarise(records)[0].mean.metrics["image_auroc"].deviation("own")
    assert deviation == pytest.approx(statistics.stdev([0.2, 0.5]))


def test_seeds_are_averaged() -> None:
    (summary,) = summarise([a_record(auroc=0.4, seed=1), a_record(auroc=0.6, seed=0)])
    assert summary.rows[0].metrics["image_auroc"].own == pytest.approx(0.5)
    assert summary.seeds == (0, 1)
    assert summary.setting.endswith("seeds 0, 1")


def test_mean_is_over_the_classes_that_have_own_and_pretrained() -> None:
    records = [
        a_record("own", 0.6, class_name="a"),
        a_record("pretrained", 0.8, class_name="a"),
        a_record("own", 0.1, class_name="interrupted"),
        a_record("own", 0.2, class_name="undefined"),
        a_record("pretrained", math.nan, class_name="undefined"),
        a_record("residual", 0.9, class_name="undefined"),
    ]
    mean = summarise(records)[0].mean.metrics["image_auroc"]
    assert (mean.own, mean.pretrained, mean.classes) == (0.6, 0.8, 1)
    assert math.isnan(mean.residual)


def test_mean_of_own_features_alone_is_over_all_classes() -> None:
    records = [a_record(auroc=0.6, class_name="a"), a_record(auroc=0.8, class_name="b")]
    mean = summarise(records)[0].mean.metrics["image_auroc"]
    assert mean.own == pytest.approx(0.7)
    assert math.isnan(mean.pretrained)
    assert math.isnan(mean.difference)


def test_metric_of_pretrained_features_alone_has_a_mean() -> None:
    records = [a_record("own"), a_record("pretrained", metrics={"pixel_aupro_paper": 0.4})]
    mean = summarise(records)[0].mean.metrics["pixel_aupro_paper"]
    assert (mean.pretrained, mean.classes) == (0.4, 1)


def test_mean_of_nothing_is_unknown() -> None:
    mean = mean_of([Comparison(math.nan, math.nan, math.nan)])
    assert math.isnan(mean.own)
    assert math.isnan(mean.deviation("own"))


def test_later_record_counts() -> None:
    (summary,) = summarise([a_record(auroc=0.1), a_record(auroc=0.2)])
    assert summary.mean.metrics["image_auroc"].own == 0.2


# Words


@pytest.mark.parametrize(
    ("value", "text"), [(0.9264, "92.6"), (1.0, "100.0"), (0.0, "0.0"), (math.nan, "–")]
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_percent_with_its_deviation() -> None:
    assert percent(0.873, 0.0042) == "87.3 ± 0.4"
    assert percent(0.873, math.nan) == "87.3"
    assert percent(math.nan, 0.1) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0281, "+2.8"), (-0.1, "−10.0"), (-0.0001, "0.0"), (0.0001, "0.0"), (math.nan, "–")],
)
def test_points(value: float, text: str) -> None:
    assert points(value) == text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({}, []),
        ({"train_fraction": 0.1}, ["10 % of the training images"]),
        ({"noise_ratio": 0.05}, ["5 % anomalous images mixed into training"]),
        ({"few_shot": True}, ["few-shot: no other training images than the references"]),
        ({"aligned": 10}, ["for each image the 10 nearest training images as references"]),
        ({"image_size": [448, 224]}, ["images of 448 × 224 pixels"]),
        ({"resize": 256}, ["resize 256"]),
        ({"own_idea": True, "a_b": "c"}, ["a b c", "own idea"]),
    ],
)
def test_settings_in_words(setting: dict[str, object], words: list[str]) -> None:
    assert setting_in_words(setting) == words


def test_options_in_words_say_for_which_features() -> None:
    options = {"own": {"epochs": 5}, "pretrained": {"epochs": 5, "noise_std": 0.005}}
    assert options_in_words(options) == ["epochs 5", "noise std 0.005 on pretrained features"]
    assert options_in_words({"own": {}}) == []


def test_metrics_have_names_for_readers() -> None:
    assert METRICS["image_auroc"] == "image AUROC"
    assert len(set(METRICS.values())) == len(METRICS)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": 5}, "5 references per class"),
        ({"a": 1}, "1 reference per class"),
        ({"a": 8, "b": 5}, "5 and 8 references per class"),
    ],
)
def test_the_references_that_there_were_are_told(found: dict[str, int], said: str) -> None:
    records = [
        a_record("residual", class_name=name, references=tuple(map(str, range(number))))
        for name, number in found.items()
    ]
    summaries = summarise(records)
    assert f", {said}, " in summaries[0].setting
    assert f"; {said}; " in conditions_of(summaries, ["image_auroc"])
    numbers = [str(number) for number in sorted(found.values())]
    assert sorted(facts(records)["References per class"]) == numbers


def test_of_aligned_references_only_how_many_were_aligned_with_is_told() -> None:
    summaries = summarise([a_record("residual", setting={"aligned": 10})])
    for said in (summaries[0].setting, conditions_of(summaries, ["image_auroc"])):
        assert "8 references" not in said
        assert "10" in said
