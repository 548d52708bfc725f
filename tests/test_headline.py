"""The figure that a page begins with shows what the first table says."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from adpt.page import build_page
from adpt.page.headline import headlines
from adpt.results import summarise
from recorded import a_record, three

METRIC = ["image_auroc"]


def place(value: float, ticks: list[str]) -> float:
    low, high = float(ticks[0]), float(ticks[-1])
    return (100 * value - low) / (high - low)


def test_each_method_is_a_row_and_each_kind_of_features_a_dot() -> None:
    records = [*three((0.61, 0.72, 0.83)), *three((0.5, 0.9, 0.7), method="cflow")]
    (figure,) = headlines(summarise(records), METRIC)
    assert [row.name for row in figure.rows] == ["padim", "cflow"]
    assert figure.rows[0].dots == pytest.approx(
        {
            kind: place(value, figure.ticks)
            for kind, value in zip(
                ("own", "residual", "pretrained"), (0.61, 0.72, 0.83), strict=True
            )
        }
    )


def test_of_one_method_the_classes_are_the_rows() -> None:
    records = [a_record(class_name=name, auroc=v) for name, v in [("a", 0.6), ("b", 0.9)]]
    (figure,) = headlines(summarise(records), METRIC)
    assert [row.name for row in figure.rows] == ["a", "b"]
    assert figure.kinds == ["own"]


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.0, 1.0), (0.85, 0.95), (0.9749, 0.9751)])
def test_axis_holds_all_dots_between_even_ticks(values: tuple[float, float]) -> None:
    records = [a_record(method=m, auroc=v) for m, v in zip(("a", "b"), values, strict=True)]
    (figure,) = headlines(summarise(records), METRIC)
    ticks = [float(tick) for tick in figure.ticks]
    assert 2 <= len(ticks) <= 6
    assert len({round(b - a) for a, b in pairwise(ticks)}) == 1
    for row, value in zip(figure.rows, values, strict=True):
        assert 0 <= row.dots["own"] <= 1
        assert row.dots["own"] == pytest.approx(place(value, figure.ticks))


def test_names_say_in_what_the_rows_differ() -> None:
    records = [a_record(), a_record(backbone="clip_l"), a_record(dataset="mvtec")]
    (figure,) = headlines(summarise(records), METRIC)
    assert [row.name for row in figure.rows] == [
        "padim · visa · clip_b", "padim · visa · clip_l", "padim · mvtec · clip_b"
    ]  # fmt: skip


def test_rows_of_one_method_are_told_apart() -> None:
    records = [a_record("residual", shots=shots) for shots in (1, 2)]
    records.append(a_record("residual", shots=2, setting={"train_fraction": 0.1}))
    (figure,) = headlines(summarise(records), METRIC)
    assert [row.name for row in figure.rows] == [
        "padim · 1 reference", "padim · 2 references",
        "padim · 2 references · 10 % of the training images",
    ]  # fmt: skip


def test_no_axis_goes_beyond_a_hundred_percent() -> None:
    for lowest in (0.03, 0.52, 0.71, 0.97, 1.0):
        records = [a_record(method=m, auroc=v) for m, v in (("a", lowest), ("b", 1.0))]
        (figure,) = headlines(summarise(records), METRIC)
        assert float(figure.ticks[-1]) == 100
        assert all(0 <= row.dots["own"] <= 1 for row in figure.rows)


def test_what_is_not_defined_has_no_dot_and_one_row_is_no_figure() -> None:
    undefined = [a_record(auroc=math.nan), a_record(method="cflow"), a_record(method="glass")]
    (figure,) = headlines(summarise(undefined), METRIC)
    assert [row.name for row in figure.rows] == ["cflow", "glass"]
    assert headlines(summarise([a_record()]), METRIC) == []
    assert headlines(summarise(undefined), ["pixel_ap"]) == []


def test_rows_beyond_what_a_figure_holds_are_counted() -> None:
    records = [a_record(class_name=f"c{i:03}", auroc=i / 100) for i in range(100)]
    (figure,) = headlines(summarise(records), METRIC)
    assert len(figure.rows) + figure.more == 100
    assert figure.more > 0


def test_page_begins_with_the_table_and_the_figure_and_cuts_no_name(tmp_path: Path) -> None:
    name = "a_method_with_quite_a_long_name_<b>_of_its_own"
    build_page(
        three((0.6, 0.7, 0.8)) + three((0.5, 0.6, 0.7), method=name),
        tmp_path, tmp_path / "page.html", "Title", METRIC,
    )  # fmt: skip
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    table, figure, classes = (
        text.index(s) for s in ("<table>", 'class="headline"', "Per class</h")
    )
    assert table < figure < classes
    assert "<title>a_method_with_quite_a_long_name_&lt;b&gt;_of_its_own</title>" in text
    drawn = text[figure : text.index("</svg>", figure)]
    assert len(re.findall('class="dots wide', drawn)) == 6
