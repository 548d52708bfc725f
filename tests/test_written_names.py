"""Classes, defects and files of odd names go through evaluation, report and pretraining."""

import csv
import json
import os
from pathlib import Path

import pytest

import drawn
from adpt.data import Folder
from adpt.results import read_records
from adpt.running.whole_files import OUTPUT_MARK
from runs import TINY_EVALUATION, TINY_TRAINING, command

CLASSES = (os.fsdecode(b"k\xe9y"), "=cmd", "漢" * 80, "two\nlines", "back\\slash", "red\x1b[31m")
PLAIN = ("k\\udce9y", "=cmd", "漢" * 80, "two\\nlines", "back\\\\slash", "red\\x1b[31m")
IMAGES = (os.fsdecode(b"caf\xe9.png"), "=1+1.png", f"{'漢' * 75}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each class with odd names of images in every folder, one of them twice, and of a defect."""
    root = tmp_path_factory.mktemp("odd") / "set"
    for number, name in enumerate(CLASSES):
        folder = drawn.draw_mvtec(root, (f"c{number}",), train=4) / f"c{number}"
        for place in ("train/good", "test/good", "test/scratch"):
            for index, image in enumerate(IMAGES):
                (folder / place / f"{index:03d}.png").rename(folder / place / image)
        masks = folder / "ground_truth" / "scratch"
        for index, image in enumerate(IMAGES):
            (masks / f"{index:03d}_mask.png").rename(masks / f"{image[:-4]}_mask.png")
        drawn.save(drawn.picture("more", number)[0], folder / "test/good/deep/=1+1.png")
        for part in ("test", "ground_truth"):
            (folder / part / "scratch").rename(folder / part / os.fsdecode(b"-d\xff"))
        folder.rename(root / name)
    return root


def test_an_evaluation_writes_names_of_every_kind(root: Path, tmp_path: Path) -> None:
    words = [*TINY_EVALUATION, "data=folder", f"data.root={root}", "method=[feature_norm]",
             "heatmaps=8", 'tsne=["=cmd"]', "hydra.run.dir=out"]  # fmt: skip
    done = command("evaluate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b[31m" not in done.stdout + done.stderr
    out = tmp_path / "out"
    lines = (out / "results.jsonl").read_bytes().decode().splitlines()
    assert {json.loads(line)["class_name"] for line in lines} == set(PLAIN)
    for record in read_records(out):
        for name in record.references:
            name.encode()
            assert name.isprintable()
    with (out / "results.csv").open(newline="", encoding="utf-8") as table:
        names = {row["class_name"] for row in csv.DictReader(table)}
    assert names == {f"'{name}" if name == "=cmd" else name for name in PLAIN}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in PLAIN[:2])
    folders = list((out / "heatmaps" / "folder").iterdir())
    assert len(folders) == len(CLASSES)
    for folder in folders:
        # All 7 test images, two of one name among them.
        assert len(list((folder / "feature_norm").glob("*.png"))) == 7
        assert (folder / "feature_norm" / OUTPUT_MARK).is_file()
    again = command("evaluate", *words, cwd=tmp_path)
    assert "12 of 12 results are recorded already" in again.stderr + again.stdout
    told = command("report", "results=out", "output=tables", cwd=tmp_path)
    assert told.returncode == 0, told.stderr


def test_a_pretraining_takes_names_of_every_kind(root: Path, tmp_path: Path) -> None:
    words = [*TINY_TRAINING, "data=folder", f"data.root={root}", "hydra.run.dir=out"]
    done = command("train", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / OUTPUT_MARK).is_file()


def test_results_among_the_classes_are_no_class(root: Path, tmp_path: Path) -> None:
    own = drawn.draw_mvtec(tmp_path / "set")
    before = Folder(own)
    before.setup()
    words = [*TINY_EVALUATION, "data=folder", "data.root=.", "method=[feature_norm]",
             "hydra.run.dir=bottle/train/good/out"]  # fmt: skip
    first, second = (command("evaluate", *words, cwd=own) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr
    assert "2 of 2 results are recorded already" in second.stderr + second.stdout
    after = Folder(own)
    after.setup()
    assert after.samples == before.samples
