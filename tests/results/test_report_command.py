"""The command writes what is asked for, and says what cannot be had."""

import csv
import re
from pathlib import Path

import pytest

from adpt.errors import UserError
from adpt.report import report
from adpt.results import Record, append_records
from recorded import a_record
from runs import command, composed, run_task

REPORTED = Path(__file__).parents[2] / "experiments" / "main_table" / "reported.yaml"


def both(**changes: str) -> list[Record]:
    """Own and pretrained features of one class."""
    metrics = (
        {"image_auroc": 0.612, "pixel_aupro": 0.5},
        {"image_auroc": 0.734, "pixel_aupro": 0.4},
    )
    return [
        a_record(features, metrics=found | {"image_ap": 0.9}, **changes)
        for features, found in zip(("own", "pretrained"), metrics, strict=True)
    ]


def test_command_writes_all_formats_and_prints_the_tables(tmp_path: Path) -> None:
    append_records(tmp_path / "made" / "results.jsonl", both())
    done = command("report", "results=made", "title=Seen", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"pcb1 +61.2 +73.4 +\+12.2", done.stdout)
    made = tmp_path / "made"
    assert "Seen" in (made / "report.html").read_text(encoding="utf-8")
    assert "# Seen" in (made / "report.md").read_text(encoding="utf-8")
    assert r"\begin{tabular}" in (made / "tables.tex").read_text(encoding="utf-8")
    assert (made / "results.csv").read_text().count("\n") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_report_chooses_records_metrics_and_formats(tmp_path: Path) -> None:
    made = both() + both(method="patchcore") + both(dataset="mvtec")
    append_records(tmp_path / "results.jsonl", [*made, *both(protocol="paper")])
    run_task(
        report,
        composed(
            "report", f"results={tmp_path}", f"output={tmp_path}/out", "formats=[markdown,csv]",
            "metrics=[image_ap]", "protocol=clean", "datasets=[visa]", "methods=[padim]",
            "backbones=[clip_b]",
        ),
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.md",
        "results.csv",
    ]
    with (tmp_path / "out" / "results.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {(row["dataset"], row["method"], row["protocol"]) for row in rows} == {
        ("visa", "padim", "clean")
    }
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "image AP" in text
    assert "AUROC" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["metrics=[image_auroc,speed]"],
            r"metrics=\[image_auroc,speed\]: .* image_auroc, image_ap",
        ),
        (["metrics=[pixel_auroc]"], "image_auroc, image_ap, pixel_aupro"),
        (["metrics=[]"], "choose some of"),
        (["formats=[pdf]"], "markdown, csv, latex, html"),
        (["protocol=paper"], "protocol=paper: these results are of clean"),
        (["datasets=[mvtec,btad]"], r"datasets=\[mvtec,btad\]: .* mvtec, visa"),
        (["methods=[]"], r"methods=\[\]: these results are of padim, patchcore"),
        (["backbones=[clip_l]"], "these results are of clip_b"),
        (["datasets=[mvtec]", "methods=[padim]"], "No result is left"),
    ],
)
def test_impossible_choices_are_refused_with_the_possible_ones(
    tmp_path: Path, options: list[str], message: str
) -> None:
    made = both() + both(method="patchcore", dataset="mvtec")
    append_records(tmp_path / "results.jsonl", made)
    with pytest.raises(UserError, match=message):
        run_task(report, composed("report", f"results={tmp_path}", *options))
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize(
    ("results", "message"),
    [("none", "none: it does not exist"), ("empty", "no .jsonl file"), ("file", "is a file")],
)
def test_missing_results_are_named(tmp_path: Path, results: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        run_task(report, composed("report", f"results={tmp_path / results}"))


def test_command_explains_what_is_missing_without_a_trace(tmp_path: Path) -> None:
    done = command("report", "results=none", cwd=tmp_path)
    assert done.returncode == 1
    assert "none: it does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_reported_results_stand_beside_ours_in_every_format_that_has_tables(tmp_path: Path) -> None:
    pair = {"image_auroc": 0.9, "pixel_aupro": 0.8, "pixel_aupro_paper": 0.8}
    records = [
        a_record(
            features,
            class_name=f"c{i}",
            backbone="imagebind",
            protocol="paper",
            setting={"as_published": True},
            metrics=pair,
        )
        for i in range(12)
        for features in ("own", "pretrained")
    ]
    append_records(tmp_path / "results.jsonl", records)
    plain = composed("report", f"results={tmp_path}")
    run_task(report, plain)
    files = [tmp_path / name for name in ("report.html", "report.md", "tables.tex")]
    assert not any("92.6" in path.read_text(encoding="utf-8") for path in files)
    run_task(report, composed("report", f"results={tmp_path}", f"reported={REPORTED}"))
    assert all("92.6" in path.read_text(encoding="utf-8") for path in files)


def test_a_file_of_reported_results_that_is_not_there_is_named(tmp_path: Path) -> None:
    append_records(tmp_path / "results.jsonl", both())
    with pytest.raises(UserError, match=r"reported=none\.yaml"):
        run_task(report, composed("report", f"results={tmp_path}", "reported=none.yaml"))
    assert not (tmp_path / "report.md").exists()
