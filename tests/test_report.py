"""The page holds everything it shows, escapes what it is given and says what is missing."""

import base64
import dataclasses
import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adpt.errors import UserError
from adpt.page import build_page
from adpt.plots import save_png
from adpt.results import Record, append_records

EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "img"}


def records(class_name: str = "pcb1", **changes: Any) -> list[Record]:
    own = Record(
        "visa",
        class_name,
        "padim",
        "own",
        "clip_b",
        {"image_auroc": 0.612, "pixel_ap": 0.523, "image_ap": math.nan},
        counts={"train": 90, "test": 20, "anomalous": 10, "skipped": 0},
        provenance={"command": "python -m adpt.evaluate data=visa", "versions": {"torch": "2.6"}},
    )
    pretrained = dataclasses.replace(
        own,
        features="pretrained",
        metrics={"image_auroc": 0.734, "pixel_ap": 0.411, "image_ap": 0.9},
        shots=2,
        references=("pcb1/0001.JPG", "pcb1/0002.JPG"),
        projector="runs/p.safetensors",
        projector_sha256="ab" * 32,
    )
    return [dataclasses.replace(record, **changes) for record in (own, pretrained)]


class Page(HTMLParser):
    """What a reader of the page gets: rows of cells, tags with attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.cell_classes: dict[str, str | None] = {}
        self.bold: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "td" in self.open:
            last = next(attrs for tag, attrs in reversed(self.tags) if tag == "td")
            self.cell_classes[data] = last.get("class")
        if "b" in self.open:
            self.bold.append(data)

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def page(folder: Path, made: list[Record], title: str = "Title") -> Page:
    build_page(made, folder, folder / "out" / "page.html", title)
    parsed = Page((folder / "out" / "page.html").read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def draw(folder: Path, *names: str, class_name: str = "pcb1") -> np.ndarray:
    picture = np.full((40, 200, 3), (200, 30, 90), np.uint8)
    for name in names:
        save_png(picture, folder / "heatmaps" / "visa" / class_name / "padim" / f"{name}.png")
    return picture


def test_table_shows_classes_and_mean(tmp_path: Path) -> None:
    found = page(tmp_path, records("pcb1") + records("pcb2"))
    expected = ["61.2", "73.4", "+12.2", "52.3", "41.1", "−11.2"]
    for name in ("pcb1", "pcb2", "mean"):
        assert [name, *expected] in found.rows
    assert ["class", "image AUROC", "pixel AP"] in found.rows


def test_residual_stands_between_own_and_pretrained(tmp_path: Path) -> None:
    own, pretrained = records()
    metrics = {"image_auroc": 0.65, "pixel_ap": 0.45}
    residual = dataclasses.replace(own, features="residual", shots=2, metrics=metrics)
    found = page(tmp_path, [own, residual, pretrained])
    names = ["own", "residual", "pretrained", "difference"]
    assert names * 2 in found.rows
    assert ["pcb1", "61.2", "65.0", "73.4", "+12.2", "52.3", "45.0", "41.1", "−11.2"] in found.rows


def test_own_features_alone_have_no_difference(tmp_path: Path) -> None:
    found = page(tmp_path, records()[:1])
    assert ["pcb1", "61.2", "52.3"] in found.rows
    assert not any("difference" in row for row in found.rows)


def test_differences_are_coloured_and_the_best_is_bold(tmp_path: Path) -> None:
    found = page(tmp_path, records())
    assert "better" in str(found.cell_classes["+12.2"])
    assert "worse" in str(found.cell_classes["−11.2"])
    assert {"73.4", "52.3"} <= set(found.bold)
    assert not {"61.2", "41.1"} & set(found.bold)


def test_other_metrics_are_there_to_unfold_with_nan_as_a_dash(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records("pcb2", metrics={"image_ap": 0.8}))
    assert ["class", "image AP"] in found.rows
    assert ["pcb1", "–", "90.0", "–"] in found.rows


def test_several_summaries_have_an_overview(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records(method="patchcore"))
    expected = ["61.2", "73.4", "+12.2", "52.3", "41.1", "−11.2"]
    assert ["visa · padim", *expected] in found.rows
    assert ["visa · patchcore", *expected] in found.rows
    assert "Means over classes" in found.text
    assert "Means over classes" not in page(tmp_path, records()).text


def test_overview_names_settings_where_they_differ(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records(backbone="clip_l"))
    names = [row[0] for row in found.rows if row[0].startswith("visa · padim")]
    assert [re.findall(r"clip_\w", name) for name in names] == [["clip_b"], ["clip_l"]]


def test_incomplete_mean_is_said(tmp_path: Path) -> None:
    assert "image AUROC 1 of 2" in page(tmp_path, records() + records("pcb2")[:1]).text
    assert "image AUROC" in page(tmp_path, records()).text
    assert "image AUROC 1 of" not in page(tmp_path, records()).text


def test_page_tells_the_origin_of_its_numbers(tmp_path: Path) -> None:
    found = page(tmp_path, records(protocol="paper", seed=5))
    for text in (
        "paper: the authors' choices on test data",
        "p.safetensors (SHA-256 " + "ab" * 32,
        "python -m adpt.evaluate data=visa",
        "torch 2.6",
        "visa · pcb1, seed 5: pcb1/0001.JPG, pcb1/0002.JPG",
    ):
        assert text in found.text
    assert ["Seeds", "5"] in found.rows
    assert ["References per class", "2"] in found.rows
    assert ["visa · pcb1", "90", "20", "10", "0"] in found.rows


def test_unequal_image_counts_are_pointed_out(tmp_path: Path) -> None:
    own, pretrained = records()
    other = dataclasses.replace(pretrained, counts={**pretrained.counts, "test": 19})
    found = page(tmp_path, [own, other])
    assert ["visa · pcb1", "90", "19 to 20", "10", "0"] in found.rows
    assert "not over equal images" in found.text
    assert "not over equal images" not in page(tmp_path, records()).text


def test_pictures_are_embedded(tmp_path: Path) -> None:
    picture = draw(tmp_path, "bent_001", "normal_002")
    images = page(tmp_path, records()).images()
    assert [image["alt"] for image in images] == [
        "visa pcb1 padim: bent_001",
        "visa pcb1 padim: normal_002",
    ]
    for image in images:
        head, data = str(image["src"]).split(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            assert np.abs(np.asarray(opened).astype(int) - picture).max() < 12


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "heatmaps" / "visa" / "pcb1" / "padim" / "bent.png"
    save_png(np.zeros((500, 3000, 3), np.uint8), path)
    (image,) = page(tmp_path, records()).images()
    assert (image["width"], image["height"]) == ("960", "160")


def test_of_many_pictures_some_of_both_kinds_are_shown(tmp_path: Path) -> None:
    draw(tmp_path, *(f"bent_{i}" for i in range(9)), *(f"normal_{i}" for i in range(9)))
    found = page(tmp_path, records())
    shown = [str(image["alt"]).split(": ")[1] for image in found.images()]
    assert shown == ["bent_0", "bent_1", "bent_2", "bent_3", "normal_0", "normal_1"]
    assert "6 of 18 panels" in found.text


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    draw(tmp_path, "bent_001")
    path = tmp_path / "heatmaps" / "visa" / "pcb1" / "padim" / "bent_001.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"bent_001\.png"):
        build_page(records(), tmp_path, tmp_path / "page.html", "Title")
    assert not (tmp_path / "page.html").exists()


def test_page_asks_for_no_other_file(tmp_path: Path) -> None:
    draw(tmp_path, "bent_001")
    found = page(tmp_path, records())
    addresses = [a[k] for _, a in found.tags for k in ("src", "href", "srcset", "action") if k in a]
    assert addresses
    assert all(str(address).startswith("data:") for address in addresses)
    text = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    policy = next(a["content"] for _, a in found.tags if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; img-src data:")


def test_everything_given_is_escaped(tmp_path: Path) -> None:
    evil = records(
        EVIL,
        dataset=EVIL,
        method=EVIL,
        backbone=EVIL,
        references=(EVIL,),
        projector=EVIL.replace("/", ""),
        projector_sha256=EVIL,
        provenance=dict.fromkeys(("command", "hardware", "commit", "created"), EVIL)
        | {"versions": {EVIL: EVIL}},
    )
    name = EVIL.replace("/", "")
    draw(tmp_path, name, class_name=name)
    found = page(tmp_path, evil, title=EVIL)
    assert "script" not in {tag for tag, _ in found.tags}
    assert [EVIL, "61.2", "73.4", "+12.2", "52.3", "41.1", "−11.2"] in found.rows
    assert f"visa {name} padim: {name}" in [image["alt"] for image in found.images()]


def test_page_is_the_same_each_time(tmp_path: Path) -> None:
    draw(tmp_path, "bent_001")
    for name in ("a", "b"):
        build_page(records(), tmp_path, tmp_path / name, "Title")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_records_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adpt\.evaluate"):
        build_page([], tmp_path, tmp_path / "page.html", "Title")


# The command


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "adpt.report", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_command_writes_page_and_csv_and_prints_the_table(tmp_path: Path) -> None:
    append_records(tmp_path / "made" / "results.jsonl", records())
    done = run(tmp_path, "results=made", "title=Seen")
    assert done.returncode == 0, done.stderr
    assert "61.2 → 73.4 +12.2" in done.stdout
    assert "Seen" in (tmp_path / "made" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "made" / "results.csv").read_text().count("\n") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    ("results", "message"),
    [("none", "none: it does not exist"), ("empty", "no .jsonl file"), ("file", "is a file")],
)
def test_command_explains_what_is_missing_without_a_trace(
    tmp_path: Path, results: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    done = run(tmp_path, f"results={results}")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
