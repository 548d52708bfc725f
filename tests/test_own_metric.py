"""The metric that developing.md shows, from a folder outside the checkout."""

import csv
from pathlib import Path

import pytest

from adpt.results import read_records
from drawn import draw_folder
from runs import TINY_EVALUATION, command
from test_docs import write_own_files

WORDS = [
    "--config-dir", "conf", *TINY_EVALUATION, "data=folder", "method=feature_norm",
    "heatmaps=0", "cache=null", "hydra.run.dir=out",
]  # fmt: skip


def test_a_metric_of_ones_own_is_measured_recorded_and_reported(tmp_path: Path) -> None:
    write_own_files(tmp_path)
    root = draw_folder(tmp_path / "own", ("key",))
    words = [*WORDS, f"data.root={root}", "metric=[good_passed,mad]", "intervals=true"]
    done = command("evaluate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "image good passed" in done.stdout
    records = read_records(tmp_path / "out")
    assert [record.features for record in records] == ["own", "residual"]
    for record in records:
        assert record.metrics["image_good_passed"] == 1
        assert record.intervals["image_good_passed"] == (1, 1)
        low, high = record.intervals["mad"]
        assert low <= record.metrics["mad"] <= high
        assert "source of mine.GoodPassed" in record.decides
        assert record.decides["metric.good_passed.found"] == 0.95
    with (tmp_path / "out" / "results.csv").open() as file:
        assert {row["image_good_passed"] for row in csv.DictReader(file)} == {"1.0"}
    assert "image good passed" in (tmp_path / "out" / "report.html").read_text()

    shown = ["results=out", "metrics=[image_good_passed,mad]", "formats=[markdown,latex]"]
    reported = command("report", *shown, cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert "image good passed: own" in (tmp_path / "out" / "report.md").read_text()
    assert "image good passed" in (tmp_path / "out" / "tables.tex").read_text()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("metric.good_passed.fond=0.9", "mine.GoodPassed has no such option; did you mean"),
        ("metric.mad.limit=0.9", "MeanOfSeven has no such option"),
        (
            "metric.x._target_=mine.MeanDistance",
            "MeanDistance is no adpt.metrics.Metric.",
        ),
    ],
)
def test_what_is_wrong_is_said_before_images_are_read(tmp_path: Path, word: str, said: str) -> None:
    write_own_files(tmp_path)
    words = [*WORDS, "data.root=nowhere", "metric=good_passed", f"+{word}"]
    done = command("evaluate", *words, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "nowhere" not in done.stderr
    print(done.stderr)
    assert said in done.stderr
