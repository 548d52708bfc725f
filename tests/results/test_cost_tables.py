"""Costs stand in every table and on the page beside the accuracy that they buy."""

import math
import re
from itertools import combinations
from pathlib import Path

import pytest
from rich.console import Console

from adpt.errors import UserError
from adpt.page import build_page
from adpt.page import costs as page
from adpt.page.costs import log_ticks, section
from adpt.results import (
    Record,
    append_records,
    latex_tables,
    markdown_report,
    print_table,
    read_records,
    summarise,
    to_csv,
)
from adpt.results.cost_tables import cost_tables
from adpt.results.latex import escape
from adpt.tracking.results_log import results_table
from recorded import a_record
from runs import rows

ORIGIN = {"costs_on": "2 threads of a CPU", "created": "2026-01-02T03:04:05+00:00"}


def costing(ms: float, fit: float = 1.0, classes: float = 1, **changes: object) -> Record:
    """A record with costs, all of which follow from milliseconds and seconds to fit."""
    found = {
        "classes": classes, "fit_seconds": fit, "ms_1": ms, "ms_32": ms / 2, "method_ms_1": ms / 4,
        "method_ms_32": ms / 8, "fit_peak_mb": 1234.0, "score_peak_mb": 56.78, "size_mb": 0.001,
    }  # fmt: skip
    return a_record(**{"costs": found, "provenance": ORIGIN, **changes})


def records() -> list[Record]:
    return [
        costing(10, 1.0, class_name="a", auroc=0.8),
        costing(30, 2.0, class_name="b", auroc=0.9),
        costing(50, class_name="a", method="patchcore", auroc=0.95),
        costing(70, class_name="b", method="patchcore", auroc=0.97),
        a_record(class_name="a", method="old", auroc=0.9),
    ]


ROWS = {
    "padim": ["85.0 / –", "1.50", "20.0", "10.0", "5.00", "2.50", "1234", "56.8", "0.00"],
    "patchcore": ["96.0 / –", "1.00", "60.0", "30.0", "15.0", "7.50", "1234", "56.8", "0.00"],
    "old": ["90.0 / –", *["–"] * 8],
}
METRICS = ("image_auroc", "pixel_aupro")


def test_means_over_classes_stand_beside_accuracy_and_what_was_not_measured_is_a_dash() -> None:
    (table,) = cost_tables(summarise(records()), METRICS)
    shown = {
        block.name: [" / ".join(figure.text for figure in cell) for cell in block.lines[0].cells]
        for block in table.blocks
    }
    assert shown == ROWS
    assert "on 2 threads of a CPU, 2026-01-02 03:04 UTC" in table.caption
    assert not table.notes


def test_a_time_of_nothing_has_no_place_in_the_picture(tmp_path: Path) -> None:
    (shown,) = section(summarise([costing(0, method="none"), *records()]), METRICS)
    assert {point.name for picture in shown.pictures for point in picture.points} == {
        "padim",
        "patchcore",
    }


def test_results_without_costs_have_no_such_table(tmp_path: Path) -> None:
    plain = [a_record(), a_record(method="cflow")]
    assert cost_tables(summarise(plain), METRICS) == []
    build_page(plain, tmp_path, tmp_path / "page.html", "Title")
    assert "Costs" not in (tmp_path / "page.html").read_text()


def test_every_format_shows_them(tmp_path: Path) -> None:
    made = records()
    append_records(tmp_path / "results.jsonl", made)
    assert read_records(tmp_path) == made
    markdown, latex = markdown_report(made, "Title"), latex_tables(made)
    for texts in ROWS.values():
        assert f"| {' | '.join(['own', *texts])} |" in markdown
        assert " & ".join(map(escape, texts)) in latex
    console = Console(record=True, width=160)
    print_table(made, console)
    assert re.search(r"own +85\.0 / – +1\.50 +20\.0 +10\.0", console.export_text())
    to_csv(made, tmp_path / "results.csv")
    assert [row["cost_ms_1"] for row in rows(tmp_path / "results.csv")] == [
        "10",
        "30",
        "50",
        "70",
        "",
    ]
    logged = results_table(made)
    column = logged.columns.index("ms_1")
    assert [row[column] for row in logged.data] == [10, 30, 50, 70, None]


def test_what_a_reader_must_know_is_noted() -> None:
    unified = [costing(5, classes=2, class_name=name, method="uniad") for name in "ab"]
    (table,) = cost_tables(summarise(unified), METRICS)
    assert table.notes == (
        "uniad is one model for 2 classes: seconds, memory and size are of the whole model.",
    )
    elsewhere = costing(5, class_name="c", provenance=ORIGIN | {"costs_on": "a GPU"})
    (table,) = cost_tables(summarise([costing(5, class_name="a"), elsewhere]), METRICS)
    assert table.notes == ("Costs of different machines say nothing of each other.",)
    assert "on 2 threads of a CPU and a GPU" in table.caption
    lacking = [costing(5, class_name="a"), a_record(class_name="b")]
    (table,) = cost_tables(summarise(lacking), METRICS)
    assert table.notes == ("padim on own features: 1 of 2 results have all costs.",)


def test_a_cost_that_is_no_number_is_refused(tmp_path: Path) -> None:
    append_records(tmp_path / "results.jsonl", [a_record(costs={"ms_1": "fast"})])  # type: ignore[dict-item]
    with pytest.raises(UserError, match="the cost ms_1 is 'fast'"):
        read_records(tmp_path)


# ---- The picture ----------------------------------------------------------------------------


def test_picture_places_accuracy_against_latency() -> None:
    (shown,) = section(summarise(records()), METRICS)
    (picture,) = shown.pictures
    assert picture.title == "image AUROC against milliseconds an image"
    padim, patchcore = picture.points
    assert [text for _, text in picture.x_ticks] == ["20", "50", "100"]
    assert [picture.x_ticks[0][0], picture.x_ticks[-1][0]] == pytest.approx([0, page.WIDTH])
    assert padim.x == pytest.approx(0)
    assert patchcore.x == pytest.approx(page.WIDTH * math.log(3) / math.log(5))
    low, high = float(picture.y_ticks[0][1]), float(picture.y_ticks[-1][1])
    assert padim.y == pytest.approx(page.HEIGHT * (high - 85) / (high - low))
    assert patchcore.told == "patchcore, own: 96.0 % in 60 ms"
    assert picture.front.count("M") == 1
    assert {label.text for label in picture.labels} == {"padim", "patchcore"}


def test_page_has_table_and_picture_with_shapes_beside_colours(tmp_path: Path) -> None:
    made = [*records(), costing(40, method="x<y", features="pretrained", class_name="a")]
    build_page(made, tmp_path, tmp_path / "page.html", "Title")
    text = (tmp_path / "page.html").read_text()
    assert '<a href="#costs">Costs</a>' in text
    assert "fast and good" in text
    assert "x<y" not in text
    marks = re.findall(r'class="mark (\w+)" d="M[\d. ]+(m[^"]+)"', text)
    assert {kind for kind, _ in marks} == {"own", "pretrained"}
    assert len(set(marks)) == 2


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([20, 60], [20, 50, 100]), ([3], [2, 5]), ([5], [5, 10]), ([0.3, 0.9], [0.2, 0.5, 1])],
)
def test_ticks_enclose_the_values(values: list[float], ticks: list[float]) -> None:
    assert log_ticks(values) == ticks


def test_names_cover_neither_each_other_nor_points() -> None:
    made = [
        costing(10 + number % 5, method=f"method_{number}", auroc=0.95 + number / 1000)
        for number in range(20)
    ]
    (shown,) = section(summarise(made), ["image_auroc"])
    (picture,) = shown.pictures
    assert len(picture.labels) + picture.unnamed == 20
    assert len(picture.labels) > 10
    boxes = [page._box(label.text, label.x, label.y) for label in picture.labels]
    assert not any(page._meet(one, other) for one, other in combinations(boxes, 2))
    points = [page._around(point) for point in picture.points]
    assert not any(page._meet(box, point) for box in boxes for point in points)
