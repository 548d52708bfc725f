"""Trees drawn with the sets' published file names; the numbers are those of their papers.

The names are not part of this project: `ADPT_SHARED` names the folder that holds `data/names`.
"""

import gzip
import os
import re
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import pytest

from adpt.data import BTAD, MPDD, AnomalyDataModule, MVTec, MVTec3D, RealIAD, VisA
from adpt.data.realiad import piece_of, view_of

NAMES = Path(os.environ.get("ADPT_SHARED", "/nonexistent")) / "data" / "names"
pytestmark = pytest.mark.skipif(not NAMES.is_dir(), reason="needs ADPT_SHARED/data/names")

# Normal and anomalous test images of each class, as published.
MVTEC = {
    "bottle": (20, 63), "cable": (58, 92), "capsule": (23, 109), "carpet": (28, 89),
    "grid": (21, 57), "hazelnut": (40, 70), "leather": (32, 92), "metal_nut": (22, 93),
    "pill": (26, 141), "screw": (41, 119), "tile": (33, 84), "toothbrush": (12, 30),
    "transistor": (60, 40), "wood": (19, 60), "zipper": (32, 119),
}  # fmt: skip
VISA = {
    "candle": (100, 100), "capsules": (60, 100), "cashew": (50, 100), "chewinggum": (50, 100),
    "fryum": (50, 100), "macaroni1": (100, 100), "macaroni2": (100, 100), "pcb1": (100, 100),
    "pcb2": (100, 100), "pcb3": (101, 100), "pcb4": (101, 100), "pipe_fryum": (50, 100),
}  # fmt: skip
BTAD_ = {"01": (21, 49), "02": (30, 200), "03": (400, 41)}
MVTEC_3D = {
    "bagel": (22, 88), "cable_gland": (21, 87), "carrot": (27, 132), "cookie": (28, 103),
    "dowel": (26, 104), "foam": (20, 80), "peach": (26, 106), "potato": (22, 92),
    "rope": (32, 69), "tire": (25, 87),
}  # fmt: skip
MPDD_ = {
    "bracket_black": (32, 47), "bracket_brown": (26, 51), "bracket_white": (30, 30),
    "connector": (30, 14), "metal_plate": (26, 71), "tubes": (32, 69),
}  # fmt: skip


def published(name: str) -> list[str]:
    with gzip.open(NAMES / f"{name}.txt.gz", "rt") as lines:
        return lines.read().split()


def draw(root: Path, files: list[str]) -> None:
    """Empty files: finding images must not open them."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folder, name = os.path.split(file)
        by_folder[folder].append(name)
    for folder, names in by_folder.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            os.close(os.open(root / folder / name, os.O_CREAT | os.O_WRONLY))


def masks_of(name: str, images: list[str]) -> list[str]:
    """Where the published masks of the defective images lie."""
    masks = []
    for image in map(PurePosixPath, images):
        if name == "visa":
            if "Anomaly" in image.parts:
                masks.append(str(image).replace("Images", "Masks").replace(".JPG", ".png"))
        elif image.parts[1] == "test" and name == "mvtec3d":
            masks.append(str(image).replace("/rgb/", "/gt/"))  # Normal images have one, too.
        elif image.parts[1] == "test" and image.parts[2] not in ("good", "ok"):
            folder = f"{image.parts[0]}/ground_truth/{image.parts[2]}"
            suffix = "bmp" if name == "btad" and image.parts[0] == "03" else "png"
            masks.append(f"{folder}/{image.stem}{'' if name == 'btad' else '_mask'}.{suffix}")
    return masks


@pytest.mark.parametrize(
    ("name", "kind", "numbers", "total"),
    [
        ("mvtec", MVTec, MVTEC, 1725),
        ("visa", VisA, VISA, 2162),
        ("btad", BTAD, BTAD_, 741),
        ("mvtec3d", MVTec3D, MVTEC_3D, 1197),
        ("mpdd", MPDD, MPDD_, 458),
    ],
)
def test_every_class_has_its_published_number_of_test_images(
    name: str,
    kind: type[AnomalyDataModule],
    numbers: dict[str, tuple[int, int]],
    total: int,
    tmp_path: Path,
) -> None:
    files = published(name)
    if name == "visa":
        with gzip.open(NAMES / "visa_1cls.csv.gz", "rt") as lines:
            split = lines.read()
        (tmp_path / "split_csv").mkdir()
        (tmp_path / "split_csv" / "1cls.csv").write_text(split)
        # The list of names holds only part of the training images.
        rows = [line.split(",") for line in split.splitlines()[1:]]
        files = sorted({*files, *(row[3] for row in rows)})
    draw(tmp_path, files + masks_of(name, files))
    data = kind(tmp_path)
    data.setup()
    found = {c: tuple(len(data.select("test", k, c)) for k in (0, 1)) for c in data.classes}
    assert found == numbers
    assert sum(map(sum, found.values())) == total
    assert len({s.mask for s in data.select("test", 1)}) == len(data.select("test", 1))
    assert all(s.mask is None for s in data.select("test", 0))


def test_realiad_names_tell_their_view() -> None:
    views = Counter(view_of(Path(file)) for file in published("realiad_ng"))
    assert views == {"C1": 8058, "C2": 8299, "C3": 8690, "C4": 9140, "C5": 8088}


def test_realiad_names_tell_their_piece() -> None:
    """By the pattern that the set's own evaluation names in its README."""
    key = re.compile(r"([a-zA-Z][a-zA-Z0-9_]*_[0-9]{4}_[A-Z][A-Z_]*[A-Z])_C[0-9]_")
    for file in published("realiad_ng"):
        assert piece_of(Path(file)) == key.search(file)[1]


def test_realiad_names_tell_class_and_defect(tmp_path: Path) -> None:
    """Every fourth image, a mask beside every second of these; the folders say the rest."""
    files = published("realiad_ng")[::4]
    masks = [file.replace(".jpg", ".png") for file in files[::2]]
    normal = [f"{c}/OK/S0001/{c}_0001_OK_C1_20231023111538.jpg" for c in RealIAD.known_classes]
    draw(tmp_path / "realiad_512", files + masks + normal)
    data = RealIAD(tmp_path)
    data.setup()
    assert len(data.classes) == 30
    assert len(data.select("train", 0)) == 30
    assert Counter(s.class_name for s in data.select("test")) == Counter(
        file.split("/")[0] for file in files
    )
    assert Counter((s.class_name, s.defect) for s in data.select("test", 1)) == Counter(
        (file.split("/")[0], file.split("/")[2]) for file in files[::2]
    )
