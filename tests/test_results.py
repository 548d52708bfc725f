"""Records survive files, interruptions and repetition, and know where they come from."""

import dataclasses
import json
import logging
import math
import multiprocessing
import subprocess
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from adpt.errors import UserError
from adpt.results import Record, append_records, latest, provenance, read_records
from adpt.results.provenance import checkout_commit, config_sha256
from recorded import SEVEN, a_record

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
    context = multiprocessing.get_context("fork")
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


# The later of two records


def test_later_record_of_a_cell_counts() -> None:
    first, second = a_record(auroc=0.1), a_record(auroc=0.2)
    assert latest([first, second]) == [second]


def test_later_record_tells_the_options_of_those_before(tmp_path: Path) -> None:
    def decided(**decides: object) -> Record:
        told = {"class": "pcb1", "images": "a" * 64, "adpt": "1", "backbone.power": 1, **decides}
        return a_record(decides=told)

    records = [decided(), decided(images="b" * 64, adpt="2", **{"source of mine.X": "c" * 64})]
    (kept,) = latest(records)
    assert kept.instead_of == ()
    (kept,) = latest([*records, decided(**{"backbone.power": 1.0})])
    assert kept.instead_of == ("backbone.power=1",)
    (kept,) = latest([*records, decided(**{"backbone.power": "cubes", "data.resize": None})])
    assert latest([kept]) == [kept]
    assert latest([kept])[0].instead_of == ("backbone.power=1",)
    append_records(tmp_path / "results.jsonl", [kept])
    assert read_records(tmp_path)[0].instead_of == ()


def test_record_of_a_cell_that_stands_twice_is_read_once(tmp_path: Path) -> None:
    one, other = a_record(auroc=0.1, cell="a" * 64), a_record(auroc=0.2, cell="b" * 64)
    append_records(tmp_path / "results.jsonl", [one, other, one, a_record(), a_record()])
    read = read_records(tmp_path)
    assert read == read_records(tmp_path / "results.jsonl") == [other, one, a_record(), a_record()]


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
        {"setting": {"train_fraction": 0.1}},
        {"options": {"epochs": 5}},
        {"protocol": "paper"},
    ],
)
def test_other_cells_are_kept(change: dict[str, Any]) -> None:
    records = [a_record(), a_record(**change)]
    assert latest(records) == records


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
