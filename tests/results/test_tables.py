"""Tables as readers get them: which lines, columns and notes, on the terminal and as CSV."""

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adpt.results import Record, print_table, summarise, to_csv
from adpt.results.caution import cautions
from adpt.results.compare import class_table, overviews
from adpt.results.table import Column, Table
from adpt.results.training_course import training_table
from recorded import SEVEN, a_record, three


def cells(table: Table) -> dict[tuple[str, str], list[str]]:
    """The texts of each line by block and line, a cell's figures with a slash between."""
    return {
        (block.name, line.name): [" / ".join(f.text for f in cell) for cell in line.cells]
        for block in table.blocks
        for line in block.lines
    }


def overview(records: list[Record], *metrics: str) -> Table:
    (table,) = overviews(summarise(records), metrics or ("image_auroc",))
    return table


def printed(records: list[Record], **options: Any) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    print_table(records, console, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_names_in_results_from_elsewhere_give_a_terminal_no_orders() -> None:
    names = {"class_name": "key\x1b]0;mine\x07", "method": "m\x1b[2J", "dataset": "set\u202e"}
    told = printed([dataclasses.replace(record, **names) for record in three((0.7, 0.75, 0.9))])
    assert not {"\x1b", "\x07", "\u202e"} & set(told)
    assert "key\\x1b]0;mine\\x07" in told


# Methods by data sets


def test_overview_has_sets_side_by_side_and_their_mean() -> None:
    records = three((0.5, 0.6, 0.8)) + three((0.7, 0.8, 0.9), dataset="mvtec")
    table = overview(records)
    assert [column.name for column in table.columns] == [
        "method",
        "visa (1 class)",
        "mvtec (1 class)",
        "mean of 2 sets",
    ]
    assert cells(table) == {
        ("padim", "own"): ["50.0", "70.0", "60.0"],
        ("padim", "residual"): ["60.0", "80.0", "70.0"],
        ("padim", "pretrained"): ["80.0", "90.0", "85.0"],
        ("padim", "pretrained − own"): ["+30.0", "+20.0", "+25.0"],
        ("padim", "pretrained − residual"): ["+20.0", "+10.0", "+15.0"],
    }


def test_overview_s_mean_over_sets_moves_with_the_seeds_of_all_of_them() -> None:
    records = [
        a_record("own", value, dataset=dataset, seed=seed)
        for dataset, values in (("visa", (0.5, 0.6)), ("mvtec", (0.9, 0.8)))
        for seed, value in enumerate(values)
    ]
    assert cells(overview(records)) == {
        ("padim", "own"): ["55.0 ± 7.1", "85.0 ± 7.1", "70.0 ± 0.0"]
    }


def test_overview_shows_pairs_and_marks_the_best_features_of_each_metric() -> None:
    own = a_record("own", metrics={"image_auroc": 0.9, "pixel_aupro": 0.3})
    pretrained = a_record("pretrained", metrics={"image_auroc": 0.8, "pixel_aupro": 0.4})
    table = overview([own, pretrained], "image_auroc", "pixel_aupro")
    assert cells(table)["padim", "pretrained − own"] == ["−10.0 / +10.0"]
    own_line, pretrained_line, difference = (line.cells[0] for line in table.blocks[0].lines)
    assert [figure.best for figure in own_line] == [True, False]
    assert [figure.best for figure in pretrained_line] == [False, True]
    assert [figure.trend for figure in difference] == [-1, 1]
    assert "image AUROC / AUPRO in percent; clean protocol (nothing chosen" in table.caption


def test_missing_set_is_a_dash_and_its_absence_from_the_mean_is_said() -> None:
    records = three((0.5, 0.6, 0.8)) + three((0.7, 0.8, 0.9), dataset="mvtec")
    table = overview(records + three((0.1, 0.2, 0.3), method="patchcore"))
    assert cells(table)["patchcore", "pretrained"] == ["30.0", "–", "–"]
    assert table.notes == ("patchcore: no mean over data sets, for 1 of 2 are complete.",)


def test_fewer_classes_than_others_have_are_said() -> None:
    records = [a_record("own", class_name=name) for name in ("a", "b")]
    table = overview([*records, a_record("own", class_name="a", method="patchcore")])
    assert table.columns[1].name == "visa"
    assert table.notes == ("visa · patchcore: mean of image AUROC over 1 of 2 classes.",)


def test_overview_has_a_table_for_each_backbone_protocol_and_setting() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"backbone": "clip_l"},
        {"protocol": "paper"},
        {"setting": {"noise_ratio": 0.1}},
    ]
    records = [r for change in changes for r in three((0.1, 0.2, 0.3), **change)]
    tables = overviews(summarise(records))
    assert [table.title for table in tables] == [
        "clip_b: methods by data sets",
        "clip_l: methods by data sets",
        "clip_b: methods by data sets",
        "clip_b: methods by data sets, 10 % anomalous images mixed into training",
    ]
    assert "paper protocol (the authors' choices on test data)" in tables[2].caption
    assert "10 % anomalous images mixed into training" in tables[3].caption


def test_few_shot_lines_are_in_the_order_of_their_references() -> None:
    few: dict[str, Any] = {"setting": {"few_shot": True}}
    records = [
        a_record(features, 0.1 * shots, shots=shots, **few)
        for shots in (8, 1, 2)
        for features in ("own", "pretrained")
    ]
    table = overview(records)
    names = ["padim, 1 reference", "padim, 2 references", "padim, 8 references"]
    assert [block.name for block in table.blocks] == names
    assert cells(table)["padim, 2 references", "own"] == ["20.0"]
    assert "1, 2 and 8 references per class" in table.caption


def test_own_features_alone_stand_with_the_others_of_their_method() -> None:
    table = overview([*three((0.5, 0.6, 0.8)), a_record("own", 0.7, dataset="mvtec")])
    assert [block.name for block in table.blocks] == ["padim"]
    assert cells(table)["padim", "own"] == ["50.0", "70.0", "–"]
    assert cells(table)["padim", "pretrained"] == ["80.0", "–", "–"]
    assert table.notes == ("padim: no mean over data sets, for 1 of 2 are complete.",)


def test_lines_of_several_projectors_name_them_on_every_set() -> None:
    records = [
        a_record("pretrained", value, projector_sha256=sha256, dataset=dataset)
        for dataset, sha256, value in (
            ("visa", "aa" * 32, 0.1),
            ("visa", "bb" * 32, 0.2),
            ("mvtec", "aa" * 32, 0.3),
        )
    ]
    table = overview(records)
    assert cells(table)["padim, projector aaaaaaaa", "pretrained"][:2] == ["10.0", "30.0"]
    assert cells(table)["padim, projector bbbbbbbb", "pretrained"][:2] == ["20.0", "–"]


# One method class by class


def test_class_table_has_each_difference_where_both_features_are_known() -> None:
    table = class_table(summarise(three((0.5, 0.6, 0.55)))[0])
    assert cells(table) == {
        ("", "pcb1"): ["50.0", "60.0", "55.0", "+5.0", "−5.0"],
        ("", "mean"): ["50.0", "60.0", "55.0", "+5.0", "−5.0"],
    }
    assert [(c.over, c.name) for c in table.columns[1:]] == [
        ("image AUROC", name) for name in ("own", "residual", "pretrained", "vs own", "vs residual")
    ]
    without = class_table(summarise([a_record("own"), a_record("residual")])[0])
    assert [column.name for column in without.columns] == ["class", "own", "residual"]


def test_what_ties_as_shown_is_best_together_and_one_alone_is_not() -> None:
    table = class_table(summarise(three((0.50004, 0.5, 0.4)))[0])
    figures = [cell[0] for cell in table.blocks[0].lines[0].cells]
    assert [figure.best for figure in figures] == [True, True, False, False, False]
    alone = class_table(summarise([a_record("own")])[0])
    assert not alone.blocks[0].lines[0].cells[0][0].best


def test_uneven_seeds_are_said() -> None:
    records = [a_record("own", class_name=n, seed=s) for n, s in (("a", 0), ("a", 1), ("b", 0))]
    (note,) = class_table(summarise(records)[0]).notes
    assert note.startswith("not every class has every seed")
    assert class_table(summarise(records[:2])[0]).notes == ()


def test_spans_join_neighbours_under_one_name() -> None:
    columns = [Column("class"), Column("own", "A"), Column("pre", "A"), Column("own", "B")]
    table = Table("", "", tuple(columns), ())
    assert table.spans == [("", 1), ("A", 2), ("B", 1)]
    assert table.edges == [True, False, True]
    plain = Table("", "", (Column("class"), Column("own"), Column("pre")), ())
    assert (plain.spans, plain.edges) == ([("", 1)] * 3, [False, False])


# Trained methods


def trained(features: str, **changes: Any) -> Record:
    history = tuple({"epoch": e, "loss": 1.0, "image_auroc": 0.5 + e / 100} for e in range(1, 13))
    return a_record(features, **{"epochs": {"trained": 12}, "history": history, **changes})


def test_training_goes_from_early_to_late() -> None:
    later = tuple({"epoch": e, "image_auroc": 0.7} for e in range(1, 13))
    records = [trained("own", class_name="a"), trained("own", class_name="b", history=later)]
    table = training_table(summarise(records)[0])
    assert table is not None
    assert [column.name for column in table.columns] == [
        "features", "1", "3", "5", "8", "10", "12",
    ]  # fmt: skip
    # The mean of 0.50 + epoch / 100 and 0.70.
    assert cells(table) == {("", "own"): ["60.5", "61.5", "62.5", "64.0", "65.0", "66.0"]}


def test_only_epochs_that_all_were_looked_at_stand_in_the_table() -> None:
    short = tuple({"epoch": e, "image_auroc": 0.7} for e in (2, 4))
    records = [trained("own"), trained("pretrained", history=short)]
    table = training_table(summarise(records)[0])
    assert table is not None
    assert [column.name for column in table.columns[1:]] == ["2", "4"]


def test_what_was_not_defined_in_training_is_a_dash() -> None:
    history: Any = ({"epoch": 1, "image_auroc": None}, {"epoch": 2, "image_auroc": 0.5})
    other: Any = tuple({"epoch": epoch, "image_auroc": math.nan} for epoch in (1, 2))
    records = [trained("own", history=history)]
    for further in ([], [trained("own", class_name="b", history=other)]):
        table = training_table(summarise([*records, *further])[0])
        assert table is not None
        assert cells(table) == {("", "own"): ["–", "50.0"]}


def test_methods_that_are_not_trained_have_no_training() -> None:
    (summary,) = summarise([a_record("own")])
    assert training_table(summary) is None
    assert "Trained" not in class_table(summary).caption


def test_caption_tells_epochs_and_those_chosen_on_test_data() -> None:
    (clean,) = summarise([trained("own")])
    assert class_table(clean).caption.endswith("Trained for 12 epochs.")
    epochs = {"trained": 12, "image_auroc": 5}
    other = {"trained": 12, "image_auroc": 9, "pixel_aupro": 2}
    records = [
        trained("own", class_name="a", epochs=epochs, protocol="paper"),
        trained("own", class_name="b", epochs=other, protocol="paper"),
    ]
    caption = class_table(summarise(records)[0]).caption
    assert caption.endswith("Best epoch, chosen on test data: image AUROC 5 to 9, AUPRO 2.")


# What to be careful about


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"commit": "ab" * 20}, {"commit": "cd" * 20 + "-dirty"}, "commits: abababab and cdcdcd"),
        ({"versions": {"torch": "2.6", "timm": "1"}}, {"versions": {"torch": "2.7", "timm": "1"}},
         "versions: torch 2.6 and torch 2.7."),
        ({"hardware": "1 × A"}, {"hardware": "2 × B"}, "hardware: 1 × A and 2 × B"),
    ],
)  # fmt: skip
def test_different_origins_are_said(one: dict[str, Any], other: dict[str, Any], said: str) -> None:
    records = [a_record("own", provenance=one), a_record("residual", provenance=other)]
    (note,) = class_table(summarise(records)[0]).notes
    assert f"different {said}" in note
    assert overview(records).notes == (note,)
    assert cautions([records[0], a_record("residual", provenance=one)]) == []


def test_other_weights_of_the_same_backbone_are_said() -> None:
    records = [a_record(backbone_sha256="ab" * 32), a_record(backbone_sha256="cd" * 32)]
    (note,) = cautions(records)
    assert "weights of the same backbone: clip_b abababab and clip_b cdcdcdcd" in note
    assert cautions([records[0], a_record(backbone="clip_l", backbone_sha256="cd" * 32)]) == []


def test_options_that_tables_do_not_show_are_told_where_results_stand_side_by_side() -> None:
    def decided(class_name: str, **decides: object) -> Record:
        told = {"class": class_name, "images": class_name * 64, "backbone.power": 1, **decides}
        return a_record(class_name=class_name, decides=told)

    one = decided("a", **{"source of mine.X": "d" * 64, "method.padim.epsilon": 1})
    other = decided("b", **{"backbone.power": 3, "source of mine.X": "c" * 64})
    assert cautions([one, decided("b")]) == []
    assert cautions([one, other]) == [
        "Results that stand side by side here differ in backbone.power: 1 and 3.",
        "Results that stand side by side here differ in source of mine.X.",
    ]
    assert len(cautions([one, dataclasses.replace(other, method="cflow")])) == 2
    # What an option of the backbone changes of its weights' hash and network is no news.
    follows = {"the backbone's network": "e" * 64, "the backbone's options.power": 3}
    of_other = dataclasses.replace(
        other, decides={**other.decides, **follows}, backbone_sha256="f" * 64
    )
    named = decided("a", **{"the backbone's network": "f" * 64, "the backbone's options.power": 1})
    one = dataclasses.replace(one, decides={**one.decides, **named.decides},
                              backbone_sha256="e" * 64)  # fmt: skip
    assert [note.partition(" in ")[2] for note in cautions([one, of_other])] == [
        "backbone.power: 1 and 3.",
        "source of mine.X.",
    ]
    assert cautions([one, dataclasses.replace(other, seed=7)]) == []


def test_many_origins_are_not_all_listed() -> None:
    (note,) = cautions([a_record(provenance={"hardware": f"{i} × A"}) for i in range(9)])
    assert note.endswith("0 × A, 1 × A, 2 × A, 3 × A and 5 more.")


def test_products_that_the_projector_has_seen_are_said() -> None:
    seen = {"projector_saw_the_images": True}
    (note,) = cautions(three((0.1, 0.2, 0.3), provenance=seen))
    assert "trained on images that are evaluated here, of visa pcb1:" in note
    assert cautions(three((0.1, 0.2, 0.3), provenance=seen)[:2]) == []


# On the terminal


def test_terminal_shows_features_and_differences() -> None:
    metrics = {"pixel_aupro": 0.3, "image_ap": 0.4}
    records = [
        a_record("own", metrics={"image_auroc": 0.926, **metrics}),
        a_record("pretrained", metrics={"image_auroc": 0.954, **metrics, "pixel_aupro": 0.1}),
    ]
    text = printed(records)
    row = next(line.split() for line in text.splitlines() if "pcb1" in line)
    assert row == ["pcb1", "92.6", "95.4", "+2.8", "30.0", "10.0", "−20.0"]
    assert "40.0" not in text
    assert "residual" not in text
    assert "visa · padim" in text
    assert "methods by data sets" not in text
    assert "methods by data sets" in printed([*records, a_record(method="patchcore")])


def test_terminal_table_of_all_features_and_seeds_has_one_line_a_class() -> None:
    records = [
        a_record(
            features,
            metrics=dict.fromkeys(SEVEN, 0.876 + seed / 1e5),
            class_name="transistor",
            seed=seed,
        )
        for features in ("own", "residual", "pretrained")
        for seed in (0, 1)
    ]
    row = next(line for line in printed(records).splitlines() if "transistor" in line)
    assert row.count("87.6 ± 0.0") == 6
    assert len(row.rstrip()) < 140


def test_terminal_says_over_how_many_classes_a_mean_is() -> None:
    records = [
        a_record("own", class_name="a"),
        a_record("own", class_name="b"),
        a_record("pretrained", class_name="a"),
    ]
    assert "image AUROC over 1 of 2 classes" in printed(records)
    assert "mean of" not in printed(records[::2])


def test_terminal_colours_gains_green_and_losses_red() -> None:
    console = Console(file=io.StringIO(), width=100, color_system="standard", force_terminal=True)
    records = [
        a_record("own", 0.5, class_name="better"),
        a_record("pretrained", 0.6, class_name="better"),
        a_record("own", 0.6, class_name="worse"),
        a_record("pretrained", 0.5, class_name="worse"),
    ]
    print_table(records, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[32m+10.0" in text
    assert "\x1b[31m−10.0" in text


def test_names_in_square_brackets_are_printed_as_they_are() -> None:
    text = printed([a_record(class_name="[red]x", dataset="[blue]y")])
    assert "[red]x" in text
    assert "[blue]y" in text


# As CSV


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_all_metrics_and_the_later_of_two(tmp_path: Path) -> None:
    full = a_record("pretrained", metrics=dict.fromkeys(SEVEN, 0.1 + 0.2), class_name="größer –")
    full = dataclasses.replace(full, counts={"skipped": 1}, seconds={"fit": 1.5})
    older = dataclasses.replace(full, metrics=dict.fromkeys(SEVEN, 0.9))
    to_csv([older, a_record(auroc=math.nan), full], tmp_path / "r.csv")
    first, second = read(tmp_path / "r.csv")
    assert [float(first[name]) for name in SEVEN] == [0.1 + 0.2] * 7
    assert (first["class_name"], first["count_skipped"], first["seconds_fit"]) == (
        "größer –",
        "1",
        "1.5",
    )
    assert (first["projector_sha256"], first["protocol"]) == ("ab" * 32, "clean")
    assert (second["image_auroc"], second["pixel_aupro"], second["shots"]) == ("", "", "")


def test_csv_has_settings_options_and_epochs(tmp_path: Path) -> None:
    other = a_record(setting={"train_fraction": 0.1}, options={"epochs": 5}, epochs={"trained": 5})
    to_csv([a_record(), other], tmp_path / "r.csv")
    names = ("setting_train_fraction", "option_epochs", "epochs_trained")
    found = [[row[name] for name in names] for row in read(tmp_path / "r.csv")]
    assert found == [["", "", ""], ["0.1", "5", "5"]]
