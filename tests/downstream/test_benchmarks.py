"""MVTec LOCO, Real-IAD and MVTec AD 2, evaluated as their benchmarks do."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, roc_auc_score

import drawn
from adpt.data import MVTecLOCO
from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.evaluation import evaluation as module
from adpt.evaluation.picture_maps import Defects
from adpt.evaluation.run import Outcome
from adpt.metrics import AurocByKind, SampleAuroc, SegF1
from adpt.results import Record, read_records
from adpt.results.blanks import lacks
from oracles.spro import literal
from runs import evaluation, run_task

QUICK = ["method=padim", "features=[own]", "heatmaps=0"]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What methods scored, as it comes."""
    seen: list[Outcome] = []
    original = module.run_method

    def kept(*given: Any, **named: Any) -> dict[str, Outcome]:
        found = original(*given, **named)
        seen.extend(found.values())
        return found

    monkeypatch.setattr(module, "run_method", kept)
    return seen


def evaluated(folder: Path, *overrides: str) -> list[Record]:
    run_task(evaluate, evaluation(folder, *QUICK, *overrides))
    return read_records(folder)


# ---- MVTec LOCO and Real-IAD -------------------------------------------------------------------


def test_locos_records_tell_logical_and_structural_anomalies_apart(
    tmp_path: Path, outcomes: list[Outcome]
) -> None:
    """At the pictures' own resolution, which is the network's here."""
    root = drawn.draw_mvtec_loco(tmp_path / "loco")
    [record] = evaluated(
        tmp_path / "out", "data=mvtec_loco", f"data.root={root}",
        "metric=[auroc_by_kind,spro,seg_f1]", "metric_resolution=picture",
    )  # fmt: skip
    [outcome] = outcomes
    samples, maps = outcome.scored.samples, outcome.maps.numpy()
    defects = np.array([sample.defect for sample in samples])
    regions: list[list[tuple[np.ndarray, int]]] = []
    for sample in samples:
        files = root.glob(f"pushpins/ground_truth/{sample.defect}/{sample.image.stem}/*.png")
        masks = [np.asarray(Image.open(file)) for file in sorted(files)]
        regions.append([
            (m > 0, min(20, int((m > 0).sum())) if m.max() == 255 else int((m > 0).sum() / 2))
            for m in masks
        ])  # fmt: skip
    assert [len(each) for each in regions] == [0, 0, 0, 2, 1, 1]
    for kind in ("logical", "structural"):
        rows = np.flatnonzero((defects == "good") | (defects == f"{kind}_anomalies")).tolist()
        assert record.metrics[f"image_auroc_{kind}"] == pytest.approx(
            roc_auc_score(defects[rows] != "good", outcome.image_scores[rows])
        )
        assert record.metrics[f"pixel_spro_05_{kind}"] == pytest.approx(
            literal(maps[rows], [regions[row] for row in rows], 0.05)
        )
    good = outcome.scored.good
    assert good is not None
    assert len(good.image) == 3  # The images for validation.
    threshold = good.maps.mean() + 3 * good.maps.std()
    marked = np.stack(
        [np.any([m for m, _ in each] or np.zeros((1, 48, 48)), 0) for each in regions]
    )
    assert record.metrics["pixel_seg_f1"] == pytest.approx(
        f1_score(marked.flatten(), maps.flatten() >= threshold), abs=1e-6
    )
    assert {*AurocByKind({"logical": "", "structural": ""}).names} <= {*record.metrics}


@pytest.mark.parametrize("mixed", [False, True])
def test_an_edited_list_of_defects_is_measured_anew(
    mixed: bool, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    root = drawn.draw_mvtec_loco(tmp_path / "loco", ("pushpins", "screw_bag"))
    options = [
        *(["data=mixed", "+data@data.sets.loco=mvtec_loco"] if mixed else ["data=mvtec_loco"]),
        f"data{'.sets.loco' if mixed else ''}.root={root}", "metric=[spro]",
    ]  # fmt: skip
    file = root / "pushpins/defects_config.json"
    found = []
    for threshold in (20, 20, 1):
        entries = json.loads(file.read_text())
        entries[0]["saturation_threshold"] = threshold
        file.write_text(json.dumps(entries))
        records = evaluated(tmp_path / "out", *options)
        found.append({r.class_name: r.metrics["pixel_spro_05"] for r in records})
    first, again, edited = found
    assert first == again
    changed = {name for name in first if edited[name] != first[name]}
    assert {name.rpartition("/")[2] for name in changed} == {"pushpins"}
    assert [o.scored.samples[0].class_name.rpartition("/")[2] for o in outcomes] == [
        "pushpins", "screw_bag", "pushpins",
    ]  # fmt: skip
    evaluated(tmp_path / "out", *options, "data.masks=none")
    file.unlink()
    evaluated(tmp_path / "out", *options, "data.masks=none")
    assert len(outcomes) == 5


def test_at_the_networks_resolution_the_same_share_of_a_defect_is_enough(tmp_path: Path) -> None:
    data = MVTecLOCO(drawn.draw_mvtec_loco(tmp_path / "loco", size=96), image_size=48)
    data.setup()
    for sample in data.select("test", 1):
        own, network = (Defects(data, at)(sample) for at in (False, True))
        assert own
        assert network
        assert len(own) == len(network) == len(sample.masks)
        for whole, half in zip(own, network, strict=True):
            assert 2 * len(half.pixels) < len(whole.pixels)
            share = whole.enough / len(whole.pixels)
            assert abs(half.enough - share * len(half.pixels)) <= 0.5
    assert Defects(data, True)(data.select("test", 0)[0]) == []


def test_realiads_pieces_are_measured_by_their_worst_view(
    tmp_path: Path, outcomes: list[Outcome]
) -> None:
    root = drawn.draw_realiad(tmp_path / "realiad", products=2)
    [record] = evaluated(
        tmp_path / "out", "data=realiad", f"data.root={root}", "data.split=realiad_jsons",
        "metric=[sample_auroc]",
    )  # fmt: skip
    [outcome] = outcomes
    folders = [str(sample.image.parent) for sample in outcome.scored.samples]
    worst = dict.fromkeys(folders, -np.inf)
    for folder, score in zip(folders, outcome.image_scores.tolist(), strict=True):
        worst[folder] = max(worst[folder], score)
    expected = roc_auc_score(["/NG/" in folder for folder in worst], [*worst.values()])
    assert record.metrics[SampleAuroc.names[0]] == pytest.approx(expected)
    assert record.counts["test"] == 15


# ---- What MVTec AD 2's server takes ------------------------------------------------------------


def half_tiff(path: Path) -> np.ndarray:
    """An uncompressed TIFF of 16-bit floating point numbers in one channel, read by its tags."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    [start] = struct.unpack_from("<I", content, 4)
    [count] = struct.unpack_from("<H", content, start)
    tags: dict[int, int] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", content, place)
        if number == 1:
            [tags[tag]] = struct.unpack_from({3: "<H", 4: "<I"}[kind], content, place + 8)
    width, height = tags[256], tags[257]
    # Bits, no compression, samples a pixel, floating point, in one strip.
    assert (tags[258], tags[259], tags.get(277, 1), tags[339]) == (16, 1, 1, 3)
    return np.frombuffer(content, "<f2", width * height, tags[273]).reshape(height, width)


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., list[Record]]:
    root = drawn.draw_mvtec_ad2(tmp_path / "ad2", ("can", "vial"))
    options = ["data=mvtec_ad2", f"data.root={root}", f"submission={tmp_path / 'submission'}"]

    def run(*overrides: str) -> list[Record]:
        return evaluated(tmp_path / "out", *options, "data.split=private", *overrides)

    return run


def test_a_submission_has_the_layout_that_the_benchmarks_checker_asks_for(
    tmp_path: Path, submit: Callable[..., list[Record]], outcomes: list[Outcome]
) -> None:
    submit()
    folder = tmp_path / "submission" / "padim_own"
    assert {path.name for path in folder.iterdir()} == {
        "anomaly_images", "anomaly_images_thresholded",
    }  # fmt: skip
    names = {
        f"{name}/{part}/{number:03d}_{ending}"
        for name in ("can", "vial")
        for part, ending in (("test_private", "regular"), ("test_private_mixed", "mixed"))
        for number in range(3)
    }
    for kind, suffix in (("anomaly_images", ".tiff"), ("anomaly_images_thresholded", ".png")):
        files = [path for path in (folder / kind).rglob("*") if not path.is_dir()]
        assert {str(f.relative_to(folder / kind)) for f in files} == {n + suffix for n in names}
    for outcome in outcomes:
        threshold = SegF1().threshold_for(outcome.scored)
        pixels = outcome.scored.good.maps.astype(np.float64)
        for number, sample in enumerate(outcome.scored.samples):
            picture = Image.open(sample.image)
            name = f"{sample.image.parent.name}/{sample.image.stem}"
            place = f"{sample.class_name}/{name}"
            scores = half_tiff(folder / "anomaly_images" / f"{place}.tiff")
            taken = Image.open(folder / "anomaly_images_thresholded" / f"{place}.png")
            assert (taken.mode, taken.size, scores.shape[::-1]) == ("L", picture.size, picture.size)
            assert set(np.unique(np.asarray(taken))) <= {0, 255}
            # Of the map at 48 x 48: rows are scaled, columns are the picture's own.
            expected = (outcome.maps[number].numpy().mean() - pixels.mean()) / pixels.std()
            assert scores.astype(float).mean() == pytest.approx(expected, abs=0.02)
            away = np.abs(scores - 3) > 0.01
            np.testing.assert_array_equal((np.asarray(taken) > 0)[away], (scores >= 3)[away])
            assert threshold == pytest.approx(pixels.mean() + 3 * pixels.std())


def test_a_submission_goes_on_where_it_was(
    tmp_path: Path, submit: Callable[..., list[Record]], outcomes: list[Outcome]
) -> None:
    images = tmp_path / "submission/padim_own/anomaly_images_thresholded/can/test_private"
    lower = ["data.classes=[can]", "metric=[seg_f1]", "metric.seg_f1.threshold=-1000"]
    for options, computed, darkest in (
        (["data.classes=[can]"], 1, 0),
        (lower, 2, 255),
        (lower, 2, 255),
        # Files of other options are replaced, also where the result itself is recorded.
        (["data.classes=[can]"], 3, 0),
        # Without one nothing else comes out.
        (["data.classes=[can]", "submission=null"], 3, 0),
    ):
        [record, *_] = submit(*options)
        assert len(outcomes) == computed
        assert np.asarray(Image.open(images / "000_regular.png")).min() == darkest
    assert np.isnan(record.metrics["image_auroc"])
    assert (record.counts["anomalous"], record.counts["unlabelled"]) == (0, 6)
    assert lacks(record.counts) == [
        "test images without labels, so neither image nor pixel metrics are defined"
    ]


def test_a_threshold_is_never_taken_from_training_images_instead(
    tmp_path: Path, submit: Callable[..., list[Record]]
) -> None:
    for image in (tmp_path / "ad2/can/validation/good").iterdir():
        image.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"'can' of .* has no validation image that can be read"):
        submit("data.classes=[can]", "data.on_bad_image=skip")
    shutil.rmtree(tmp_path / "ad2/can/validation")
    with pytest.raises(UserError, match=r"can/validation/good holds no image"):
        submit("data.classes=[can]")
    assert not (tmp_path / "submission").exists()


def test_what_a_crop_left_unseen_is_normal(
    tmp_path: Path, submit: Callable[..., list[Record]]
) -> None:
    submit("data.resize=48", "data.classes=[can]")
    place = "can/test_private/000_regular"
    scores = half_tiff(tmp_path / f"submission/padim_own/anomaly_images/{place}.tiff")
    assert scores.shape == (32, 48)
    assert (scores[:, 0] == scores.min()).all()


def test_a_submission_is_of_private_images_alone(tmp_path: Path) -> None:
    root = drawn.draw_mvtec_ad2(tmp_path / "ad2")
    with pytest.raises(UserError, match=r"data=mvtec_ad2 data\.split=private"):
        evaluated(
            tmp_path / "out", "data=mvtec_ad2", f"data.root={root}", f"submission={tmp_path / 's'}"
        )
