"""Records survive files, interruptions and repetition; tables show what was recorded."""

import csv
import dataclasses
import io
import json
import logging
import math
import multiprocessing
import subprocess
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from adpt.errors import UserError
from adpt.results import (
    Record,
    append_records,
    latest,
    percent,
    points,
    print_table,
    provenance,
    read_records,
    summarise,
    to_csv,
)
from adpt.results.provenance import checkout_commit, config_sha256

SEVEN = [
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
]


def a_record(features: str = "own", auroc: float = 0.5, **changes: Any) -> Record:
    record = Record("visa", "pcb1", "padim", features, "clip_b", {"image_auroc": auroc})
    if features != "own":
        record = dataclasses.replace(record, shots=8)
    if features == "pretrained":
        record = dataclasses.replace(record, projector="p.safetensors", projector_sha256="ab" * 32)
    return dataclasses.replace(record, **changes)


FULL = Record(
    "visa",
    "pcb1 – größer",
    "patchcore",
    "pretrained",
    "clip_b",
    dict.fromkeys(SEVEN, 0.1 + 0.2),
    protocol="paper",
    seed=3,
    shots=8,
    references=("pcb1/0001.JPG", "pcb1/0002.JPG"),
    projector="runs/p.safetensors",
    projector_sha256="ab" * 32,
    backbone_sha256="cd" * 32,
    counts={"train": 900, "test": 200, "anomalous": 100, "skipped": 1},
    seconds={"fit": 1.5},
    provenance={"commit": None, "versions": {"torch": "2.6"}, "created": "2026-01-02T03:04:05"},
)


def printed(records: list[Record], **options: Any) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    print_table(records, console, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# Files of records


def test_record_comes_back_as_it_was(tmp_path: Path) -> None:
    append_records(tmp_path / "new" / "r.jsonl", [FULL, a_record()])
    assert read_records(tmp_path / "new" / "r.jsonl") == [FULL, a_record()]


def test_records_are_appended_in_order(tmp_path: Path) -> None:
    append_records(tmp_path / "r.jsonl", [a_record(seed=0)])
    append_records(tmp_path / "r.jsonl", [a_record(seed=1), a_record(seed=2)])
    assert [record.seed for record in read_records(tmp_path / "r.jsonl")] == [0, 1, 2]


def test_nan_is_null_on_disk_and_nan_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append_records(path, [a_record(auroc=math.nan)])
    assert json.loads(path.read_text())["metrics"] == {"image_auroc": None}
    assert math.isnan(read_records(path)[0].metrics["image_auroc"])


def test_infinity_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(ValueError, match="JSON compliant"):
        append_records(path, [a_record(), a_record(auroc=math.inf)])
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"features": "learned"}, "own, residual, pretrained"),
        ({"protocol": "best"}, "clean, paper"),
    ],
)
def test_unknown_features_and_protocols_are_refused(change: dict[str, str], accepted: str) -> None:
    with pytest.raises(ValueError, match=accepted):
        a_record(**change)


def as_line(**changes: Any) -> str:
    fields = {**dataclasses.asdict(a_record()), **changes}
    return json.dumps({name: value for name, value in fields.items() if value != "drop"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"dataset": "visa", "cla', "Unterminated string"),
        ("[1, 2]", "no JSON object"),
        (as_line(colour="red"), "unknown keys colour"),
        (as_line(backbone="drop", method="drop"), "missing keys backbone, method"),
        (as_line(features="learned"), "learned"),
        (as_line(metrics=[0.5]), r"metrics is \[0.5\]"),
        (as_line(metrics={"image_auroc": "high"}), "image_auroc is 'high'"),
        (as_line(seed="one"), "seed is 'one'"),
        (as_line(class_name=7), "class_name is 7"),
        (as_line(metrics={"image_auroc": math.nan}), "NaN is no JSON"),
        ("caf\udce9", "utf-8"),
    ],
)
def test_damaged_line_is_named_with_its_number(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "r.jsonl"
    text = f"{as_line()}\n\n{line}\n{as_line()}\n"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=reason) as caught:
        read_records(path)
    assert f"{path}, line 3 " in str(caught.value)


def test_interrupted_last_line_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    append_records(path, [a_record(seed=0), a_record(seed=1)])
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert read_records(path) == [a_record(seed=0)]
    assert f"{path} ends in an incomplete line (2)" in caplog.text


def test_appending_removes_an_interrupted_last_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    append_records(path, [a_record(seed=0), a_record(seed=1)])
    path.write_bytes(path.read_bytes()[:-20])
    append_records(path, [a_record(seed=2)])
    assert "incomplete line" in caplog.text
    assert [record.seed for record in read_records(path)] == [0, 2]


def test_last_line_that_lacks_only_its_end_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(as_line(seed=0))
    assert [record.seed for record in read_records(path)] == [0]
    append_records(path, [a_record(seed=1)])
    assert [record.seed for record in read_records(path)] == [0, 1]
    assert not caplog.text


def test_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    append_records(path, [a_record(seed=0)])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adpt.results.store.os.fsync", full)
    with pytest.raises(UserError, match=r"r\.jsonl.*No space left"):
        append_records(path, [a_record(seed=1)])
    assert path.read_bytes() == before


def append_many(path: Path, seed: int) -> None:
    for shots in range(50):
        append_records(path, [a_record(seed=seed, shots=shots)])


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many, args=(path, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = {(record.seed, record.shots) for record in read_records(path)}
    assert found == {(seed, shots) for seed in range(3) for shots in range(50)}


def test_folder_gives_all_files_by_the_time_of_their_newest_record(tmp_path: Path) -> None:
    for name, seed, created in (("a/x", 1, "2026-02"), ("b", 0, "2026-01"), ("c/y", 2, "2026-03")):
        record = a_record(seed=seed, provenance={"created": created})
        append_records(tmp_path / f"{name}.jsonl", [record])
    (tmp_path / "other.json").write_text("{}")
    assert [record.seed for record in read_records(tmp_path)] == [0, 1, 2]


def test_missing_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as caught:
        read_records(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)


# Summaries


def test_later_record_of_a_cell_counts() -> None:
    first, second = a_record(auroc=0.1), a_record(auroc=0.2)
    assert latest([first, second]) == [second]
    assert summarise([first, second])[0].mean.metrics["image_auroc"].own == 0.2


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "mvtec"},
        {"class_name": "pcb2"},
        {"method": "patchcore"},
        {"features": "residual"},
        {"backbone": "clip_l"},
        {"projector_sha256": "00"},
        {"seed": 1},
        {"shots": 4},
        {"protocol": "paper"},
    ],
)
def test_other_cells_are_kept(change: dict[str, Any]) -> None:
    records = [a_record(), a_record(**change)]
    assert latest(records) == records


def test_summary_against_numbers_by_hand() -> None:
    records = [
        a_record("own", 0.60, class_name="b"),
        a_record("residual", 0.65, class_name="b"),
        a_record("pretrained", 0.90, class_name="b"),
        a_record("own", 0.80, class_name="a"),
        a_record("residual", 0.85, class_name="a"),
        a_record("pretrained", 0.70, class_name="a"),
    ]
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
    assert b.difference == pytest.approx(0.30)
    mean = summary.mean.metrics["image_auroc"]
    assert (mean.own, mean.residual, mean.pretrained) == pytest.approx((0.70, 0.75, 0.80))
    assert mean.difference == pytest.approx(0.10)
    assert mean.classes == 2


def test_mean_is_over_the_classes_that_have_own_and_pretrained() -> None:
    records = [
        a_record("own", 0.6, class_name="a"),
        a_record("pretrained", 0.8, class_name="a"),
        a_record("own", 0.1, class_name="interrupted"),
        a_record("own", 0.2, class_name="undefined"),
        a_record("pretrained", math.nan, class_name="undefined"),
        a_record("residual", 0.9, class_name="undefined"),
    ]
    (summary,) = summarise(records)
    mean = summary.mean.metrics["image_auroc"]
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


def test_seeds_are_averaged() -> None:
    (summary,) = summarise([a_record(auroc=0.4, seed=1), a_record(auroc=0.6, seed=0)])
    assert summary.rows[0].metrics["image_auroc"].own == pytest.approx(0.5)
    assert summary.seeds == (0, 1)
    assert summary.setting.endswith("seeds 0, 1")


def test_own_features_stand_in_every_setting() -> None:
    records = [
        a_record("own", 0.5),
        a_record("residual", 0.6, shots=2),
        a_record("pretrained", 0.7, shots=2),
        a_record("pretrained", 0.8, shots=4),
        a_record("pretrained", 0.9, shots=4, projector_sha256="cd" * 32),
    ]
    found = [
        (s.shots, s.projector_sha256, *dataclasses.astuple(s.mean.metrics["image_auroc"])[::2])
        for s in summarise(records)
    ]
    assert found == [
        (2, "ab" * 32, 0.5, 0.7),
        (4, "ab" * 32, 0.5, 0.8),
        (4, "cd" * 32, 0.5, 0.9),
    ]


def test_residual_features_without_a_projector_have_their_own_setting() -> None:
    (summary,) = summarise([a_record("own", 0.5), a_record("residual", 0.6, shots=4)])
    assert (summary.shots, summary.projector_sha256) == (4, None)
    assert summary.mean.metrics["image_auroc"].residual == 0.6


@pytest.mark.parametrize("change", [{"backbone": "clip_l"}, {"protocol": "paper"}])
def test_backbones_and_protocols_are_never_mixed(change: dict[str, str]) -> None:
    summaries = summarise([a_record(auroc=0.5), a_record(auroc=0.7, **change)])
    assert [s.mean.metrics["image_auroc"].own for s in summaries] == [0.5, 0.7]


@pytest.mark.parametrize(
    ("value", "text"), [(0.9264, "92.6"), (1.0, "100.0"), (0.0, "0.0"), (math.nan, "–")]
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0281, "+2.8"), (-0.1, "−10.0"), (-0.0001, "0.0"), (0.0001, "0.0"), (math.nan, "–")],
)
def test_points(value: float, text: str) -> None:
    assert points(value) == text


# Tables


def test_csv_has_all_metrics_and_the_later_of_two(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    older = dataclasses.replace(FULL, metrics=dict.fromkeys(SEVEN, 0.9))
    to_csv([older, a_record(auroc=math.nan), FULL], path)
    with path.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert [float(first[name]) for name in SEVEN] == [0.1 + 0.2] * 7
    assert (first["class_name"], first["count_skipped"], first["seconds_fit"]) == (
        "pcb1 – größer",
        "1",
        "1.5",
    )
    assert (first["projector_sha256"], first["protocol"]) == ("ab" * 32, "paper")
    assert second["image_auroc"] == ""
    assert second["pixel_aupro"] == ""
    assert second["shots"] == ""


def test_table_shows_own_to_pretrained_with_the_difference() -> None:
    metrics = {"pixel_ap": 0.2, "pixel_aupro": 0.3, "image_ap": 0.4}
    records = [
        a_record("own", metrics={"image_auroc": 0.926, **metrics}),
        a_record("pretrained", metrics={"image_auroc": 0.954, **metrics, "pixel_ap": 0.1}),
    ]
    text = printed(records)
    row = next(line for line in text.splitlines() if "pcb1" in line)
    assert "92.6 → 95.4  +2.8" in row
    assert "20.0 → 10.0 −10.0" in row
    assert "30.0 → 30.0   0.0" in row
    assert "40.0" not in text
    assert "own → pretrained" in text
    assert "residual" not in text
    assert "visa · padim" in text


def test_table_with_residual_features_fits_100_columns_on_one_line_a_class() -> None:
    metrics = dict.fromkeys(SEVEN, 0.876)
    records = [
        a_record(features, metrics=metrics, class_name="transistor")
        for features in ("own", "residual", "pretrained")
    ]
    row = next(line for line in printed(records).splitlines() if "transistor" in line)
    assert row.count("87.6 → 87.6 → 87.6   0.0") == 3


def test_table_says_over_how_many_classes_a_mean_is() -> None:
    records = [
        a_record("own", class_name="a"),
        a_record("own", class_name="b"),
        a_record("pretrained", class_name="a"),
    ]
    assert "image AUROC over 1 of 2 classes" in printed(records)
    assert "mean:" not in printed(records[::2])


def test_table_colours_gains_green_and_losses_red() -> None:
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
    assert "\x1b[32m +10.0" in text
    assert "\x1b[31m −10.0" in text


def test_names_in_square_brackets_are_printed_as_they_are() -> None:
    text = printed([a_record(class_name="[red]x", dataset="[blue]y")])
    assert "[red]x" in text
    assert "[blue]y" in text


# Provenance


def test_provenance_fits_into_a_record(tmp_path: Path) -> None:
    origin = provenance(OmegaConf.create({"seed": 1}))
    assert {"versions", "config_sha256", "commit", "command", "hardware", "created"} == set(origin)
    assert {"adpt", "python", "torch", "timm", "lightning"} <= set(origin["versions"])
    assert origin["created"].endswith("+00:00")
    append_records(tmp_path / "r.jsonl", [a_record(provenance=origin)])
    assert read_records(tmp_path / "r.jsonl")[0].provenance == origin


def test_config_hash_sees_values_but_neither_order_nor_spelling() -> None:
    config = OmegaConf.create({"a": 1, "b": "${a}"})
    assert config_sha256(config) == config_sha256({"b": 1, "a": 1})
    assert config_sha256(config) != config_sha256({"b": 1, "a": 2})


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("a = 1\n")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "a")
    return root


def test_commit_of_a_checkout(checkout: Path) -> None:
    commit = checkout_commit(checkout)
    assert commit is not None
    assert len(commit) == 40
    assert int(commit, 16)


@pytest.mark.parametrize(("name", "dirty"), [("src/b.py", True), ("notes.txt", False)])
def test_commit_is_dirty_where_code_changed(checkout: Path, name: str, dirty: bool) -> None:
    (checkout / name).write_text("b = 1\n")
    assert str(checkout_commit(checkout)).endswith("-dirty") is dirty


def test_installation_inside_a_strangers_repository_has_no_commit(checkout: Path) -> None:
    assert checkout_commit(checkout / "src") is None


def test_commit_is_our_own_inside_a_git_hook(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = checkout_commit(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert checkout_commit(checkout) == expected
