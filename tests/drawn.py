"""Tiny data sets in each published layout: real pictures with visible defects, and their masks.

`conftest.py` offers each as a fixture; tests that need another shape call the functions.
"""

import csv
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def picture(
    class_name: str, number: int, size: int = 48, defect: bool = False
) -> tuple[Pixels, Pixels]:
    """A disc of the class's colour on a dark, grainy table; a defect is a bright square on it.

    Returns:
        Image (size, size, 3) and mask (size, size), 255 on the defect.
    """
    rng = np.random.default_rng([zlib.crc32(class_name.encode()), number, defect])
    colour = np.random.default_rng(zlib.crc32(class_name.encode())).uniform(60, 160, 3)
    rows, columns = np.mgrid[:size, :size] / size
    disc = np.hypot(rows - 0.5, columns - 0.5) < 0.4
    image = np.where(disc[..., None], colour, 30.0) + rng.normal(0, 6, (size, size, 3))
    mask = np.zeros((size, size), np.uint8)
    if defect:
        side = max(3, size // 5)
        top, left = rng.integers(size // 4, 3 * size // 4 - side, 2)
        mask[top : top + side, left : left + side] = 255
        image[mask > 0] = (250, 240, 60)
    return image.clip(0, 255).astype(np.uint8), mask


def save(pixels: Pixels, path: Path) -> None:
    """Write a picture, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def draw_mvtec(
    root: Path,
    classes: Sequence[str] = ("bottle",),
    size: int = 48,
    train: int = 6,
    good: int = 3,
    defective: int = 3,
    defects: Sequence[str] = ("scratch",),
) -> Path:
    """MVTec AD's layout: `train` normal images, `good` normal test images, `defective` a defect."""
    return _draw(root, classes, size, train, good, defective, defects)


draw_folder = draw_mvtec


def draw_mpdd(root: Path, classes: Sequence[str] = ("connector",), size: int = 48) -> Path:
    """MPDD's layout, which is MVTec AD's."""
    return _draw(root, classes, size, defects=("parts_mismatch",))


def draw_btad(root: Path, classes: Sequence[str] = ("01", "02", "03"), size: int = 48) -> Path:
    """BTAD's layout: .bmp images in 01 and 03, .bmp masks in 03 only."""
    for name in classes:
        images, masks = ("png" if name == "02" else "bmp"), ("bmp" if name == "03" else "png")
        _draw(
            root,
            [name],
            size,
            defects=("ko",),
            normal="ok",
            image="{kind}/{number:04d}." + images,
            mask="ground_truth/{defect}/{number:04d}." + masks,
        )
    return root


def draw_mvtec3d(root: Path, classes: Sequence[str] = ("bagel",), size: int = 48) -> Path:
    """MVTec 3D-AD's layout: rgb folders, masks beside them, all-black masks of normal images."""
    _draw(
        root,
        classes,
        size,
        defects=("hole",),
        image="{kind}/rgb/{number:03d}.png",
        mask="test/{defect}/gt/{number:03d}.png",
    )
    for name in classes:
        for image in sorted((root / name / "test" / "good" / "rgb").iterdir()):
            save(np.zeros((size, size), np.uint8), image.parent.parent / "gt" / image.name)
    return root


def draw_mvtec_ad2(root: Path, classes: Sequence[str] = ("can",), size: int = 48) -> Path:
    """MVTec AD 2's layout: test images under three lightings, private ones without a label.

    Pictures are wider than high.
    """
    rows = slice(size // 6, size - size // 6)
    for name in classes:
        for folder, ending, count in (
            ("train/good", "regular", 6),
            ("validation/good", "regular", 3),
            ("test_private", "regular", 3),
            ("test_private_mixed", "mixed", 3),
        ):
            for number in range(count):
                # Each folder has pictures of its own.
                pixels = picture(f"{name} {folder}", number, size)[0][rows]
                save(pixels, root / name / folder / f"{number:03d}_{ending}.png")
        for number, lighting in enumerate(("regular", "overexposed", "shift_1")):
            test = root / name / "test_public"
            save(picture(name, number, size)[0][rows], test / f"good/{number:03d}_{lighting}.png")
            pixels, marked = picture(name, number, size, defect=True)
            save(pixels[rows], test / f"bad/{number:03d}_{lighting}.png")
            save(marked[rows], test / f"ground_truth/bad/{number:03d}_{lighting}_mask.png")
    return root


def draw_mvtec_loco(root: Path, classes: Sequence[str] = ("pushpins",), size: int = 48) -> Path:
    """MVTec LOCO's layout: two masks of the first logical anomaly, one of each other image."""
    saturations = [
        {
            "defect_name": "missing",
            "pixel_value": 255,
            "saturation_threshold": 20,
            "relative_saturation": False,
        },
        {
            "defect_name": "bent",
            "pixel_value": 254,
            "saturation_threshold": 0.5,
            "relative_saturation": True,
        },
    ]
    for name in classes:
        folder = root / name
        for kind, count in (("train/good", 6), ("validation/good", 3), ("test/good", 3)):
            for number in range(count):
                pixels = picture(f"{name} {kind}", number, size)[0]
                save(pixels, folder / kind / f"{number:03d}.png")
        for kind, value, count in (("logical_anomalies", 255, 2), ("structural_anomalies", 254, 1)):
            for number in range(count):
                pixels, marked = picture(f"{name} {kind}", number, size, defect=True)
                save(pixels, folder / "test" / kind / f"{number:03d}.png")
                masks = folder / "ground_truth" / kind / f"{number:03d}"
                parts = [marked > 0]
                if kind == "logical_anomalies" and number == 0:
                    upper = np.cumsum(marked > 0, axis=0) <= 4
                    parts = [parts[0] & upper, parts[0] & ~upper]
                for place, part in enumerate(parts):
                    save(part.astype(np.uint8) * np.uint8(value), masks / f"{place:03d}.png")
        (folder / "defects_config.json").write_text(json.dumps(saturations))
    return root


def draw_kolektorsdd2(root: Path, size: int = 48) -> Path:
    """KolektorSDD2's layout: a mask of every image, black for a normal one."""
    for split, first, good, defective in (("train", 10000, 6, 1), ("test", 20000, 3, 3)):
        for number in range(good + defective):
            pixels, marked = picture("kolektorsdd2", first + number, size, defect=number >= good)
            save(pixels, root / split / f"{first + number}.png")
            save(marked, root / split / f"{first + number}_GT.png")
    return root


def draw_dagm(root: Path, classes: Sequence[str] = ("Class1", "Class10"), size: int = 48) -> Path:
    """DAGM's layout: masks of defective images alone, also in training; endings in capitals."""
    for name in classes:
        for split, good, defective in (("Train", 6, 1), ("Test", 3, 3)):
            for number in range(good + defective):
                defect = number >= good
                pixels, marked = picture(f"{name} {split}", number, size, defect)
                save(pixels, root / name / split / f"{number + 1:04d}.PNG")
                if defect:
                    save(marked, root / name / split / "Label" / f"{number + 1:04d}_label.PNG")
    return root


def draw_visa(root: Path, classes: Sequence[str] = ("candle",), size: int = 48) -> Path:
    """VisA's layout: lists 1cls and 2cls_fewshot; mask values are small defect ids."""
    usual, few = [], []
    for name in classes:
        for number in range(9):
            file = f"{name}/Data/Images/Normal/{number:04d}.JPG"
            save(picture(name, number, size)[0], root / file)
            split = "train" if number < 6 else "test"
            usual.append((name, split, "normal", file, ""))
            few.append((name, split, "normal", file, ""))
        for number in range(3):
            image, mask = picture(name, number, size, defect=True)
            file = f"{name}/Data/Images/Anomaly/{number:03d}.JPG"
            mask_file = f"{name}/Data/Masks/Anomaly/{number:03d}.png"
            save(image, root / file)
            save(mask // 255 * np.uint8(number + 1), root / mask_file)
            usual.append((name, "test", "anomaly", file, mask_file))
            few.append((name, "train" if number == 0 else "test", "anomaly", file, mask_file))
    for split, rows in (("1cls", usual), ("2cls_fewshot", few)):
        path = root / "split_csv" / f"{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as lines:
            csv.writer(lines).writerows([("object", "split", "label", "image", "mask"), *rows])
    return root


def draw_realiad(
    root: Path,
    classes: Sequence[str] = ("audiojack",),
    size: int = 48,
    resolution: int | str = 512,
    products: int = 3,
    views: int = 5,
) -> Path:
    """Real-IAD's layout with its JSON splits; defects show from C1 to C3 only.

    Per class `products` normal and `products` defective products, the latter of kinds QS and ZW.
    """
    for name in classes:
        # Published: two underscores in some classes, one in the others.
        stem = f"{name}__{{:04d}}" if name == "audiojack" else f"{name}_{{:04d}}"
        normal, test = [], []
        for product in range(1, products + 1):
            for view in range(1, views + 1):
                file = f"OK/S{product:04d}/{stem.format(product)}_OK_C{view}_20231023111538.jpg"
                save(
                    picture(f"{name} C{view}", product, size)[0],
                    root / f"realiad_{resolution}" / name / file,
                )
                normal.append(_entry(name, "OK", file, None))
                kind = ("QS", "ZW")[product % 2]
                file = f"NG/{kind}/S{product:04d}/{stem.format(product)}_NG_{kind}_C{view}_2023.jpg"
                shows = view <= 3
                image, mask = picture(f"{name} C{view}", product, size, defect=shows)
                save(image, root / f"realiad_{resolution}" / name / file)
                if shows:
                    save(mask, (root / f"realiad_{resolution}" / name / file).with_suffix(".png"))
                mask_file = file.replace(".jpg", ".png") if shows else None
                test.append(_entry(name, kind if shows else "OK", file, mask_file))
        held_out, kept = normal[:views], normal[views:]
        for split, part in (
            ("realiad_jsons", {"train": kept, "test": held_out + test}),
            ("realiad_jsons_fuiad_0.1", {"train": kept + test[:1], "test": held_out + test[1:]}),
        ):
            path = root / "realiad_jsons" / split / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            meta = {"normal_class": "OK", "prefix": f"{name}/"}
            path.write_text(json.dumps({"meta": meta, **part}))
    return root


def _entry(name: str, kind: str, image: str, mask: str | None) -> dict[str, str | None]:
    return {"category": name, "anomaly_class": kind, "image_path": image, "mask_path": mask}


def _draw(
    root: Path,
    classes: Sequence[str],
    size: int,
    train: int = 6,
    good: int = 3,
    defective: int = 3,
    defects: Sequence[str] = ("scratch",),
    normal: str = "good",
    image: str = "{kind}/{number:03d}.png",
    mask: str = "ground_truth/{defect}/{number:03d}_mask.png",
) -> Path:
    for name in classes:
        for split, count in (("train", train), ("test", good)):
            for number in range(count):
                file = image.format(kind=f"{split}/{normal}", number=number)
                save(picture(name, 1000 * (split == "test") + number, size)[0], root / name / file)
        for kind, defect in enumerate(defects):
            for number in range(defective):
                pixels, marked = picture(name, 100 * kind + number, size, defect=True)
                file = image.format(kind=f"test/{defect}", number=number)
                save(pixels, root / name / file)
                save(marked, root / name / mask.format(defect=defect, number=number))
    return root
