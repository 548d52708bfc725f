"""Drawn sets: the same seed gives the same files, masks are exact, nothing is left half done."""

import json
import re
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from adpt.data.procedural import (
    DOWNSTREAM_PRODUCTS,
    PRETRAINING_PRODUCTS,
    render_downstream_set,
    render_pretraining_set,
    writer,
)
from adpt.data.procedural.defects import DEFECTS
from adpt.data.procedural.layouts import DEFECT_CODES
from adpt.data.procedural.photographs import VISIBLE, Shot, photograph, photograph_defect
from adpt.errors import DataError

SIZE = 48
PRODUCTS = {**PRETRAINING_PRODUCTS, **DOWNSTREAM_PRODUCTS}
CASES = [(name, defect) for name, product in PRODUCTS.items() for defect in product.defects]
REALIAD_NAME = re.compile(r"(?P<name>\w+?)_(\d{4})_(OK|NG_[A-Z]{2})_(?P<view>C\d)_\d{14}$")


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "pretraining"
    return render_pretraining_set(root, size=SIZE, normal=2, anomalous=6, progress=False)


@pytest.fixture(scope="module")
def downstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "downstream"
    return _small_downstream(root)


def _small_downstream(root: Path, **changes: int) -> Path:
    numbers = {"size": SIZE, "train": 2, "normal": 1, "anomalous": 5, **changes}
    return render_downstream_set(root, progress=False, **numbers)


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_products_of_the_two_sets_are_disjoint_and_as_many_as_promised() -> None:
    assert not set(PRETRAINING_PRODUCTS) & set(DOWNSTREAM_PRODUCTS)
    drawers = [product.render for product in PRODUCTS.values()]
    assert len(set(drawers)) == len(drawers)
    assert len(PRETRAINING_PRODUCTS) >= 8
    assert len(DOWNSTREAM_PRODUCTS) == 4
    assert all(len(product.views) >= 3 for product in PRETRAINING_PRODUCTS.values())
    assert all(len(product.defects) >= 3 for product in PRODUCTS.values())


def test_every_defect_is_used_and_has_a_code_of_its_own() -> None:
    assert {defect for _, defect in CASES} == set(DEFECTS) == set(DEFECT_CODES)
    assert len(set(DEFECT_CODES.values())) == len(DEFECT_CODES)


def test_same_seed_draws_the_same_bytes_with_one_worker_or_three(
    downstream: Path, tmp_path: Path
) -> None:
    first = _files(downstream)
    assert first == _files(_small_downstream(tmp_path / "one", workers=1))
    assert first == _files(_small_downstream(tmp_path / "three", workers=3))


def test_another_seed_draws_other_pictures(downstream: Path, tmp_path: Path) -> None:
    other = _files(_small_downstream(tmp_path / "other", seed=1))
    first = _files(downstream)
    assert first.keys() == other.keys()
    pictures = [path for path in first if path.endswith(".png") and "_mask" not in path]
    assert all(first[path] != other[path] for path in pictures)


def test_a_larger_set_holds_the_smaller_ones_pictures(downstream: Path, tmp_path: Path) -> None:
    small, large = (
        _files(downstream),
        _files(_small_downstream(tmp_path / "large", train=3, normal=2, anomalous=9)),
    )
    small.pop(writer.STAMP)
    assert small.items() <= large.items()
    assert len(large) > len(small)


def test_pictures_of_a_set_all_differ(pretraining: Path) -> None:
    pictures = [p.read_bytes() for p in pretraining.rglob("*.jpg")]
    assert len(set(pictures)) == len(pictures)


@cache
def _defective(name: str, defect: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    view = list(PRODUCTS[name].views)[-1]
    return photograph_defect(PRODUCTS[name], Shot(5, name, view, "x", 0), 96, defect)


@pytest.mark.parametrize(("name", "defect"), CASES)
def test_mask_is_where_the_defect_changed_the_picture(name: str, defect: str) -> None:
    clean, spoiled, mask = _defective(name, defect)
    change = np.abs(clean.astype(int) - spoiled).max(axis=2)
    limit = VISIBLE * 255
    assert mask.any()
    assert not mask.all()
    # Closing joins parts across single pixels; rounding to 8 bits moves a change by up to 1.
    assert (change[mask] > limit - 1).mean() > 0.7
    around = ndimage.binary_dilation(mask, iterations=1)
    beyond = ndimage.label((change > limit + 1) & ~around, np.ones((3, 3)))
    sizes = ndimage.sum_labels(np.ones_like(change), beyond[0], range(1, beyond[1] + 1))
    assert all(size < 3 for size in sizes), "a visible change lies outside the mask"


@pytest.mark.parametrize(("name", "defect"), CASES)
def test_mask_has_no_speckle(name: str, defect: str) -> None:
    _, _, mask = _defective(name, defect)
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    assert min(np.bincount(labels.ravel())[1:]) >= 3


@pytest.mark.parametrize("name", PRODUCTS)
def test_defects_are_visible_in_the_smallest_pictures(name: str) -> None:
    product = PRODUCTS[name]
    for view in list(product.views)[:2]:
        for index, defect in enumerate(product.defects):
            _, _, mask = photograph_defect(product, Shot(2, name, view, "x", index), 32, defect)
            assert mask.sum() >= 3


@pytest.mark.parametrize("name", ["hex_bolt", "gear", "key", "cup", "capsule"])
def test_defect_touches_the_product_and_spares_the_picture_border(name: str) -> None:
    product = PRODUCTS[name]
    view = next(iter(product.views))
    for index, defect in enumerate(product.defects):
        _, _, mask = photograph_defect(product, Shot(1, name, view, "x", index), 96, defect)
        assert not mask[:3].any()
        assert not mask[:, :3].any()
        assert mask[10:-10, 5:-5].any()


def test_specimens_of_a_product_vary_and_views_differ_more() -> None:
    def mean_gap(first: Shot, second: Shot) -> float:
        product = PRODUCTS["carton"]
        one, two = (photograph(product, shot, SIZE).astype(float) for shot in (first, second))
        return float(np.abs(one - two).mean())

    base = Shot(0, "carton", "C1", "x", 0)
    within = mean_gap(base, Shot(0, "carton", "C1", "x", 1))
    assert within > 2
    assert mean_gap(base, Shot(0, "carton", "C2", "x", 0)) > 1.5 * within


def test_pretraining_files_lie_as_in_realiad(pretraining: Path) -> None:
    images = pretraining / "realiad_512"
    assert {p.name for p in images.iterdir()} == set(PRETRAINING_PRODUCTS)
    for image in images.rglob("*.jpg"):
        found = REALIAD_NAME.fullmatch(image.stem)
        assert found, image
        name, kind, *rest = image.relative_to(images).parts
        assert found["name"] == name
        assert found["view"] in PRETRAINING_PRODUCTS[name].views
        assert (kind, len(rest)) in {("OK", 2), ("NG", 3)}
        assert rest[-2] == f"S{found[2]}"
        assert _pixels(image).shape == (SIZE, SIZE, 3)
    for mask in images.rglob("*.png"):
        assert mask.with_suffix(".jpg").is_file()
        assert set(np.unique(_pixels(mask))) == {0, 255}


def test_some_pretraining_defects_are_out_of_sight(pretraining: Path) -> None:
    for name in PRETRAINING_PRODUCTS:
        images = list((pretraining / "realiad_512" / name / "NG").rglob("*.jpg"))
        unmasked = [p for p in images if not p.with_suffix(".png").exists()]
        assert len(images) == 6 * 3
        assert len(unmasked) == 1


def test_pretraining_splits_name_every_file_once(pretraining: Path) -> None:
    splits = sorted((pretraining / "realiad_jsons" / "realiad_jsons").glob("*.json"))
    assert {p.stem for p in splits} == set(PRETRAINING_PRODUCTS)
    for path in splits:
        split = json.loads(path.read_text())
        folder = pretraining / "realiad_512" / split["meta"]["prefix"]
        entries = split["train"] + split["test"]
        assert sorted(str(folder / e["image_path"]) for e in entries) == sorted(
            str(p) for p in folder.rglob("*.jpg")
        )
        assert {e["anomaly_class"] for e in split["train"]} == {split["meta"]["normal_class"]}
        assert any(e["anomaly_class"] == "OK" for e in split["test"])
        for entry in entries:
            assert entry["category"] == path.stem
            assert (entry["mask_path"] is None) == (entry["anomaly_class"] == "OK")
            assert entry["mask_path"] is None or (folder / entry["mask_path"]).is_file()


def test_downstream_files_lie_as_in_mvtec(downstream: Path) -> None:
    for name, product in DOWNSTREAM_PRODUCTS.items():
        folder = downstream / name
        assert len(list((folder / "train" / "good").glob("*.png"))) == 2
        assert len(list((folder / "test" / "good").glob("*.png"))) == 1
        assert {p.name for p in (folder / "test").iterdir()} == {"good", *product.defects}
        defective = [p for p in (folder / "test").rglob("*.png") if p.parent.name != "good"]
        assert len(defective) == 5
        for image in defective:
            mask = folder / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"
            assert set(np.unique(_pixels(mask))) == {0, 255}
            assert _pixels(mask).shape == (SIZE, SIZE)


def test_a_set_that_is_there_is_not_drawn_again(
    downstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_render_one", lambda *_: pytest.fail("drawn again"))
    assert _small_downstream(downstream) == downstream


def test_a_set_with_other_parameters_is_refused_and_kept(downstream: Path) -> None:
    before = _files(downstream)
    with pytest.raises(DataError, match=r"seed=0 \(wanted 3\).*another folder"):
        _small_downstream(downstream, seed=3)
    assert _files(downstream) == before


@pytest.mark.parametrize("content", ["photo.png", writer.STAMP])
def test_a_folder_with_foreign_content_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("not ours")
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        _small_downstream(tmp_path)
    assert _files(tmp_path) == {content: b"not ours"}


def test_a_file_in_the_sets_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    with pytest.raises(DataError, match="something else"):
        _small_downstream(tmp_path / "set")


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert (_small_downstream(tmp_path) / writer.STAMP).is_file()


@pytest.mark.parametrize("reason", [KeyboardInterrupt, OSError])
def test_interrupted_drawing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: type[BaseException]
) -> None:
    drawn = writer._render_one

    def interrupted(folder: Path, size: int, job: writer.Job) -> None:
        if job.shot.index == 1:
            raise reason
        drawn(folder, size, job)

    monkeypatch.setattr(writer, "_render_one", interrupted)
    with pytest.raises(reason):
        _small_downstream(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_two_that_start_together_leave_one_whole_set(downstream: Path, tmp_path: Path) -> None:
    barrier, faults = threading.Barrier(2), []

    def draw() -> None:
        barrier.wait()
        try:
            _small_downstream(tmp_path / "set", workers=1)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert _files(tmp_path / "set") == _files(downstream)


@pytest.mark.parametrize("wrong", [{"size": 8}, {"train": 0}, {"seed": -1}, {"workers": 0}])
def test_numbers_out_of_range_are_refused_by_name(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        _small_downstream(tmp_path / "set", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_only_if_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"size": 32, "train": 1, "normal": 1, "anomalous": 1}
    render_downstream_set(tmp_path / "silent", progress=False, **numbers)
    assert capsys.readouterr() == ("", "")
    render_downstream_set(tmp_path / "shown", **numbers)
    assert "Rendering 4 products" in capsys.readouterr().out


@pytest.mark.slow
def test_default_sets_are_drawn_in_minutes_and_fit_in_100_mb(tmp_path: Path) -> None:
    start = time.process_time()
    roots = render_pretraining_set(tmp_path / "p"), render_downstream_set(tmp_path / "d")
    # Processor time, because the wall clock depends on what else the machine does.
    assert time.process_time() - start < 2 * 60
    assert sum(p.stat().st_size for r in roots for p in r.rglob("*") if p.is_file()) < 100e6
