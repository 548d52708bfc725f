"""Runs that are killed or told to stop at any moment go on to the result of an undisturbed run."""

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from adpt.evaluation.feature_cache import SUFFIX, FeatureCache, FeatureSpace
from adpt.results import read_records
from adpt.running.whole_files import OUTPUT_MARK, remove_leftovers, replacing
from adpt.running.work_lock import LOCK
from attempts import Ended, attempt
from drawn import draw_folder
from runs import rows

KILLS = {"train": 12, "evaluate": 8}
TRAINING = [
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=1.0",
    "data.batch_size=3",
    "model.optimizer.lr=0.01",
    "callbacks.checkpoint.minutes=0",  # A checkpoint after every step.
    "ckpt_path=last",
]
EVALUATION = [
    "method=[feature_norm,cflow]",
    "method.cflow.epochs=9",
    "method.cflow.patches_per_step=64",
    "features=[own]",
    "heatmaps=1",
    "checks=3",
]


class Workshop:
    """Runs one entry on the same images, over and over."""

    def __init__(self, entry: str, folder: Path, images: Path) -> None:
        self.entry, self.folder = entry, folder
        chosen = TRAINING if entry == "train" else EVALUATION
        self.overrides = ["data=folder", f"data.root={images}", *chosen]
        # The first attempt starts the server; the second one tells how long a run takes.
        assert self.run("warm up").code == 0
        whole = self.run("whole")
        assert whole.code == 0, whole.output
        self.seconds = whole.seconds
        self.whole = self.result("whole")

    def run(self, name: str, *signalled: Any) -> Ended:
        # Features that are cached already would leave less to interrupt.
        os.environ["ADPT_CACHE"] = str(self.folder / "cache" / name)
        return attempt(self.entry, self.folder / name, self.overrides, *signalled)

    def result(self, name: str) -> dict[str, Any]:
        """All that a run has found, without what differs from run to run: times."""
        folder = self.folder / name
        if self.entry == "train":
            return load_file(folder / "projector.safetensors")
        records = read_records(folder / "results.jsonl")
        found: dict[str, Any] = {
            "records": {(r.method, r.features): (r.metrics, r.epochs, r.history) for r in records},
            "count": len(records),
        }
        for record in records:
            with np.load(folder / "details" / str(record.details)) as arrays:
                found |= {f"{record.details} {name}": arrays[name] for name in arrays.files}
        return found

    def logged(self, name: str) -> dict[str, frozenset[tuple[str, str]]]:
        """What each step with a loss has logged, by step, without times."""
        return {
            row["step"]: frozenset(
                (figure, value)
                for figure, value in row.items()
                if value and figure != "data/images_per_second"
            )
            for row in rows(self.folder / name / "metrics.csv")
            if row["loss/total"]
        }


@pytest.fixture(scope="module", params=["train", "evaluate"])
def workshop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("killed")
    before = {name: os.environ.get(name) for name in ("ADPT_CACHE", "OMP_NUM_THREADS")}
    os.environ["OMP_NUM_THREADS"] = "1"
    yield Workshop(request.param, folder, draw_folder(folder / "own", ("key",)))
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value), name
        elif isinstance(value, np.ndarray):
            assert np.array_equal(found[name], value), name
        else:
            assert found[name] == value, name


def read_image(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def read_table(path: Path) -> None:
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert all(len(line) == len(header) for line in lines)


def read_page(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def read_features(path: Path) -> None:
    space = path.parents[1]
    FeatureSpace(FeatureCache(space.parent), space.name, torch.float32).read([path.stem])


READ: dict[str, Callable[[Path], object]] = {
    SUFFIX: read_features,
    ".safetensors": load_file,
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".npz": lambda path: [array.shape for array in np.load(path).values()],
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    ".csv": read_table,
    ".png": read_image,
    ".html": read_page,
}


def assert_whole(folder: Path) -> int:
    """Read every file; how many half-written ones lie hidden beside them."""
    hidden = 0
    for path in folder.rglob("*"):
        if path.name.startswith(".") and path.suffix == ".part":
            hidden += 1
        elif path.is_file() and path.name not in (OUTPUT_MARK, LOCK):
            READ[path.suffix](path)
    return hidden


def test_killed_runs_end_as_if_undisturbed(workshop: Workshop) -> None:
    chance = np.random.default_rng(3)
    kills, runs = 0, 0
    while kills < KILLS[workshop.entry]:
        runs += 1
        name, attempts, run_again = f"killed_{runs}", 0, True
        while run_again:
            attempts += 1
            assert attempts < 40, "the runs make no headway"
            ended = workshop.run(name, chance.uniform(0, workshop.seconds))
            assert ended.code in (0, -signal.SIGKILL), ended.output
            run_again = ended.code != 0
            kills += run_again
            assert_whole(workshop.folder / name)
            assert_whole(workshop.folder / "cache" / name)
        assert_equal(workshop.result(name), workshop.whole)
        assert assert_whole(workshop.folder / name) == 0
        if workshop.entry == "train":
            # A killed run may lack the row of the step that its checkpoint was written after.
            found, whole = workshop.logged(name), workshop.logged("whole")
            assert found.items() <= whole.items()
            assert len(found) >= len(whole) - attempts


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_says_how_to_go_on(
    workshop: Workshop, signum: signal.Signals
) -> None:
    name = f"told_by_{signum.name}"
    codes = []
    for share in (0.3, 0.6, 0.9):
        ended = workshop.run(name, share * workshop.seconds, signum)
        codes.append(ended.code)
        assert "Traceback" not in ended.output
        assert assert_whole(workshop.folder / name) == 0
        if ended.code:
            assert ended.code == 128 + signum
            assert f"Stopped by {signum.name}." in ended.output
        if "Go on with" in ended.output:
            assert f"hydra.run.dir={workshop.folder / name}" in ended.output
    assert codes[0] != 0
    assert workshop.run(name).code == 0
    assert_equal(workshop.result(name), workshop.whole)
    if workshop.entry == "train":
        assert workshop.logged(name) == workshop.logged("whole")


# ---- Leftovers ------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(
    tmp_path: Path,
) -> None:
    left = tmp_path / "deep" / ".last.ckpt.abc.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    other = tmp_path / "deep" / "a.part"
    other.write_bytes(b"somebody's own")
    with replacing(tmp_path / "deep" / "table.csv") as temporary:
        temporary.write_text("half")
        remove_leftovers(tmp_path)
        assert temporary.read_text() == "half"
    assert sorted(path.name for path in left.parent.iterdir()) == ["a.part", "table.csv"]
