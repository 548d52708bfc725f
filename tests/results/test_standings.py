"""Methods against each other: the best and second best of each column."""

import dataclasses

from adpt.results import Record, summarise
from adpt.results.latex import to_latex
from adpt.results.markdown import to_markdown
from adpt.results.standings import standings
from adpt.results.table import Table
from recorded import a_record, three


def of(records: list[Record], metrics: tuple[str, ...] = ("image_auroc",)) -> list[Table]:
    return standings(summarise(records), metrics)


def on(method: str, auroc: float, class_name: str = "pcb1", **changes: object) -> Record:
    return a_record(auroc=auroc, method=method, class_name=class_name, **changes)


def marks(table: Table) -> dict[str, list[str]]:
    """Method to its cells, the best with `1`, the second best with `2`."""
    return {
        line.name: [
            f"{figure.text}{'1' * figure.best}{'2' * figure.second}"
            for cell in line.cells
            for figure in cell
        ]
        for block in table.blocks
        for line in block.lines
    }


def test_best_and_second_best_of_a_column_are_marked() -> None:
    (table,) = of([on("padim", 0.7), on("cflow", 0.9), on("glass", 0.8), on("uniad", 0.1)])
    assert marks(table) == {
        "padim": ["70.0"], "cflow": ["90.01"], "glass": ["80.02"], "uniad": ["10.0"]
    }  # fmt: skip


def test_what_is_equal_as_shown_shares_a_mark() -> None:
    (table,) = of([on("a", 0.90001), on("b", 0.90002), on("c", 0.8), on("d", 0.8)])
    assert marks(table) == {"a": ["90.01"], "b": ["90.01"], "c": ["80.02"], "d": ["80.02"]}


def test_each_kind_of_features_has_a_table_of_its_own() -> None:
    tables = of([*three((0.5, 0.6, 0.7)), *three((0.6, 0.5, 0.8), method="cflow")])
    assert [table.title for table in tables] == [
        f"clip_b: methods on {kind} features" for kind in ("own", "residual", "pretrained")
    ]
    assert [marks(table)["padim"] for table in tables] == [["50.02"], ["60.01"], ["70.02"]]


def test_one_method_is_no_standing_and_backbones_are_not_mixed() -> None:
    assert of(three((0.5, 0.6, 0.7))) == []
    assert of([on("padim", 0.5), on("cflow", 0.6, backbone="clip_l")]) == []


def test_a_mean_over_fewer_classes_is_shown_but_not_held_against_the_others() -> None:
    both = [on(method, 0.6, name) for method in ("padim", "cflow") for name in ("pcb1", "pcb2")]
    (table,) = of([*both, on("glass", 0.99)])
    assert marks(table) == {"padim": ["60.01"], "cflow": ["60.01"], "glass": ["99.0"]}
    (table,) = of([*both[:2], on("glass", 0.99)])
    assert marks(table) == {"padim": ["60.0"], "glass": ["99.0"]}, "one alone is not marked"
    assert any("glass: mean of image AUROC over 1 of 2 classes" in note for note in table.notes)


def test_several_sets_have_a_column_each_and_their_mean() -> None:
    records = [
        dataclasses.replace(on(method, value, name), dataset=dataset)
        for method, dataset, name, value in [
            ("padim", "mvtec", "bottle", 0.7),
            ("padim", "mvtec", "cable", 0.9),
            ("padim", "visa", "pcb1", 0.5),
            ("cflow", "mvtec", "bottle", 0.6),
            ("cflow", "mvtec", "cable", 0.6),
            ("cflow", "visa", "pcb1", 0.9),
            ("glass", "visa", "pcb1", 0.6),
        ]
    ]
    (table,) = of(records)
    assert [column.name for column in table.columns] == [
        "method", "mvtec (2 classes)", "visa (1 class)", "mean of 2 sets"
    ]  # fmt: skip
    assert marks(table) == {
        "padim": ["80.01", "50.0", "65.02"],
        "cflow": ["60.02", "90.01", "75.01"],
        "glass": ["–", "60.02", "–"],
    }


def test_deviations_over_seeds_stand_beside_the_mark() -> None:
    records = [on("padim", 0.5 + seed / 10, seed=seed) for seed in (0, 1)]
    (table,) = of([*records, on("cflow", 0.4)])
    assert marks(table)["padim"] == ["55.0 ± 7.11"]


def test_marks_are_written_in_markdown_and_latex() -> None:
    (table,) = of([on("padim", 0.7), on("cflow", 0.9)])
    assert "| cflow | **90.0** |" in to_markdown(table)
    assert "| padim | <ins>70.0</ins> |" in to_markdown(table)
    assert r"\textbf{90.0}" in to_latex([table])
    assert r"\underline{70.0}" in to_latex([table])
