"""Which files a set consists of: Real-IAD's layout for pretraining, MVTec's for downstream."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from adpt.data.procedural.catalogue import Product
from adpt.data.procedural.photographs import Shot

DEFECT_CODES = {
    "dent": "AK",
    "bend": "BX",
    "abrasion": "CH",
    "scratch": "HS",
    "chip": "PS",
    "crack": "LW",
    "missing": "QS",
    "particle": "YW",
    "fibre": "XW",
    "stain": "ZW",
    "misprint": "YS",
}
"""Folder names under NG, in the manner of Real-IAD's two letters."""

_DAY_ONE = datetime(2026, 1, 5, 8)


@dataclass(frozen=True)
class Job:
    """One picture to render, and where its files go, relative to the set's root.

    Attributes:
        product: Name of the product.
        shot: All that decides over the picture.
        image: Path of the image file.
        defect: The defect to render; None for a sound specimen.
        mask: Path of the mask file; None without a visible defect.
    """

    product: str
    shot: Shot
    image: str
    defect: str | None = None
    mask: str | None = None


def realiad_jobs(
    products: dict[str, Product], seed: int, normal: int, anomalous: int
) -> Iterator[Job]:
    """Every picture of a pretraining set; a defect is out of sight in about every 18th view."""
    for number, (name, product) in enumerate(products.items()):
        for index in range(normal):
            for view in product.views:
                stem = f"{name}_{index + 1:04d}_OK_{view}_{_time(number, index, view)}"
                path = f"realiad_512/{name}/OK/S{index + 1:04d}/{stem}.jpg"
                yield Job(name, Shot(seed, name, view, "OK", index), path)
        views = list(product.views)
        for index in range(anomalous):
            turn, kind = divmod(index, len(product.defects))
            defect = product.defects[kind]
            code = DEFECT_CODES[defect]
            hidden = views[index // 6 % len(views)] if index % 6 == 4 else None
            for view in views:
                stem = f"{name}_{turn + 1:04d}_NG_{code}_{view}_{_time(number, 5000 + index, view)}"
                path = f"realiad_512/{name}/NG/{code}/S{turn + 1:04d}/{stem}"
                shot = Shot(seed, name, view, "NG", index)
                if view == hidden:
                    yield Job(name, shot, f"{path}.jpg")
                else:
                    yield Job(name, shot, f"{path}.jpg", defect, f"{path}.png")


def mvtec_jobs(
    products: dict[str, Product], seed: int, train: int, normal: int, anomalous: int
) -> Iterator[Job]:
    """Every picture of a downstream set."""
    for name, product in products.items():
        view = next(iter(product.views))
        for split, count in (("train", train), ("test", normal)):
            for index in range(count):
                shot = Shot(seed, name, view, split, index)
                yield Job(name, shot, f"{name}/{split}/good/{index:03d}.png")
        for index in range(anomalous):
            turn, kind = divmod(index, len(product.defects))
            defect = product.defects[kind]
            yield Job(
                name,
                Shot(seed, name, view, "defect", index),
                f"{name}/test/{defect}/{turn:03d}.png",
                defect,
                f"{name}/ground_truth/{defect}/{turn:03d}_mask.png",
            )


def realiad_splits(jobs: list[Job]) -> dict[str, dict[str, Any]]:
    """The benchmark's split files by path: three quarters of the OK specimens are for training."""
    splits: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(job.product for job in jobs):
        prefix = f"realiad_512/{name}/"
        own = [job for job in jobs if job.product == name]
        last = max((job.shot.index for job in own if job.shot.series == "OK"), default=0)
        parts: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
        for job in own:
            trained = job.shot.series == "OK" and 4 * job.shot.index < 3 * (last + 1)
            parts["train" if trained else "test"].append(
                {
                    "category": name,
                    "anomaly_class": DEFECT_CODES[job.defect] if job.defect else "OK",
                    "image_path": job.image.removeprefix(prefix),
                    "mask_path": job.mask.removeprefix(prefix) if job.mask else None,
                }
            )
        path = f"realiad_jsons/realiad_jsons/{name}.json"
        splits[path] = {"meta": {"normal_class": "OK", "prefix": f"{name}/"}, **parts}
    return splits


def _time(product: int, index: int, view: str) -> str:
    """The moment of the shot, as file names carry it; the same for the same picture."""
    moment = _DAY_ONE + timedelta(days=product, seconds=7 * index + int(view[1:]))
    return moment.strftime("%Y%m%d%H%M%S")
