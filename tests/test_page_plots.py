"""The page's plots are well-formed, say what the details hold and ask for no other file."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from adpt.errors import UserError
from adpt.page import build_page, curves, score_maps
from adpt.page.curves import mean_curve
from adpt.page.plots import save_png
from adpt.page.render import render
from adpt.page.svg import Plot
from adpt.results import Record, append_records
from adpt.results.details import details_of, load_details, save_details
from adpt.results.embedding import Embedding, save_embedding

EVIL = '<b>"&'
KINDS = ("own", "residual", "pretrained")


def write_details(folder: Path, name: str, strength: float = 1.0, images: int = 8) -> None:
    """Details of drawn scores; the stronger, the better told apart."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(images, 16, 16, dtype=torch.bool)
    masks[::2, :4, :4] = True
    maps = torch.randn(images, 16, 16, generator=generator) + strength * masks
    labels = masks.flatten(1).any(1).long()
    paths = [f"{i}.png" for i in range(images)]
    made = details_of(paths, labels, masks, maps.flatten(1).amax(1), maps)
    save_details(made, folder / "details" / name)


def record(**changes: Any) -> Record:
    plain = Record("visa", "pcb1", "padim", "own", "clip_b", {"image_auroc": 0.6, "pixel_ap": 0.5})
    return dataclasses.replace(plain, **changes)


def results(
    folder: Path,
    classes: tuple[str, ...] = ("pcb1",),
    methods: tuple[str, ...] = ("padim",),
    kinds: tuple[str, ...] = KINDS,
) -> list[Record]:
    """Records with details beside them; pretrained features tell apart best."""
    made = []
    for class_name, method, kind in itertools.product(classes, methods, kinds):
        name = f"{len(made):03d}.npz"
        write_details(folder / "run", name, strength=1.0 + KINDS.index(kind))
        own = kind == "own"
        made.append(
            record(
                class_name=class_name,
                method=method,
                features=kind,
                shots=None if own else 2,
                projector_sha256="ab" if kind == "pretrained" else None,
                details=name,
            )
        )
    append_records(folder / "run" / "results.jsonl", made)
    return made


def page(folder: Path, made: list[Record]) -> str:
    build_page(made, folder, folder / "page.html", "Title")
    return (folder / "page.html").read_text(encoding="utf-8")


def plots(text: str, title: str = "") -> list[ElementTree.Element]:
    """The page's plots whose title begins so; each must be well-formed XML."""
    found = [ElementTree.fromstring(part) for part in re.findall(r"(?s)<svg.*?</svg>", text)]  # noqa: S314
    return [plot for plot in found if str(plot.get("aria-label")).startswith(title)]


def places(plot: ElementTree.Element, name: str) -> np.ndarray:
    """(P, 2) points of the path of a class, within [0, 1] of the plot's frame."""
    (path,) = [p for p in plot.iter("path") if name in str(p.get("class")).split()]
    (frame,) = plot.iter("rect")
    left, top, side = (float(str(frame.get(key))) for key in ("x", "y", "width"))
    numbers = np.array(re.findall(r"-?[\d.]+", str(path.get("d")).replace("h0", "")), float)
    x, y = numbers.reshape(-1, 2).T
    return np.stack([(x - left) / side, 1 - (y - top) / side], axis=1)


# Curves


def test_every_kind_has_its_curves_from_corner_to_corner(tmp_path: Path) -> None:
    text = page(tmp_path, results(tmp_path))
    for title in ("ROC, images", "ROC, pixels"):
        (plot,) = plots(text, title)
        for kind in KINDS:
            curve = places(plot, kind)
            assert curve[0].tolist() == [0, 0]
            assert curve[-1].tolist() == [1, 1]
            assert (np.diff(curve, axis=0) >= 0).all()
    for title in ("PR, images", "PR, pixels"):
        (plot,) = plots(text, title)
        for kind in KINDS:
            assert places(plot, kind)[0].tolist() == [0, 1]
            assert places(plot, kind)[-1, 0] == 1


def test_better_features_lie_above(tmp_path: Path) -> None:
    (plot,) = plots(page(tmp_path, results(tmp_path)), "ROC, pixels")
    area = {kind: np.trapezoid(y, x) for kind in KINDS for x, y in [places(plot, kind).T]}
    assert area["own"] + 0.05 < area["residual"] < area["pretrained"] - 0.01


def test_histograms_are_of_own_and_of_pretrained_features(tmp_path: Path) -> None:
    text = page(tmp_path, results(tmp_path))
    for title in ("image scores", "pixel scores"):
        found = plots(text, f"{title}, ")
        assert [plot.get("aria-label") for plot in found] == [
            f"{title}, own",
            f"{title}, pretrained",
        ]
        for plot in found:
            for kind in ("normal", "anomalous"):
                assert places(plot, kind)[:, 1].max() == 1
                assert places(plot, kind)[:, 1].min() == 0


def test_residual_features_alone_have_one_histogram_each(tmp_path: Path) -> None:
    text = page(tmp_path, results(tmp_path, kinds=("residual",)))
    assert len(plots(text, "image scores, residual")) == 1
    assert len(plots(text)) == 4 + 2


def test_classes_have_a_mean_and_are_folded(tmp_path: Path) -> None:
    text = page(tmp_path, results(tmp_path, ("pcb1", "pcb2", "pcb3")))
    assert "Mean over 3 of 3 classes" in text
    assert len(plots(text, "ROC, images")) == 4
    assert "<details><summary>pcb2</summary>" in text


def test_mean_is_over_classes_with_all_kinds(tmp_path: Path) -> None:
    made = results(tmp_path, ("pcb1", "pcb2"))
    text = page(tmp_path, [m for m in made if (m.class_name, m.features) != ("pcb2", "own")])
    assert "Mean over 1 of 2 classes" in text


def test_of_too_many_classes_only_means_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "_MOST_CLASSES", 3)
    made = results(tmp_path, ("pcb1", "pcb2"), ("padim", "patchcore"))
    text = page(tmp_path, made)
    assert "There are 4 results of single classes, too many to draw" in text
    assert len(plots(text, "ROC, images")) == 2


def test_seeds_are_averaged_in_curves(tmp_path: Path) -> None:
    write_details(tmp_path, "a.npz", strength=0.0)
    write_details(tmp_path, "b.npz", strength=50.0)
    made = [record(details="a.npz"), record(details="b.npz", seed=1)]
    (plot,) = plots(page(tmp_path, made), "ROC, pixels")
    x, y = places(plot, "own").T
    rocs = [load_details(tmp_path / "details" / name).pixel_roc for name in ("a.npz", "b.npz")]
    areas = [np.trapezoid(*roc[::-1]) for roc in rocs]
    assert areas[1] - areas[0] > 0.3
    assert np.trapezoid(y, x) == pytest.approx(np.mean(areas), abs=0.005)


def test_mean_of_equal_curves_is_the_curve() -> None:
    curve = np.array([[0, 0, 0.25, 1], [0, 0.5, 0.75, 1]])
    x, y = mean_curve([curve, curve, np.zeros((2, 0))])
    assert (x[0], y[0]) == (0, 0)
    assert (x[-1], y[-1]) == (1, 1)
    np.testing.assert_allclose(y[1:], np.interp(x[1:], *curve))
    assert y[1] == 0.5
    assert mean_curve([]).shape == (2, 0)


def test_paths_are_compact(tmp_path: Path) -> None:
    write_details(tmp_path, "a.npz", images=200)
    for plot in plots(page(tmp_path, [record(details="a.npz")])):
        for path in plot.iter("path"):
            assert str(path.get("d")).count("L") <= 200
            assert len(str(path.get("d"))) < 2500


def test_results_of_one_kind_of_image_have_empty_plots(tmp_path: Path) -> None:
    maps = torch.rand(3, 8, 8)
    only_normal = details_of(["a"] * 3, torch.zeros(3), maps > 2, torch.rand(3), maps)
    save_details(only_normal, tmp_path / "details" / "a.npz")
    text = page(tmp_path, [record(details="a.npz")])
    (plot,) = plots(text, "ROC, images")
    assert not list(plot.iter("path"))
    (plot,) = plots(text, "pixel scores, own")
    assert len(list(plot.iter("path"))) == 1


def test_damaged_details_are_named(tmp_path: Path) -> None:
    (tmp_path / "details").mkdir()
    (tmp_path / "details" / "a.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"a\.npz cannot be read"):
        page(tmp_path, [record(details="a.npz")])


# Layouts of patches


def write_layout(folder: Path, class_name: str = "pcb1", kinds: tuple[str, ...] = KINDS) -> None:
    points = np.array([[0, 0], [40, 20], [40, -20], [-40, 0]], np.float32)
    layout = Embedding(dict.fromkeys(kinds, points), np.array([False, True, False, True]))
    save_embedding(folder / "run" / "tsne" / "visa" / f"{class_name}.npz", layout)


def test_layouts_show_every_patch_of_every_kind(tmp_path: Path) -> None:
    made = results(tmp_path)
    write_layout(tmp_path)
    text = page(tmp_path, made)
    for kind in KINDS:
        (plot,) = [plot for plot in plots(text, kind) if plot.get("aria-label") == kind]
        normal, anomalous = places(plot, "normal"), places(plot, "anomalous")
        assert len(normal) == len(anomalous) == 2
        # Both directions are scaled alike, and up is up.
        np.testing.assert_allclose(anomalous[0], [0.97, 0.735], atol=0.001)
        np.testing.assert_allclose(anomalous[1], [0.03, 0.5], atol=0.001)
    assert "visa · pcb1" in text
    assert "2 normal and 2 anomalous patches" in text


def test_layout_without_spread_lies_in_the_middle(tmp_path: Path) -> None:
    made = results(tmp_path)
    layout = Embedding({"own": np.ones((3, 2), np.float32)}, np.zeros(3, bool))
    save_embedding(tmp_path / "run" / "tsne" / "visa" / "pcb1.npz", layout)
    (plot,) = [p for p in plots(page(tmp_path, made), "own") if p.get("aria-label") == "own"]
    assert places(plot, "normal").tolist() == [[0.5, 0.5]]


# Score maps


def draw(folder: Path, *names: str, class_name: str = "pcb1", method: str = "padim") -> None:
    for name in names:
        path = folder / "run" / "heatmaps" / "visa" / class_name / method / f"{name}.png"
        save_png(np.zeros((8, 40, 3), np.uint8), path)


def headings(text: str) -> list[str]:
    return re.findall(r"<h5>(.*?)</h5>", text)


def shown(text: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", text)


def test_worst_and_best_cases_stand_under_their_captions(tmp_path: Path) -> None:
    made = results(tmp_path)
    draw(tmp_path, "worst_bent_1", "worst_normal_2", "best_bent_3", "bent_4", "normal_5")
    text = page(tmp_path, made)
    assert headings(text) == [
        "Missed, or nearest to it",
        "False alarm, or nearest to one",
        "Well found",
        "Anomalous",
        "Normal",
    ]
    assert shown(text) == [
        "worst_bent_1",
        "worst_normal_2",
        "best_bent_3",
        "bent_4",
        "normal_5",
    ]


def test_with_many_classes_each_shows_fewer_panels_of_all_sorts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_maps, "_MOST", 6)
    made = results(tmp_path)
    for name in ("pcb1", "pcb2"):
        draw(
            tmp_path,
            *(f"worst_bent_{i}" for i in range(3)),
            "best_bent_7",
            "bent_4",
            class_name=name,
        )
    text = page(tmp_path, made)
    assert shown(text) == ["worst_bent_0", "best_bent_7", "bent_4"] * 2
    assert "3 of 5 panels." in text


def test_more_classes_than_pictures_leaves_the_last_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_maps, "_MOST", 2)
    made = results(tmp_path)
    for name in ("pcb1", "pcb2", "pcb3"):
        draw(tmp_path, "bent_1", "bent_2", class_name=name)
    text = page(tmp_path, made)
    assert shown(text) == ["bent_1"] * 2
    assert text.count("1 of 2 panels.") == 2
    assert "0 of 2 panels." in text


# The page


def test_contents_lead_to_every_section(tmp_path: Path) -> None:
    made = results(tmp_path, ("pcb1", "pcb2"), ("padim", "patchcore"))
    draw(tmp_path, "bent_1")
    write_layout(tmp_path)
    text = page(tmp_path, made)
    links = re.findall(r'<a href="#([^"]*)">', text)
    assert links == ["means", "per-class", "curves", "score-maps", "t-sne", "origin"]
    assert re.findall(r'<div id="([^"]*)">', text) == links


def test_page_without_details_pictures_or_layouts_has_no_such_sections(tmp_path: Path) -> None:
    text = page(tmp_path, [record(details="gone.npz")])
    assert re.findall(r'<a href="#([^"]*)">', text) == ["results", "origin"]
    assert "<svg" not in text
    assert "<img" not in text


def test_many_tables_are_folded(tmp_path: Path) -> None:
    made = [record(method=f"m{number}") for number in range(6)]
    assert page(tmp_path, made).count('class="folded"') == 6
    assert 'class="folded"' not in page(tmp_path, made[:3])


def test_folded_results_tell_their_setting_where_settings_differ(tmp_path: Path) -> None:
    made = [record(method=f"m{number}") for number in range(6)]
    assert "<summary>visa · m0</summary>" in page(tmp_path, made)
    text = page(tmp_path, [*made, record(method="m0", backbone="clip_l")])
    for backbone in ("clip_b", "clip_l"):
        assert f"<summary>visa · m0 <small>{backbone}, clean protocol, seed 0</small>" in text


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    made = results(tmp_path, (EVIL, "pcb2"), (EVIL,))
    draw(tmp_path, f"worst_{EVIL}", class_name=EVIL, method=EVIL)
    write_layout(tmp_path, EVIL, (EVIL,))
    text = page(tmp_path, made)
    assert EVIL not in text
    assert plots(text, EVIL)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<use|xlink", text)
    assert set(re.findall(r'href="(.)', text)) == {"#"}


def test_training_pictures_beside_no_records_are_left_out(tmp_path: Path) -> None:
    made = results(tmp_path)
    path = tmp_path / "training" / "heatmaps" / "epoch_01" / "pcb1" / "padim" / "bent.png"
    save_png(np.zeros((8, 40, 3), np.uint8), path)
    assert "epoch_01" not in page(tmp_path, made)


def test_plot_says_its_title_and_ticks() -> None:
    made = Plot("A & B", [], "x", "y", ("0", "1"), ("low", "high"))
    (plot,) = plots(render("plot.svg.j2", plot=made))
    texts = [str(text.text) for text in plot.iter("text")]
    assert texts == ["A & B", "x", "y", "0", "1", "low", "high"]
    heights = {str(text.text): float(str(text.get("y"))) for text in plot.iter("text")}
    assert heights["high"] < heights["low"]
