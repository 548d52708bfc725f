"""Tables say why figures are blank, once for classes of which it is the same."""

import math

import pytest

from adpt.results import Record
from adpt.results.blanks import blanks, lacks
from recorded import a_record

COUNTS = {"test": 6, "anomalous": 3, "marked": 3}
NAN = math.nan


def record(counts: dict[str, int], image: float = 0.5, pixel: float = 0.5, **about: str) -> Record:
    metrics = {"image_auroc": image, "pixel_ap": pixel, "pixel_aupro": pixel}
    return a_record(metrics=metrics, counts=counts, **about)


SHOWN = ("image_auroc", "pixel_aupro")


def test_nothing_is_said_of_what_is_defined() -> None:
    assert lacks(COUNTS) == []
    assert blanks([record(COUNTS)], SHOWN) == []
    # Of records without counts nothing is known.
    assert lacks({}) == []
    assert blanks([record({})], SHOWN) == []


def test_every_reason_has_its_words() -> None:
    assert lacks({"test": 3, "anomalous": 0, "marked": 0}) == [
        "no anomalous test image, so neither image nor pixel metrics are defined"
    ]
    assert lacks({"test": 3, "anomalous": 3, "marked": 3}) == [
        "no normal test image, so no image metric is defined"
    ]
    assert lacks({"test": 3, "anomalous": 3}) == [
        "no normal test image, so no image metric is defined",
        "no mask marks the defects, so no pixel metric is defined",
    ]
    assert lacks({"test": 3, "anomalous": 2, "marked": 0}) == [
        "no defect is left in its masks at the size that is scored, so no pixel metric is defined"
    ]
    assert lacks({"test": 6, "anomalous": 3, "marked": 1}) == [
        "2 of 3 defects vanish from the masks at the size that is scored, and count as normal"
        " pixels"
    ]


def test_classes_with_one_reason_share_a_sentence() -> None:
    good = {"test": 3, "anomalous": 0, "marked": 0}
    records = [record(good, NAN, NAN, class_name=name) for name in ("a", "b")]
    records += [record({"test": 4, "anomalous": 2}, 0.5, NAN, class_name="c")]
    assert blanks(records, SHOWN) == [
        "a and b: no anomalous test image, which leaves image AUROC and AUPRO blank.",
        "c: no mask marks the defects, which leaves AUPRO blank.",
    ]
    assert blanks(records, ("image_auroc",)) == [
        "a and b: no anomalous test image, which leaves image AUROC blank."
    ]


def test_of_many_classes_some_are_named() -> None:
    records = [record({"test": 3, "anomalous": 2}, 0.5, NAN, class_name=n) for n in "abcdef"]
    assert blanks(records, SHOWN) == [
        "a, b, c, d and 2 more: no mask marks the defects, which leaves AUPRO blank."
    ]


def test_of_several_sets_their_names_stand_before_the_classes() -> None:
    records = [record({"test": 3, "anomalous": 2}, 0.5, NAN, dataset=name) for name in ("x", "y")]
    assert blanks(records, SHOWN) == [
        "x pcb1 and y pcb1: no mask marks the defects, which leaves AUPRO blank."
    ]


def test_what_counts_do_not_explain_is_blank_without_a_guess() -> None:
    assert blanks([record({}, NAN)], SHOWN) == [
        "pcb1: its test images do not define it, which leaves image AUROC blank."
    ]
    assert blanks([record(COUNTS, 0.5, NAN)], SHOWN) == [
        "pcb1: its test images do not define it, which leaves AUPRO blank."
    ]


def test_a_further_metric_may_lack_something_that_is_no_test_image() -> None:
    one = a_record("own", 0.5, counts=COUNTS, metrics={"pixel_seg_f1": NAN, "image_odd": NAN})
    assert blanks([one], ["pixel_seg_f1", "image_odd"]) == [
        "pcb1: it needs images for validation, or a method that tells scores of left-out good"
        " images, which leaves SegF1 blank.",
        "pcb1: it is not defined there, which leaves image odd blank.",
    ]


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("image_sample_auroc", "data.split=realiad_jsons"),
        ("pixel_aupimo", "so many pixels of normal test images"),
        ("mad", "one of the seven"),
    ],
)
def test_further_metrics_say_what_they_need(metric: str, why: str) -> None:
    (said,) = blanks([a_record("own", 0.5, counts=COUNTS, metrics={metric: NAN})], [metric])
    assert why in said
    # What the test images lack comes first.
    none = {"test": 3, "anomalous": 0, "marked": 0}
    (said,) = blanks([a_record("own", 0.5, counts=none, metrics={metric: NAN})], [metric])
    assert "no anomalous test image" in said
