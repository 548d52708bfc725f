"""What doctor says of masks, bits in use and pages, and that evaluation says it too, once."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import drawn
from adpt.data import Folder, Mixed
from adpt.data.examination import Finding, examine
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import extract
from runs import folder_data
from small import SmallBackbone

MASKS = "ground_truth/scratch"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return drawn.draw_folder(tmp_path / "set", ("key",), defective=5)


def findings(data: Folder | Mixed) -> list[Finding]:
    return examine(data, workers=2).findings


def change(root: Path, how: Callable[[np.ndarray], np.ndarray], count: int = 5) -> list[Path]:
    masks = sorted((root / "key" / MASKS).iterdir())[:count]
    for path in masks:
        with Image.open(path) as mask:
            changed = how(np.asarray(mask))
        Image.fromarray(changed).save(path)
    return masks


def jpegs(root: Path) -> list[Path]:
    masks = []
    for path in sorted((root / "key" / MASKS).iterdir()):
        with Image.open(path) as mask:
            mask.save(path.with_suffix(".jpg"), quality=60)
        path.unlink()
        masks.append(path.with_suffix(".jpg"))
    return masks


def test_inverted_masks_are_a_fault_where_most_are(root: Path) -> None:
    masks = change(root, lambda mask: 255 - mask)
    found = findings(Folder(root))
    assert [(f.kind, f.path, f.class_name, f.fault) for f in found] == [
        ("inverted masks", mask, "key", True) for mask in masks
    ]
    assert "data.invert_masks=true" in found[0].message
    assert findings(Folder(root, invert_masks=True)) == []
    assert findings(Mixed({"own": Folder(root, invert_masks=True)})) == []
    assert findings(Mixed({"own": Folder(root)}, invert_masks=True)) == []


@pytest.mark.parametrize("defective", [5, 4])
def test_masks_that_mark_most_are_remarks_up_to_half_of_them(
    tmp_path: Path, defective: int
) -> None:
    root = drawn.draw_folder(tmp_path / "set", ("key",), defective=defective)
    masks = change(root, lambda mask: 255 - mask, 2)
    found = findings(Folder(root))
    assert [(f.kind, f.path, f.fault) for f in found] == [
        ("mask marks most", mask, False) for mask in masks
    ]


def test_a_size_is_unusual_beside_one_that_most_have(tmp_path: Path) -> None:
    root = drawn.draw_folder(tmp_path / "set", ("key",), defective=0)
    images = sorted((root / "key").rglob("*.png"))
    for path in images[: len(images) // 2]:
        with Image.open(path) as picture:
            picture.resize((40, 40)).save(path)
    assert len(images) % 2 == 1
    assert {f.path for f in findings(Folder(root))} == {*images[: len(images) // 2]}
    images[-1].unlink()
    assert findings(Folder(root)) == []


def test_soft_masks_are_named_with_what_is_made_of_them(root: Path) -> None:
    masks = jpegs(root)
    found = findings(Folder(root))
    assert [(f.kind, f.path) for f in found] == [("mask not binary", mask) for mask in masks]
    assert all("the nearest of two" in f.message for f in found)


def test_bits_in_use_are_a_remark(root: Path) -> None:
    for path in root.rglob("*.png"):
        if "ground_truth" not in path.parts:
            with Image.open(path) as picture:
                numbers = np.asarray(picture.convert("L")).astype(np.uint16) << 4
            Image.fromarray(numbers).save(path)
    bits = [(f.kind, f.path, f.fault) for f in findings(Folder(root))]
    assert bits == [("bit depth", root, False)]
    assert "12 bits are taken" in findings(Folder(root))[0].message
    (given,) = findings(Folder(root, bit_depth=14))
    assert "14 bits are taken" in given.message
    assert "need 12" in given.message
    found = findings(Mixed({"own": Folder(root)}))
    assert [(f.kind, f.class_name, f.fault) for f in found] == [("bit depth", "own", False)]
    beyond = root / "key/test/good/001.png"
    Image.fromarray(np.full((48, 48), 9999, np.uint16)).save(beyond)
    fault = next(f for f in findings(Folder(root)) if f.fault)
    assert (fault.kind, fault.path) == ("beyond the bit depth", beyond)
    assert "9999" in fault.message


def test_the_picture_that_the_bits_in_use_are_owed_to_is_named(root: Path) -> None:
    for number, path in enumerate(sorted(root.glob("*/train/good/*.png"))):
        numbers = np.full((48, 48), 900 + number, np.uint16)
        numbers[3, 4] = 65535 if number == 2 else 40  # A hot pixel.
        Image.fromarray(numbers).save(path)
    (told,) = (f for f in findings(Folder(root)) if f.kind == "bit depth")
    third = sorted(root.glob("*/train/good/*.png"))[2]
    assert f"need 16, the first that does so is {third}. If" in told.message


def test_a_depth_for_files_that_are_not_there_is_no_remark(root: Path) -> None:
    assert findings(Folder(root, bit_depth=12)) == []


def test_several_pictures_and_many_pixels_are_named(root: Path) -> None:
    image, mask = root / "key/train/good/001.png", root / "key" / MASKS / "001_mask.png"
    pages = [Image.fromarray(drawn.picture("key", number)[0]) for number in (50, 51)]
    pages[0].save(image, save_all=True, append_images=pages[1:])
    pages[0].save(mask, save_all=True, append_images=pages[1:])
    found = findings(Folder(root))
    assert {(f.kind, f.path) for f in found} == {
        ("several pictures", image),
        ("several pictures", mask),
    }
    image.unlink()
    mask.unlink()
    (root / "key/test/scratch/001.png").unlink()
    assert findings(Folder(root)) == []
    assert {f.kind for f in findings(Folder(root, max_megapixels=0.002))} == {"enormous image"}
    assert {f.kind for f in examine(Folder(root), 2, 0.002).findings} == {"enormous image"}


# ---- Evaluation ------------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.message for record in caplog.records if text in record.message]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_says_each_thing_once_a_run(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cached: bool, workers: int
) -> None:
    change(root, lambda mask: 255 - mask)
    masks = jpegs(root)
    cache = FeatureCache(tmp_path / "cache") if cached else None
    backbone, cpu = SmallBackbone(), torch.device("cpu")
    # The second run finds its features in the cache, and reads the masks alone.
    for _ in range(2):
        data = folder_data(root, num_workers=workers, batch_size=2)
        data.setup()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            samples = data.select("test")
            parts = [extract(backbone, data, samples, device=cpu, cache=cache) for _ in range(2)]
        (soft,), (most,) = warned(caplog, "nearest of two"), warned(caplog, "invert_masks")
        assert str(masks[0]) in soft
        assert str(masks[0]) in most
        assert "'key'" in most
        assert parts[0].masks[-1].float().mean() > 0.5
        inverted = folder_data(root, invert_masks=True)
        inverted.setup()
        other = extract(backbone, inverted, samples, device=cpu, cache=cache)
        assert (other.masks[-5:] == ~parts[0].masks[-5:]).all()
        # Normal images have no mask to invert.
        assert not other.masks[:-5].any()


def test_pretraining_says_it_too(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    jpegs(root)
    data = folder_data(root, num_workers=0, batch_size=4)
    data.setup("fit")
    for _ in range(2):
        list(data.train_dataloader())
    assert len(warned(caplog, "nearest of two")) == 1


def test_sound_masks_are_not_remarked_on(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = folder_data(root)
    data.setup()
    assert data.read(data.select("test")).remarks == {}
    assert caplog.records == []


def test_a_picture_without_memory_is_skipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder_data(root, on_bad_image="skip")
    data.setup()

    def starving(*_: object) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(type(data.geometry), "image", starving)
    batch = data.read(data.select("test"))
    assert len(batch.skipped) == len(data.select("test"))
    assert "memory" in batch.faults[0]
