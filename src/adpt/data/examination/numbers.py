"""How many images the published sets have, and what of that is not here."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from adpt.data import (
    BTAD,
    MPDD,
    AnomalyDataModule,
    KolektorSDD2,
    MVTec,
    MVTec3D,
    MVTecAD2,
    MVTecLOCO,
    RealIAD,
    Sample,
    VisA,
)
from adpt.data.checks import files_of
from adpt.data.files import on_disk
from adpt.data.finding import Finding
from adpt.data.sample import Split

PARTS: tuple[tuple[Split, int], ...] = (
    ("train", 0), ("test", 0), ("test", 1), ("validation", 0)
)  # fmt: skip
# Normal training images, normal test images, anomalous test images of each class, and normal images
# for validation where a set has some. Sources: the sets' papers (Bergmann et al. 2019 and twice
# 2022, Zou et al. 2022, Mishra et al. 2021, Jezek et al. 2021, Božič et al. 2021, Heckler-Kram et
# al. 2025), whose totals these add up to; VisA's are those of its list 1cls.
NUMBERS: dict[type[AnomalyDataModule], dict[str, tuple[int, ...]]] = {
    MVTec: {
        "bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109),
        "carpet": (280, 28, 89), "grid": (264, 21, 57), "hazelnut": (391, 40, 70),
        "leather": (245, 32, 92), "metal_nut": (220, 22, 93), "pill": (267, 26, 141),
        "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
        "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119),
    },
    VisA: {
        "candle": (900, 100, 100), "capsules": (542, 60, 100), "cashew": (450, 50, 100),
        "chewinggum": (453, 50, 100), "fryum": (450, 50, 100), "macaroni1": (900, 100, 100),
        "macaroni2": (900, 100, 100), "pcb1": (904, 100, 100), "pcb2": (901, 100, 100),
        "pcb3": (905, 101, 100), "pcb4": (904, 101, 100), "pipe_fryum": (450, 50, 100),
    },
    BTAD: {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)},
    MVTec3D: {
        "bagel": (244, 22, 88), "cable_gland": (223, 21, 87), "carrot": (286, 27, 132),
        "cookie": (210, 28, 103), "dowel": (288, 26, 104), "foam": (236, 20, 80),
        "peach": (361, 26, 106), "potato": (300, 22, 92), "rope": (298, 32, 69),
        "tire": (210, 25, 87),
    },
    MPDD: {
        "bracket_black": (289, 32, 47), "bracket_brown": (185, 26, 51),
        "bracket_white": (110, 30, 30), "connector": (128, 30, 14), "metal_plate": (54, 26, 71),
        "tubes": (122, 32, 69),
    },
    MVTecAD2: {
        "can": (412, 72, 90, 46), "fabric": (387, 66, 90, 43), "fruit_jelly": (263, 20, 60, 37),
        "rice": (313, 42, 90, 35), "sheet_metal": (137, 24, 90, 19), "vial": (291, 35, 105, 41),
        "wallplugs": (293, 60, 90, 33), "walnuts": (432, 60, 90, 48),
    },
    MVTecLOCO: {
        "breakfast_box": (351, 102, 173, 62), "juice_bottle": (335, 94, 236, 54),
        "pushpins": (372, 138, 172, 69), "screw_bag": (360, 122, 219, 60),
        "splicing_connectors": (360, 119, 193, 60),
    },
    KolektorSDD2: {"kolektorsdd2": (2085, 894, 110)},
}  # fmt: skip
# Images in each of the two private parts of MVTec AD 2, as the benchmark's own checker counts them.
AD2_PRIVATE = {
    "can": 321, "fabric": 314, "fruit_jelly": 255, "rice": 277, "sheet_metal": 142, "vial": 276,
    "wallplugs": 232, "walnuts": 228,
}  # fmt: skip
# Wang et al. 2024: all normal and all anomalous images, and the cameras that see every product.
REALIAD_NORMAL, REALIAD_ANOMALOUS = 99_721, 51_329
REALIAD_VIEWS = ("C1", "C2", "C3", "C4", "C5")
ADVICE = "unpack the set anew, or say published=false if it was cut down on purpose."


def differences(data: AnomalyDataModule, samples: Sequence[Sample]) -> Iterator[Finding]:
    """Where classes, images or views differ in number from the published set.

    Sets without published numbers differ in nothing. The samples are those of all classes in use.
    """
    classes = {sample.class_name for sample in samples}
    if data.wanted_classes is None:
        for name in sorted(set(data.known_classes) - classes):
            yield Finding(
                "class missing", data.root, f"lacks images of the class '{name}': {ADVICE}", name
            )
    if isinstance(data, RealIAD):
        # The JSON splits leave out views, or move images from test to train.
        if data.known_classes and data.split is None:
            yield from _realiad(data, samples)
    elif not isinstance(data, VisA) or data.split_file.stem == "1cls":
        numbers = NUMBERS.get(type(data), {})
        if isinstance(data, MVTecAD2) and data.split == "private":
            numbers = {c: (n[0], 2 * AD2_PRIVATE[c], 0, n[3]) for c, n in numbers.items()}
        found = Counter((s.class_name, s.split, s.label) for s in samples)
        for name in sorted(classes & set(numbers)):
            for (split, label), published in zip(PARTS, numbers[name], strict=False):
                here = found[name, split, label]
                if here != published:
                    what = f"{'anomalous' if label else 'normal'} {split} images"
                    yield Finding(
                        "count",
                        data.part_folder(split)
                        if isinstance(data, KolektorSDD2)
                        else data.class_folder(name),
                        f"has {here} {what}, and {published} are published: {ADVICE}",
                        name,
                    )


def read_spare_lists(
    data: AnomalyDataModule, class_name: str, published: bool
) -> Iterator[Finding]:
    """Read the lists of a class that are not in use, as Real-IAD has them, for faults.

    The set collects what it finds in them; files that are missing are told if `published`.
    """
    if not isinstance(data, RealIAD):
        return
    for file in data.spare_lists(class_name):
        files = set(files_of(data.read_split(class_name, file)))
        if published and (missing := sorted(files - on_disk(files).keys())):
            count = f"lists {len(missing)} files that are not there, such as {missing[0]}"
            yield Finding("missing file", file, f"{count}: {ADVICE}", class_name)


def _realiad(data: RealIAD, samples: Sequence[Sample]) -> Iterator[Finding]:
    views = defaultdict(list)
    for sample in samples:
        views[sample.image.parent, sample.class_name].append(sample.view or "?")
    for (folder, name), seen in views.items():
        if sorted(seen) != list(REALIAD_VIEWS):
            yield Finding(
                "views",
                folder,
                f"has the views {', '.join(sorted(seen))}, and each of C1 to C5 once is published:"
                f" {ADVICE}",
                name,
            )
    if {sample.class_name for sample in samples} != set(data.known_classes):
        return
    labels = Counter(sample.label for sample in samples)
    for label, published in enumerate((REALIAD_NORMAL, REALIAD_ANOMALOUS)):
        if labels[label] != published:
            what = "anomalous" if label else "normal"
            yield Finding(
                "count",
                data.images,
                f"has {labels[label]} {what} images, and {published} are published: {ADVICE}",
            )
