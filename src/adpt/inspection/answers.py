"""Scoring images for `adpt.predict`: files or a stream in, tables and an exit code out."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from adpt.errors import DataError
from adpt.inspection.drift import DriftRule, Drifts
from adpt.inspection.inputs import UnreadImage
from adpt.inspection.inspection import Inspection
from adpt.inspection.outputs import Outputs
from adpt.inspection.page import ranked
from adpt.inspection.products import Products
from adpt.inspection.regions import RegionRule
from adpt.inspection.rows import Row
from adpt.running.interruption import Stopped, stopped_behind
from adpt.running.paths import expanded
from adpt.running.progress import StepBar

log = logging.getLogger(__name__)

ANOMALOUS, UNREAD, BROKEN_PIPE = 2, 3, 141
"""Exit codes; the last as a shell has it."""

NOT_WHOLE = (
    "The images after these were not scored: what was found lies in scores.partial.jsonl, and the"
    " tables of an earlier run are as they were."
)
NAMED = 10
"""Anomalous images that are named at the end, at most."""

Found = tuple[str, Inspection | UnreadImage]
"""A product, and an image of it."""


def score_and_write(
    products: Products, images: list[Path] | Iterator[str | Path], config: DictConfig
) -> int:
    """Score images, those of a stream one by one, write what was found, and give the exit code.

    Raises:
        Stopped: By a signal; what was found until then is written.
    """
    rule = RegionRule(**config.regions, mm_per_pixel=config.mm_per_pixel)
    side = 0 if config.heatmaps == "none" else config.heatmap_size
    if isinstance(images, list):
        endless, total = False, len(images)
        found = by_product(products, products.grouped(images), rule, config.batch_size, side)
    else:
        endless, total = True, 0
        products.load_all()
        found = one_by_one(products, images, rule, side)
    folder = expanded(config.output_dir)
    outputs = Outputs(
        folder, products.inspectors, config.heatmaps, config.heatmap_format, config.heatmap_size
    )
    code, stopped = None, None
    drifts = Drifts(DriftRule(**config.drift), products.inspectors, at_once=endless)
    with outputs, StepBar("Scoring", shown=not endless, logged=True) as progress:
        try:
            for number, (product, result) in enumerate(found, start=1):
                row = outputs.add(result, product, drifts.value(product, result))
                if endless:
                    answer(row)
                progress("images", number, total)
        except BrokenPipeError:
            code = BROKEN_PIPE
        except BaseException as error:
            stopped = stopped_behind(error)
            if stopped is None:
                raise
            # What has no end of its own: what was answered until now is the whole.
            outputs.whole = endless
    outputs.write_page(config.title if outputs.whole else f"{config.title} (interrupted)")
    log.info(counts_in_words(outputs.rows))
    if table := worst(outputs.rows):
        log.info("Worst first:\n%s", table)
    for notice in drifts.notices:
        log.warning(notice)
    log.info("Scores, heatmaps and the page index.html lie in %s", folder.absolute())
    if stopped is not None:
        raise Stopped(stopped.signum, "" if endless else NOT_WHOLE)
    if code is not None:
        return code
    if any(row.anomalous for row in outputs.rows):
        return ANOMALOUS
    return UNREAD if any(row.error for row in outputs.rows) else 0


def answer(row: Row) -> None:
    """Print a line of a stream.

    Raises:
        BrokenPipeError: Nobody reads them any more.
    """
    try:
        print(json.dumps(row.as_dict()), flush=True)
    except BrokenPipeError:
        # Python writes what is left once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def by_product(
    products: Products,
    groups: Mapping[str, list[Path]],
    rule: RegionRule,
    batch_size: int,
    copy_side: int | None,
) -> Iterator[Found]:
    """Score files, those of each product together, after all that they need was loaded."""
    inspectors = {product: products.inspector(product) for product in groups}

    def found() -> Iterator[Found]:
        for product, paths in groups.items():
            inspector = inspectors[product]
            for result in inspector.predict_many(paths, batch_size, rule, copy_side=copy_side):
                yield product, result

    return found()


def one_by_one(
    products: Products, images: Iterator[str | Path], rule: RegionRule, copy_side: int | None
) -> Iterator[Found]:
    """Score each image that comes, before the next is looked for."""
    for image in images:
        try:
            product = products.product_of(expanded(image))
        except DataError as error:
            yield "", UnreadImage(str(image), str(error))
            continue
        inspector = products.inspector(product)
        for result in inspector.predict_many([image], 1, rule, copy_side=copy_side):
            yield product, result


def worst(rows: Sequence[Row]) -> str:
    """The anomalous images as lines, the highest score first, `NAMED` of them; "" for none."""
    found = sorted(
        (row for row in rows if row.anomalous),
        key=lambda row: -ranked(row.score or 0, row.threshold),
    )
    lines = [
        f"{row.score:>12.5g}  {row.path}" + f" ({row.sizes})" * bool(row.regions)
        for row in found[:NAMED]
    ]
    if len(found) > NAMED:
        lines.append(f"              and {len(found) - NAMED} more: see scores.csv")
    return "\n".join(lines)


def counts_in_words(rows: Sequence[Row]) -> str:
    """How many images were what."""
    anomalous = sum(row.anomalous is True for row in rows)
    unread = sum(bool(row.error) for row in rows)
    text = f"{anomalous} of {len(rows)} images are anomalous"
    return text + (f", and {unread} could not be read" if unread else "")
