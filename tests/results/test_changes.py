"""Two folders of results are held against each other, cell by cell."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from adpt.errors import UserError
from adpt.report import report
from adpt.results import Record, append_records
from adpt.results.changes import changes_between, changes_csv, changes_table
from recorded import a_record
from runs import composed, run_task

A, B = {"seed": 0, "data.resize": None}, {"seed": 0, "data.resize": 224}


def cells(**changes: Any) -> list[Record]:
    """Two classes on own features."""
    return [a_record(class_name=name, **changes) for name in ("pcb1", "pcb2")]


def told(before: list[Record], after: list[Record]) -> str:
    table = changes_table(changes_between(before, after), ("a", "b"), ["image_auroc"])
    return "\n".join([table.caption, *table.notes])


def test_equal_results_are_counted_and_not_listed() -> None:
    table = changes_table(changes_between(cells(), cells()), ("a", "b"))
    assert "2 results of both folders: 0 changed, 2 equal" in table.caption
    assert table.blocks == ()
    assert table.notes == ()


def test_a_metric_that_is_undefined_in_both_has_not_changed() -> None:
    undefined = [a_record(auroc=math.nan)]
    assert changes_between(undefined, undefined).pairs[0].equal


def test_a_change_in_a_metric_that_is_not_shown_counts() -> None:
    before, after = (a_record(metrics={"image_auroc": 0.5, "pixel_ap": v}) for v in (0.1, 0.1001))
    assert "1 changed" in told([before], [after])


def test_metrics_that_one_side_lacks_are_told() -> None:
    more = a_record(metrics={"image_auroc": 0.5, "pixel_seg_f1": 0.1, "mad": 0.2})
    said = told(cells(), [more, a_record(class_name="pcb2")])
    assert "0 changed, 2 equal in every metric that both have." in said
    assert "Metrics that only one folder has, in 1 result: SegF1 and mAD." in said
    assert "only one folder" not in told(cells(), cells())


def test_changed_cells_have_a_line_each_and_their_mean() -> None:
    after = [a_record(auroc=0.75), a_record(class_name="pcb2", auroc=0.45)]
    table = changes_table(changes_between(cells(), after), ("a", "b"), ["image_auroc"])
    (block,) = table.blocks
    assert block.name == "visa · padim · own"
    assert [(line.name, *(cell[0].text for cell in line.cells)) for line in block.lines] == [
        ("pcb1", "50.0", "75.0", "+25.0"),
        ("pcb2", "50.0", "45.0", "−5.0"),
        ("mean of these", "50.0", "60.0", "+10.0"),
    ]


def test_what_decides_and_differs_is_said_once_for_all_cells() -> None:
    note = told(cells(decides=A), [a_record(auroc=0.6, decides=B), cells(decides=B)[1]])
    assert "Differs in all results, 1 of them changed: data.resize: null → 224." in note


def test_conditions_tell_records_that_did_not_note_what_decides() -> None:
    assert "backbone: clip_b → clip_l" in told(cells(), cells(auroc=0.6, backbone="clip_l"))


def test_a_change_without_a_recorded_cause_is_said() -> None:
    assert "nothing that decides" in told(cells(decides=A), cells(auroc=0.6, decides=A))


def test_seeds_are_paired_with_themselves_and_others_by_the_fewest_differences() -> None:
    seeds = [a_record(seed=seed, auroc=0.5 + seed / 10) for seed in (0, 1, 2)]
    pairs = changes_between(seeds, list(reversed(seeds))).pairs
    assert {(pair.before.seed, pair.after.seed) for pair in pairs} == {(0, 0), (1, 1), (2, 2)}
    shots = [a_record("residual", shots=shots) for shots in (2, 4)]
    pairs = changes_between(shots, [a_record("residual", shots=4), *shots[:1]]).pairs
    assert {(pair.before.shots, pair.after.shots) for pair in pairs} == {(2, 2), (4, 4)}


def test_the_seed_decides_before_other_differences() -> None:
    before = a_record(decides={"seed": 0, "data.resize": None, "aligned": None})
    same = a_record(decides={"seed": 0, "data.resize": 224, "aligned": 10})
    another = a_record(seed=1, decides={"seed": 1, "data.resize": None, "aligned": None})
    found = changes_between([before], [another, same])
    assert [(pair.after.seed, len(pair.causes)) for pair in found.pairs] == [(0, 2)]


def test_each_result_stands_in_one_pair_and_the_others_are_named() -> None:
    found = changes_between(
        [a_record(), a_record(seed=1)], [a_record(seed=1), a_record(dataset="mvtec")]
    )
    assert [(pair.before.seed, pair.after.seed) for pair in found.pairs] == [(1, 1)]
    assert [record.seed for record in found.gone] == [0]
    notes = changes_table(found, ("first", "second")).notes
    assert "1 result only in first: visa pcb1 · padim." in notes
    assert "1 result only in second: mvtec pcb1 · padim." in notes


def test_csv_has_a_row_for_each_result_and_metric(tmp_path: Path) -> None:
    before = [a_record(decides=A), a_record(seed=3)]
    found = changes_between(before, [a_record(auroc=0.7, decides=B)])
    changes_csv(found, tmp_path / "changes.csv")
    with (tmp_path / "changes.csv").open(encoding="utf-8") as lines:
        rows = [
            (row["seed"], row["metric"], row["before"], row["after"], row["differs"])
            for row in csv.DictReader(lines)
        ]
    assert rows == [
        ("0", "image_auroc", "0.5", "0.7", "data.resize: null → 224"),
        ("3", "image_auroc", "0.5", "", ""),
    ]


def test_the_command_writes_beside_the_second_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append_records(tmp_path / "a" / "results.jsonl", cells())
    append_records(tmp_path / "b" / "results.jsonl", cells(auroc=0.625))
    words = ["metrics=[image_auroc]", f"compare=[{tmp_path}/a,{tmp_path}/b]"]
    run_task(report, composed("report", *words))
    assert "+12.5" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        "results.jsonl", "changes.md", "changes.csv", "changes.tex",
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["results.jsonl"]
    run_task(report, composed("report", *words, f"output={tmp_path}/c", "formats=[markdown]"))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["changes.md"]


def test_choices_apply_to_both_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_records(tmp_path / "a" / "results.jsonl", cells())
    append_records(tmp_path / "b" / "results.jsonl", cells(auroc=0.6) + cells(method="cflow"))
    words = [f"compare=[{tmp_path}/a,{tmp_path}/b]", "formats=[]", "metrics=[image_auroc]"]
    run_task(report, composed("report", *words, "methods=[padim]"))
    assert "only in" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("[a]", r"compare=\[.*a\]: give two folders"),
        ("[a,b,a]", "give two folders"),
        ("[a,a]", r"compare=\[.*\]: both are one folder"),
        ("[a,x/../a]", "both are one folder"),
        ("[a,other]", "share no set, class, method and features"),
        ("[a,none]", "none: it does not exist"),
        ("[a,empty]", "another folder as compare="),
        ("[a,a/results.jsonl]", "is a file"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, folders: str, message: str) -> None:
    append_records(tmp_path / "a" / "results.jsonl", cells())
    append_records(tmp_path / "b" / "results.jsonl", cells())
    append_records(tmp_path / "other" / "results.jsonl", cells(method="cflow"))
    (tmp_path / "empty").mkdir()
    given = [f"{tmp_path}/{name}" for name in folders.strip("[]").split(",")]
    with pytest.raises(UserError, match=message):
        run_task(report, composed("report", f"compare=[{','.join(given)}]"))
    assert not list(tmp_path.rglob("changes.*"))
