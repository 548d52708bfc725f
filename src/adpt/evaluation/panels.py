"""Pictures of scored images: image, mask and one score map a kind of features, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from adpt.data import AnomalyDataModule, Sample
from adpt.errors import UserError
from adpt.metrics import average_precision
from adpt.page.plots import heatmap, outline, panel, save_png, score_range
from adpt.residual import Kind
from adpt.results.details import Details
from adpt.running.names import printable, shortened

WORST, BEST = "worst_", "best_"
"""Beginnings of the names of panels: missed defects and false alarms, and defects well found."""


def class_folder(class_name: str) -> str:
    """The name of a class's folder of pictures: one folder, also for `<set>/<class>`."""
    return shortened(class_name.replace("/", "_"))


def write_panels(
    folder: Path, data: AnomalyDataModule, details: Mapping[Kind, Details], count: int
) -> list[Path]:
    """Write a PNG for each of a few test images of a class, and remove those of an earlier run.

    Beside `count` evenly spread images these are the worst and the best cases, a quarter of `count`
    of each: see `choose_cases`, by the last kind of features.

    Args:
        folder: Where to write; a file is called `<defect or "normal">_<image>.png`, with `worst_`
            or `best_` in front.
        data: Reads images and masks again, as they were scored.
        details: Kind of features, as a rule own, residual, pretrained, to its details. All of the
            same images; each kind has its own colour scale, taken over all the class's maps.
        count: How many evenly spread images; 0 writes nothing.

    Returns:
        The files.

    Raises:
        BadImageError: An image or a mask cannot be read any more.
        UserError: An image is not in the data set any more, or a file cannot be written.
        ValueError: The details are of different images.
    """
    if count < 1 or not details:
        return []
    last = list(details.values())[-1]
    worst, best = choose_cases(last, masks_of(data, last), max(1, count // 4))
    chosen = dict.fromkeys(worst, WORST) | dict.fromkeys(best, BEST)
    for index in choose_images(last.labels, count):
        chosen.setdefault(index, "")
    written = render_panels(folder, data, details, chosen)
    for path in folder.glob("*.png"):
        if path not in written:
            path.unlink()
    return written


def choose_images(labels: npt.ArrayLike, count: int) -> list[int]:
    """Which images to show: evenly spread ones, a quarter of them normal; always the same.

    Args:
        labels: (N,), 1 for anomalous.
        count: How many; fewer where there are not as many.
    """
    normal, anomalous = (np.flatnonzero(np.asarray(labels) == label).tolist() for label in (0, 1))
    wanted = min(len(normal), max(count // 4, count - len(anomalous)))
    chosen = _spread(anomalous, count - wanted) + _spread(normal, wanted)
    return sorted(chosen)


def choose_cases(
    details: Details, masks: Mapping[int, Tensor], count: int
) -> tuple[list[int], list[int]]:
    """The worst and the best cases.

    Anomalous images are ranked by image score and by the average precision of their own pixels; the
    two ranks are added, so that a defect must be noticed and be located to count as found. Where no
    image has a mask, the image score alone counts.

    Args:
        details: Scores and maps of the test images.
        masks: (H, W) bool of each anomalous image; one whose defect lies outside is left out.
        count: How many of each sort: missed, false alarm, well found.

    Returns:
        Worst: the anomalous images lowest in rank and the normal images of the highest score. Best:
        the anomalous images highest in rank. The first of each is the extreme one.
    """
    if masks:
        anomalous = [index for index, mask in masks.items() if mask.any()]
        located = [_precision(details.maps[index], masks[index]) for index in anomalous]
    else:
        anomalous = np.flatnonzero(details.labels).tolist()
        located = [0.0] * len(anomalous)
    ranks = rankdata(details.image_scores[anomalous]) + rankdata(located)
    ascending = [anomalous[place] for place in np.argsort(ranks, kind="stable")]
    missed = ascending[:count]
    found = [index for index in ascending[::-1] if index not in missed][:count]
    normal = np.flatnonzero(details.labels == 0)
    alarms = normal[np.argsort(-details.image_scores[normal], kind="stable")][:count]
    return missed + alarms.tolist(), found


def masks_of(data: AnomalyDataModule, details: Details) -> dict[int, Tensor]:
    """Read the masks, (H, W) bool, of all anomalous images that have one, and no image."""
    samples = _samples(data, details)
    marked = [index for index, sample in enumerate(samples) if sample.label and sample.mask]
    masks = data.read_masks([samples[index] for index in marked])
    return {i: mask for i, mask in zip(marked, masks, strict=True) if mask is not None}


def render_panels(
    folder: Path,
    data: AnomalyDataModule,
    details: Mapping[Kind, Details],
    chosen: Mapping[int, str],
) -> list[Path]:
    """Write a PNG for each of some images; without a picture of the mask where masks are missing.

    Arguments, files and errors as in `write_panels`, but for:

    Args:
        folder: Where to write.
        data: Reads images and masks.
        details: Of each kind of features.
        chosen: Indices of the images, and what the names of their files begin with.
    """
    kinds = list(details.values())
    if any(not np.array_equal(kind.paths, kinds[0].paths) for kind in kinds):
        raise ValueError(f"the details of {', '.join(details)} are of different images")
    samples = _samples(data, kinds[0])
    marked = not any(sample.unmarked for sample in samples)
    ranges = {name: score_range(kind.maps) for name, kind in details.items()}
    written: list[Path] = []
    for index, prefix in chosen.items():
        sample = samples[index]
        batch = data.read([sample])
        image = batch.image[0].permute(1, 2, 0).numpy()
        pictures = [("image", image)]
        if marked:
            pictures.append(("mask", outline(image, batch.mask[0].numpy())))
        for name, kind in details.items():
            scores = _enlarged(kind.maps[index], image.shape[:2])
            pictures.append((name, heatmap(image, scores, *ranges[name])))
        defect = "normal" if sample.defect == "good" else sample.defect
        stem = shortened(f"{defect}_{printable(sample.image.stem)}")
        path = folder / f"{prefix}{stem}.png"
        if path in written:  # Images in different folders may have one name.
            path = folder / f"{prefix}{stem}_{index}.png"
        save_png(panel(pictures), path)
        written.append(path)
    return written


def _samples(data: AnomalyDataModule, details: Details) -> list[Sample]:
    sample_of = {str(sample.image): sample for sample in data.samples}
    for path in details.paths:
        if str(path) not in sample_of:
            raise UserError(
                f"{path} was scored and is not among the images of {data.root} any more. Put it"
                " back, or evaluate again in a new folder."
            )
    return [sample_of[str(path)] for path in details.paths]


def _precision(score_map: npt.NDArray[np.floating], mask: Tensor) -> float:
    # At the map's size; a defect of few pixels keeps at least one.
    small = F.adaptive_max_pool2d(mask[None].float(), score_map.shape)[0]
    return average_precision(score_map.astype(np.float32), small.numpy())


def _enlarged(
    score_map: npt.NDArray[np.floating], size: tuple[int, ...]
) -> npt.NDArray[np.floating]:
    small = torch.from_numpy(score_map.astype(np.float32))[None, None]
    return F.interpolate(small, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _spread(indices: list[int], count: int) -> list[int]:
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return [indices[int(place)] for place in places]
