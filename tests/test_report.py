"""The page holds everything it shows, escapes what it is given and says what is missing."""

import base64
import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adpt.errors import UserError
from adpt.page import build_page
from adpt.page.plots import save_png
from adpt.results import Record
from adpt.results.reported import read_reported

EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "img"}


def records(class_name: str = "pcb1", **changes: Any) -> list[Record]:
    own = Record(
        "visa",
        class_name,
        "padim",
        "own",
        "clip_b",
        {"image_auroc": 0.612, "pixel_aupro": 0.523, "image_ap": math.nan},
        counts={"train": 90, "test": 20, "anomalous": 10, "skipped": 0},
        provenance={"command": "python -m adpt.evaluate data=visa", "versions": {"torch": "2.6"}},
    )
    pretrained = dataclasses.replace(
        own,
        features="pretrained",
        metrics={"image_auroc": 0.734, "pixel_aupro": 0.411, "image_ap": 0.9},
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
    assert ["class", "image AUROC", "AUPRO"] in found.rows


def test_residual_stands_between_own_and_pretrained(tmp_path: Path) -> None:
    own, pretrained = records()
    metrics = {"image_auroc": 0.65, "pixel_aupro": 0.45}
    residual = dataclasses.replace(own, features="residual", shots=2, metrics=metrics)
    found = page(tmp_path, [own, residual, pretrained])
    names = ["own", "residual", "pretrained", "vs own", "vs residual"]
    assert names * 2 in found.rows
    expected = ["61.2", "65.0", "73.4", "+12.2", "+8.4", "52.3", "45.0", "41.1", "−11.2", "−3.9"]
    assert ["pcb1", *expected] in found.rows


def test_own_features_alone_have_no_difference(tmp_path: Path) -> None:
    found = page(tmp_path, records()[:1])
    assert ["pcb1", "61.2", "52.3"] in found.rows
    assert not any("vs own" in row for row in found.rows)


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
    start = found.rows.index(["method", "visa (1 class)"])
    assert found.rows[start + 1 : start + 9] == [
        ["padim"],
        ["own", "61.2 / 52.3"],
        ["pretrained", "73.4 / 41.1"],
        ["pretrained − own", "+12.2 / −11.2"],
        ["patchcore"],
        ["own", "61.2 / 52.3"],
        ["pretrained", "73.4 / 41.1"],
        ["pretrained − own", "+12.2 / −11.2"],
    ]
    assert "methods by data sets" not in page(tmp_path, records()).text


def test_overviews_are_apart_where_settings_differ(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records(backbone="clip_l"))
    assert re.findall(r"clip_\w(?=: methods by data sets)", found.text) == ["clip_b", "clip_l"]


def test_metrics_of_the_first_table_can_be_chosen(tmp_path: Path) -> None:
    build_page(records(), tmp_path, tmp_path / "page.html", "Title", ["image_ap"])
    found = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    heads = [row for row in found.rows if row and row[0] == "class"]
    assert heads == [["class", "image AP"], ["class", "image AUROC", "AUPRO"]]


def test_spread_over_seeds_is_shown(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records(seed=1, metrics={"image_auroc": 0.714}))
    assert "66.3 ± 7.2" in {cell for row in found.rows for cell in row}


def test_published_numbers_are_marked(tmp_path: Path) -> None:
    metrics = {"image_auroc": 0.9, "pixel_aupro_paper": 0.8}
    made = [
        record
        for number in range(12)
        for record in records(
            f"c{number}",
            backbone="imagebind",
            protocol="paper",
            metrics=metrics,
            setting={"as_published": True},
        )
    ]
    made = [dataclasses.replace(r, shots=8 if r.features == "pretrained" else None) for r in made]
    file = Path(__file__).parents[1] / "experiments" / "main_table" / "reported.yaml"
    output = tmp_path / "page.html"
    build_page(made, tmp_path, output, "Title", reported=read_reported(file))
    found = Page(output.read_text(encoding="utf-8"))
    assert found.open == []
    assert ["published, Table 2", "92.6 / 86.3", "95.4 / 88.7", "+2.8 / +2.4"] in found.rows
    assert "to be checked against the paper" in found.text


def test_training_is_there_to_unfold(tmp_path: Path) -> None:
    history = tuple({"epoch": epoch, "image_auroc": epoch / 10} for epoch in (2, 4))
    found = page(tmp_path, records(epochs={"trained": 4}, history=history))
    assert ["features", "epochs"] in found.rows
    assert ["own", "20.0", "40.0"] in found.rows
    assert "Trained for 4 epochs." in found.text


def test_incomplete_mean_is_said(tmp_path: Path) -> None:
    found = page(tmp_path, records() + records("pcb2")[:1])
    assert "mean of image AUROC and AUPRO over 1 of 2 classes" in found.text
    assert "mean of" not in page(tmp_path, records()).text


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


def test_long_lists_of_origins_are_folded_and_say_each_once(tmp_path: Path) -> None:
    made = [
        record
        for number in range(20)
        for record in records(
            seed=number, provenance={"command": f"run seed={number % 10}", "commit": f"{number}"}
        )
    ]
    found = page(tmp_path, made)
    assert "10 commands" in found.text
    assert found.text.count("run seed=7") == 1
    assert "20 different" in found.text
    assert "commands" not in page(tmp_path, records()).text


def test_products_that_the_projector_has_seen_are_marked(tmp_path: Path) -> None:
    found = page(tmp_path, records(provenance={"projector_saw_the_images": True}))
    assert ["Seen in pretraining", "visa · pcb1, by projector abababab"] in found.rows
    assert "pretrained figures say nothing of products it has not seen" in found.text
    unseen = page(tmp_path, records(provenance={"projector_saw_the_images": False}))
    assert "Seen in pretraining" not in unseen.text


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
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
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
