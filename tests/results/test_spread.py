"""A spread over seeds is shown where seeds can make one, however small it is."""

import math

import pytest

from adpt.results import Record, latex_tables, markdown_report, summarise
from adpt.results.training_course import training_table
from recorded import a_record

BOTH = ("image_auroc", "pixel_aupro")


def seeds(features: str, *values: tuple[float, float], class_name: str = "pcb1") -> list[Record]:
    """A record a seed, with image AUROC and AUPRO."""
    return [
        a_record(
            features, seed=s, class_name=class_name, metrics=dict(zip(BOTH, value, strict=True))
        )
        for s, value in enumerate(values)
    ]


def line(records: list[Record], name: str) -> str:
    lines = markdown_report(records, "Title").splitlines()
    return next(one for one in lines if one.startswith(f"| {name}"))


def test_what_seeds_decide_nothing_of_stands_alone() -> None:
    records = seeds("own", (0.9, 0.8), (0.9, 0.8), (0.9, 0.8))
    assert line(records, "pcb1") == "| pcb1 | 90.0 | 80.0 |"
    assert line(records, "**mean**") == "| **mean** | 90.0 | 80.0 |"
    assert "All seeds give the same." in markdown_report(records, "Title")
    assert "±" not in latex_tables(records)
    assert r"\pm" not in latex_tables(records)


def test_a_spread_that_rounds_to_nothing_is_one() -> None:
    records = seeds("own", (0.9, 0.8), (0.90001, 0.8))
    # One metric varies, so the other is equal by chance.
    assert line(records, "pcb1") == "| pcb1 | 90.0 ± 0.0 | 80.0 ± 0.0 |"
    assert line(records, "**mean**") == "| **mean** | 90.0 ± 0.0 | 80.0 ± 0.0 |"


def test_a_class_at_its_best_in_every_seed_is_no_proof() -> None:
    records = seeds("own", (1.0, 1.0), (1.0, 1.0))
    records += seeds("own", (0.9, 0.7), (0.8, 0.7), class_name="pcb2")
    assert line(records, "pcb1") == "| pcb1 | 100.0 ± 0.0 | 100.0 ± 0.0 |"


def test_each_kind_of_features_is_judged_alone() -> None:
    records = seeds("own", (0.9, 0.8), (0.9, 0.8)) + seeds("pretrained", (0.95, 0.8), (0.97, 0.8))
    (summary,) = summarise(records)
    found = summary.rows[0].metrics["image_auroc"]
    assert math.isnan(found.deviation("own"))
    assert found.deviation("pretrained") == pytest.approx(0.0141, abs=5e-5)
    assert line(records, "pcb1").startswith("| pcb1 | 90.0 | **96.0 ± 1.4** | +6.0 |")
    text = "Mean ± standard deviation over seeds; without ± what is the same for all seeds."
    assert text in markdown_report(records, "Title")


def test_undefined_metrics_hide_no_agreement() -> None:
    records = seeds("own", (0.9, math.nan), (0.9, math.nan))
    assert line(records, "pcb1") == "| pcb1 | 90.0 | – |"


def test_means_of_a_training_leave_out_what_a_class_does_not_define() -> None:
    about = {"method": "cflow", "epochs": {"trained": 200}}
    records = [
        a_record(
            class_name=name,
            auroc=value,
            history=({"epoch": 100, "loss": 1, "image_auroc": value},),
            **about,
        )
        for name, value in (("pcb1", math.nan), ("pcb2", 0.75))
    ]
    table = training_table(summarise(records)[0])
    assert table is not None
    assert table.blocks[0].lines[0].cells[0][0].text == "75.0"


def test_one_seed_has_no_spread() -> None:
    assert line(seeds("own", (0.9, 0.8)), "pcb1") == "| pcb1 | 90.0 | 80.0 |"
