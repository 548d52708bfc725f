"""Names of metrics, in records and for readers."""

import re
from collections.abc import Iterable

METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "pixel_aupro": "AUPRO",
    "pixel_aupro_paper": "AUPRO (paper's variant)",
}
"""Those that are always measured: the name in records, and how readers know it."""

_FURTHER = {
    "image_sample_auroc": "S-AUROC",
    "mad": "mAD",
    "pixel_aupimo": "AUPIMO",
    "pixel_aupro_full": "AUPRO to 1",
    "pixel_iou_max": "IoU-max",
    "pixel_seg_f1": "SegF1",
}

NEEDS = {
    "image_sample_auroc": (
        "it needs a set that tells normal and anomalous pieces, as realiad with"
        " data.split=realiad_jsons does"
    ),
    "mad": "one of the seven is not defined",
    "pixel_aupimo": "it needs so many pixels of normal test images that one is no rate above lower",
    "pixel_seg_f1": (
        "it needs images for validation, or a method that tells scores of left-out good images"
    ),
}
"""Needs of a further metric beside images of both labels and masks."""

SHOWN = ("image_auroc", "pixel_aupro")
"""The pair of metrics that the paper's tables show."""


def title(metric: str) -> str:
    """A metric as readers know it; one from elsewhere by its name in records, without underscores.

    Args:
        metric: Its name in records.
    """
    known = METRICS | _FURTHER
    if limited := re.fullmatch(r"pixel_aupro_(\d+)", metric):
        return f"AUPRO to 0.{limited[1]}"
    if limited := re.fullmatch(r"pixel_spro_(?:(\d+)|full)(?:_(\w+))?", metric):
        upto, kind = (f"0.{limited[1]}" if limited[1] else "1"), limited[2]
        return f"sPRO to {upto}{f', {kind}' if kind else ''}"
    if of_kind := re.fullmatch(r"image_auroc_(\w+)", metric):
        return f"image AUROC, {of_kind[1]}"
    return known.get(metric, metric.replace("_", " "))


def in_order(metrics: Iterable[str]) -> list[str]:
    """Names of metrics, each once: those of `METRICS` in their order, then the others."""
    found = dict.fromkeys(metrics)
    return [name for name in METRICS if name in found] + [n for n in found if n not in METRICS]


def recorded(results: Iterable[Iterable[str]]) -> list[str]:
    """The metrics that any of some results has, `in_order`."""
    return in_order(name for metrics in results for name in metrics)
