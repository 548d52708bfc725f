"""What measures whole processes, without the other side."""

import sys
import time
from pathlib import Path

import picture_floors
import pytest
import stages
from growing import Command, grown
from parts import scoring
from processes import Cost, compare, floor_row, process
from setups import image_auroc

import adpt
import drawn


def test_a_process_is_told_by_its_own_cost() -> None:
    code = "x = bytearray(200 * 2**20)\nfor i in range(0, len(x), 4096): x[i] = 1\nprint('[1]')"
    cost = process([sys.executable, "-c", code])
    assert cost.answer == [1]
    assert cost.peak > 200
    assert cost.cpu > 0
    with pytest.raises(RuntimeError, match="no such thing"):
        process([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_both_sides_are_compared_by_time_and_memory() -> None:
    sides = (lambda: Cost(1.0, 2.0, 300.0)), (lambda: Cost(4.0, 5.0, 450.0))
    found = list(compare("part", "work", *sides, "the other", 3))
    assert [row.ratio for row in found] == [4.0, 2.5, 1.5]
    assert [row.met for row in found] == [True, False, False]


def test_growth_is_that_of_what_a_size_adds_to_the_one_before() -> None:
    """A start of 10 s, 1 ms each and, of the second, a share with the square."""
    linear = Command("c", "images", (100, 200, 400), lambda n: Cost(10 + n / 1000, 0, 100))
    square = Command("c", "images", (100, 200, 400), lambda n: Cost(10 + n * n, 0, 100 + n))
    (time, memory), (worse, more) = list(grown(linear)), list(grown(square))
    assert time.ours == pytest.approx(2)
    assert time.met
    assert memory.ours == 0
    assert worse.ours == pytest.approx(4)
    assert not worse.met
    assert not more.met


def test_auroc_counts_pairs_and_ties_by_half() -> None:
    paths = ["t/good/0", "t/good/1", "t/bad/0", "t/bad/1"]
    assert image_auroc(paths, [0.1, 0.2, 0.2, 0.9]) == pytest.approx(100 * 3.5 / 4)


def test_each_cell_says_what_it_was() -> None:
    cell = {"pixels": 20, "batch": 8, "heatmaps": True, "do": "cells", "images": str(Path())}
    cpu, wall = scoring.cell_rows(cell, [([1.0, 2.0], [4.0, 2.0])])
    assert "20 megapixels, heatmap on, batch 8" in cpu.work
    assert (cpu.ratio, wall.ratio) == (4.0, 1.0)


def test_the_floors_are_summed_and_held_against_both_sides() -> None:
    row = floor_row("part", "work", 2.5, 6.0, {"decoding": 1.5, "backbone": 0.5})
    assert row.ratio == pytest.approx(2.0 / 2.5)
    assert row.met
    assert "decoding 1500.0 ms" in row.note
    assert "anomalib's is 3.00 times the floor" in row.note
    assert not floor_row("part", "work", 2.7, 6.0, {"decoding": 2.0}).met


def test_floors_are_told_by_what_was_done(tmp_path: Path) -> None:
    photos = drawn.draw_mvtec(tmp_path) / "bottle"
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    inspector = adpt.Inspector.fit(
        photos / "train/good", method="padim", backbone=backbone, image_size=48, device="cpu"
    )
    before = [one.score for one in inspector.predict_many(photos / "test")]
    shown = tmp_path / "heatmaps"
    shown.mkdir()
    (shown / ".adpt-output").touch()
    picture_floors.Image.new("RGB", (90, 90)).save(shown / "0.jpg")
    cell = {"fit": photos / "train/good", "images": photos / "test", "batch": 2, "heatmaps": shown}
    found = picture_floors.floors(inspector, cell)
    assert set(found) == {"decoding", "resizing", "backbone", "method", "encoding"}
    assert min(found.values()) > 0
    # The method did what the command has it do: fitted anew on the same images it is the same.
    after = [one.score for one in inspector.predict_many(photos / "test")]
    assert after == pytest.approx(before, rel=1e-5)


def test_a_stage_is_told_without_the_stages_within_it() -> None:
    def busy() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    inner = stages.timed("inner", busy)
    stages.timed("outer", lambda: (busy(), inner()))()
    assert stages.spent["inner"] == pytest.approx(0.05, rel=0.2)
    assert stages.spent["outer"] == pytest.approx(0.05, rel=0.2)
    assert stages.calls == {"inner": 1, "outer": 1}
