"""What test images do not define stays blank, with the reason, and all the rest is said."""

import json
import logging
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.results import METRICS, Record, latex_tables, markdown_report, read_records, to_csv
from adpt.results.details import load_details
from adpt.train import train
from drawn import draw_folder
from runs import composed, evaluation, run_task, training

QUICK = ["method=[feature_norm,padim]", "features=[own]", "heatmaps=2"]
IMAGE = {name for name in METRICS if name.startswith("image")}
PIXEL = set(METRICS) - IMAGE


def results(root: Path, folder: Path, *overrides: str) -> list[Record]:
    run_task(evaluate, evaluation(folder, "data=folder", f"data.root={root}", *QUICK, *overrides))
    return read_records(folder)


def blank(record: Record) -> set[str]:
    assert set(record.metrics) == set(METRICS)
    return {name for name, value in record.metrics.items() if math.isnan(value)}


def texts(folder: Path) -> dict[str, str]:
    records = read_records(folder)
    return {
        "page": (folder / "report.html").read_text(),
        "markdown": markdown_report(records, "Title"),
        "latex": latex_tables(records),
    }


# ---- Classes that define some metrics, or none ----------------------------------------------


@pytest.mark.parametrize("good", [1, 3])
def test_good_test_images_alone_leave_a_table_of_blanks_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], good: int
) -> None:
    root = draw_folder(tmp_path / "own", ("key",), good=good, defects=())
    with caplog.at_level(logging.WARNING):
        records = results(root, tmp_path / "out")
    assert [blank(record) for record in records] == [IMAGE | PIXEL] * 2
    reason = "key: no anomalous test image, so neither image nor pixel metrics are defined."
    assert caplog.text.count(reason) == 1
    table = "key: no anomalous test image, which leaves image AUROC and AUPRO blank."
    printed = capsys.readouterr().out
    assert table in printed
    assert "own" in printed
    for text in texts(tmp_path / "out").values():
        assert table in text
        # Coordinates of plots are no figures.
        assert "0.0" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert "| key | – | – |" in texts(tmp_path / "out")["markdown"]
    to_csv(records, tmp_path / "out.csv")
    assert ",nan" not in (tmp_path / "out.csv").read_text()
    assert list((tmp_path / "out" / "heatmaps").rglob("*.png"))


def test_defective_test_images_alone_have_pixel_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = draw_folder(tmp_path / "own", ("key",), good=0)
    with caplog.at_level(logging.WARNING):
        records = results(root, tmp_path / "out")
    assert [blank(record) for record in records] == [IMAGE] * 2
    assert "key: no normal test image, so no image metric is defined." in caplog.text
    for text in texts(tmp_path / "out").values():
        assert "key: no normal test image, which leaves image AUROC blank." in text


def test_the_mean_leaves_out_what_a_class_does_not_define(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("bottle",))
    draw_folder(root, ("key",), defects=())
    records = results(root, tmp_path / "out", "method=padim")
    whole = next(record for record in records if record.class_name == "bottle")
    markdown = texts(tmp_path / "out")["markdown"]
    assert "mean of image AUROC and AUPRO over 1 of 2 classes" in markdown
    assert "key: no anomalous test image, which leaves image AUROC and AUPRO blank." in markdown
    auroc, aupro = (f"{100 * whole.metrics[m]:.1f}" for m in ("image_auroc", "pixel_aupro"))
    assert f"| **mean** | {auroc} | {aupro} |" in markdown


def test_a_class_without_test_images_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("bottle",))
    draw_folder(root, ("key",), good=0, defects=())
    with pytest.raises(UserError, match=r"key: Class 'key' of .* has no test image: .*classes"):
        results(root, tmp_path / "out")
    assert {record.class_name for record in read_records(tmp_path / "out")} == {"bottle"}


def mask_with_a_pixel(root: Path, number: int) -> None:
    """A defect of one pixel, which a mask half as large does not keep."""
    path = root / "key" / "ground_truth" / "scratch" / f"{number:03d}_mask.png"
    pixels = np.zeros(np.asarray(Image.open(path)).shape[:2], np.uint8)
    pixels[20, 20] = 255
    Image.fromarray(pixels).save(path)


def test_defects_that_vanish_at_the_scored_size_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = draw_folder(tmp_path / "own", ("key",), size=144)
    mask_with_a_pixel(root, 0)
    with caplog.at_level(logging.WARNING):
        records = results(root, tmp_path / "some")
    said = "1 of 3 defects vanish from the masks at the size that is scored"
    assert blank(records[0]) == set()
    assert records[0].counts == {"train": 6, "test": 6, "anomalous": 3, "marked": 2, "skipped": 0}
    assert f"key: {said}" in caplog.text
    assert all(said in text for text in texts(tmp_path / "some").values())
    mask_with_a_pixel(root, 1)
    mask_with_a_pixel(root, 2)
    records = results(root, tmp_path / "all")
    assert [blank(record) for record in records] == [PIXEL] * 2
    said = (
        "key: no defect is left in its masks at the size that is scored, which leaves AUPRO blank."
    )
    assert all(said in text for text in texts(tmp_path / "all").values())


# ---- Labels without masks -------------------------------------------------------------------


@pytest.fixture
def unmarked(tmp_path: Path) -> Path:
    root = draw_folder(tmp_path / "own", ("bottle", "key"))
    for name in ("bottle", "key"):
        shutil.rmtree(root / name / "ground_truth")
    return root


def test_without_masks_there_are_image_metrics_alone(
    unmarked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        records = results(unmarked, tmp_path / "out", "data.masks=none")
    assert [blank(record) for record in records] == [PIXEL] * 4
    assert all("marked" not in record.counts for record in records)
    assert "bottle: no mask marks the defects, so no pixel metric is defined." in caplog.text
    for text in texts(tmp_path / "out").values():
        assert "bottle and key: no mask marks the defects, which leaves AUPRO blank." in text
        assert "without masks" in text
    marked = draw_folder(tmp_path / "marked", ("bottle", "key"))
    for ours, theirs in zip(records, results(marked, tmp_path / "marked_out"), strict=True):
        assert {name: ours.metrics[name] for name in IMAGE} == {
            name: theirs.metrics[name] for name in IMAGE
        }
    panels = sorted((tmp_path / "out" / "heatmaps").rglob("*.png"))
    wider = sorted((tmp_path / "marked_out" / "heatmaps").rglob("*.png"))
    assert any(path.name.startswith("worst_scratch") for path in panels)
    assert Image.open(panels[0]).width < Image.open(wider[0]).width


def test_masks_that_are_there_are_ignored_whatever_they_hold(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",))
    for mask in (root / "key" / "ground_truth").rglob("*.png"):
        mask.write_bytes(b"no picture")
    records = results(root, tmp_path / "out", "data.masks=none")
    assert [blank(record) for record in records] == [PIXEL] * 2


def test_results_with_and_without_masks_stand_beside_each_other(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",))
    with_masks = results(root, tmp_path / "out", "method=padim")
    both = results(root, tmp_path / "out", "method=padim", "data.masks=none")
    assert both[0] == with_masks[0]
    assert len(both) == 2
    text = markdown_report(both, "Title")
    assert f"{100 * both[0].metrics['pixel_aupro']:.1f}" in text
    assert "images of 48 × 48 pixels, without masks, seed 0" in text
    assert "images of 48 × 48 pixels, seed 0" in text


def test_details_without_masks_draw_no_pixel(unmarked: Path, tmp_path: Path) -> None:
    (record, *_) = results(unmarked, tmp_path / "out", "data.masks=none", "method=padim")
    details = load_details(tmp_path / "out" / "details" / str(record.details))
    assert details.pixel_roc.shape == details.pixel_pr.shape == (2, 0)
    assert details.pixel_histogram.shape == (3, 0)
    assert details.image_roc.shape[1] > 1


def test_tsne_without_masks_is_refused_and_the_results_stay(unmarked: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"key, t-SNE: .*there are none: leave tsne out"):
        results(unmarked, tmp_path / "out", "data.masks=none", "tsne=[key]")
    assert len(read_records(tmp_path / "out")) == 4


UNIAD = ["method=[uniad_quick]", "method.uniad.epochs=4", "method.uniad.hidden_dim=16"]


def test_trained_methods_look_at_images_alone_without_masks(unmarked: Path, tmp_path: Path) -> None:
    records = results(
        unmarked, tmp_path / "out", "data.masks=none", *UNIAD, "protocol=paper", "checks=2"
    )
    for record in records:
        assert blank(record) == PIXEL
        assert set(record.epochs) == {"trained"} | IMAGE
        assert [entry["epoch"] for entry in record.history] == [2, 4]
        for entry in record.history:
            assert {name for name in METRICS if math.isnan(entry[name])} == PIXEL
    assert "uniad\\*: early to late" in texts(tmp_path / "out")["markdown"]


def test_some_masks_are_not_enough_and_the_remedy_is_named(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",))
    next((root / "key" / "ground_truth").rglob("*.png")).unlink()
    with pytest.raises(UserError, match=r"1 defective images of class 'key'.*data\.masks=none"):
        results(root, tmp_path / "out")
    records = results(root, tmp_path / "out", "data.masks=none")
    assert [blank(record) for record in records] == [PIXEL] * 2


# ---- Pretraining ----------------------------------------------------------------------------


def test_pretraining_without_masks_is_refused(unmarked: Path, tmp_path: Path) -> None:
    config = training(tmp_path / "out", "data=folder", f"data.root={unmarked}", "data.masks=none")
    with pytest.raises(UserError, match=r"needs masks, and 6 defective.*synthetic_defects"):
        run_task(train, config)


def test_pretraining_on_drawn_defects_leaves_unmarked_images_out(
    unmarked: Path, tmp_path: Path
) -> None:
    options = ["data=folder", f"data.root={unmarked}", "data.masks=none"]
    run_task(train, training(tmp_path / "out", *options, "data.synthetic_defects=0.5"))
    assert (tmp_path / "out" / "projector.safetensors").exists()


def test_held_out_classes_without_masks_are_checked_by_images(
    unmarked: Path, tmp_path: Path
) -> None:
    options = ["data=folder", f"data.root={unmarked}", "data.masks=none", "data.held_out=[key]"]
    check = ["callbacks=held_out_check", "data.synthetic_defects=0.5"]
    run_task(train, training(tmp_path / "out", *options, *check))
    header = (tmp_path / "out" / "metrics.csv").read_text().splitlines()[0]
    assert "held_out/feature_norm/image_auroc/pretrained" in header
    assert "held_out/feature_norm/pixel_aupro/pretrained" not in header


# ---- Doctor ---------------------------------------------------------------------------------


def test_doctor_asks_for_no_mask_where_none_is_read(unmarked: Path, tmp_path: Path) -> None:
    from adpt.doctor import doctor

    options = ["data=folder", f"data.root={unmarked}", f"json={tmp_path / 'found.json'}"]
    with pytest.raises(SystemExit):
        run_task(doctor, composed("doctor", *options))
    found = json.loads((tmp_path / "found.json").read_text())
    assert {one["kind"] for one in found["findings"] if one["fault"]} == {"mask missing"}
    run_task(doctor, composed("doctor", *options, "data.masks=none"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["sound"]
    assert found["masks"] == 0
