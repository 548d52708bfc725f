"""Write a rendered set to disk: whole or not at all, and only once."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adpt.data.procedural.catalogue import DOWNSTREAM_PRODUCTS, PRETRAINING_PRODUCTS, Product
from adpt.data.procedural.layouts import Job, mvtec_jobs, realiad_jobs, realiad_splits
from adpt.data.procedural.photographs import photograph, photograph_defect
from adpt.errors import DataError

STAMP = "procedural.json"
"""File in a rendered set's root that says how it was rendered."""

GENERATOR_VERSION = 1
"""Goes up with every change that changes a picture; a set of another version is not reused."""

_LEAST_SIZE = 32


def render_pretraining_set(
    root: str | Path,
    *,
    seed: int = 0,
    size: int = 256,
    normal: int = 40,
    anomalous: int = 30,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the products for pretraining in Real-IAD's layout; a set that is there is kept.

    Args:
        root: Folder for the set; it appears once every picture is rendered.
        seed: Another seed gives other pictures.
        size: Pixels per side.
        normal: Sound specimens per product, each seen from every view.
        anomalous: Defective specimens per product, each seen from every view; in a few views the
            defect is out of sight, so that the image has no mask.
        workers: Threads that render; None takes one per processor. Changes no picture.
        progress: Show a progress bar.

    Raises:
        DataError: A number is out of range, or `root` holds something else than this set.
    """
    numbers = {"size": size, "normal": normal, "anomalous": anomalous}
    stamp = _stamp("pretraining", PRETRAINING_PRODUCTS, seed, numbers)
    jobs = list(realiad_jobs(PRETRAINING_PRODUCTS, seed, normal, anomalous))
    return _render_set(Path(root), jobs, realiad_splits(jobs), stamp, workers, progress)


def render_downstream_set(
    root: str | Path,
    *,
    seed: int = 0,
    size: int = 256,
    train: int = 40,
    normal: int = 20,
    anomalous: int = 40,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the products for downstream methods in MVTec's layout, as the set for pretraining.

    `train`, `normal` and `anomalous` are numbers of images per product, the latter over all its
    defects in turn.
    """
    numbers = {"size": size, "train": train, "normal": normal, "anomalous": anomalous}
    stamp = _stamp("downstream", DOWNSTREAM_PRODUCTS, seed, numbers)
    jobs = list(mvtec_jobs(DOWNSTREAM_PRODUCTS, seed, train, normal, anomalous))
    return _render_set(Path(root), jobs, {}, stamp, workers, progress)


def _stamp(
    kind: str, products: dict[str, Product], seed: int, numbers: dict[str, int]
) -> dict[str, Any]:
    """All that decides over a set's files; two sets with the same stamp are the same."""
    wrong = [f"{name}={value}" for name, value in numbers.items() if value < 1]
    if seed < 0:
        wrong.append(f"seed={seed}")
    if wrong:
        raise DataError(
            f"Cannot render a set with {', '.join(wrong)}: use a positive whole number."
        )
    if numbers["size"] < _LEAST_SIZE:
        raise DataError(
            f"Cannot render at size={numbers['size']}: use {_LEAST_SIZE} pixels or more."
        )
    return {
        "set": kind,
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        **numbers,
        "products": list(products),
    }


def _render_set(
    root: Path,
    jobs: Sequence[Job],
    splits: dict[str, dict[str, Any]],
    stamp: dict[str, Any],
    workers: int | None,
    progress: bool,
) -> Path:
    """Render into a folder beside `root` and move it into place once it is whole."""
    if workers is not None and workers < 1:
        raise DataError(f"Cannot render with workers={workers}: use 1 or more, or None.")
    if _is_rendered(root, stamp):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f".{root.name}-unfinished-{secrets.token_hex(6)}")
    unfinished.mkdir()
    try:
        for folder in {str(Path(p).parent) for job in jobs for p in (job.image, job.mask) if p}:
            (unfinished / folder).mkdir(parents=True, exist_ok=True)
        title = f"Rendering {len(stamp['products'])} products for {stamp['set']} into {root}"
        _render_all(unfinished, jobs, stamp["size"], workers, title if progress else None)
        for path, content in splits.items():
            (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / path).write_text(json.dumps(content, indent=1))
        (unfinished / STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
        _move_into_place(unfinished, root, stamp)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _is_rendered(root: Path, stamp: dict[str, Any]) -> bool:
    """True if `root` holds this set; False if there is nothing yet, an error for anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "Name another folder, or remove this one to have the set rendered anew."
    try:
        found = json.loads((root / STAMP).read_text())
    except (OSError, ValueError):
        raise DataError(
            f"{root} holds something else than a rendered set (no readable {STAMP} in it). {advice}"
        ) from None
    if found != stamp:
        keys = sorted(stamp) if isinstance(found, dict) else []
        other = [
            f"{k}={found.get(k)} (wanted {stamp[k]})" for k in keys if found.get(k) != stamp[k]
        ]
        raise DataError(f"{root} holds another rendered set: {', '.join(other) or found}. {advice}")
    return True


def _move_into_place(unfinished: Path, root: Path, stamp: dict[str, Any]) -> None:
    """Rename; if another process was first with the same set, its set stays."""
    try:
        unfinished.replace(root)
    except OSError:
        if not _is_rendered(root, stamp):
            raise


def _render_all(
    folder: Path, jobs: Sequence[Job], size: int, workers: int | None, title: str | None
) -> None:
    """Render every picture; NumPy, SciPy and Pillow work outside Python's lock, so threads do."""
    render: Callable[[Job], None] = partial(_render_one, folder, size)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), disable=title is None) as bar,
        ThreadPoolExecutor(workers or _processors()) as pool,
    ):
        task = bar.add_task(title or "", total=len(jobs))
        try:
            for _ in pool.map(render, jobs):
                bar.advance(task)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _render_one(folder: Path, size: int, job: Job) -> None:
    """Render one picture and write its files."""
    product = {**PRETRAINING_PRODUCTS, **DOWNSTREAM_PRODUCTS}[job.product]
    if job.defect is None:
        picture = photograph(product, job.shot, size)
    else:
        _, picture, mask = photograph_defect(product, job.shot, size, job.defect)
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / str(job.mask))
    if job.image.endswith(".jpg"):
        Image.fromarray(picture).save(folder / job.image, quality=90)
    else:
        Image.fromarray(picture).save(folder / job.image, compress_level=1)
