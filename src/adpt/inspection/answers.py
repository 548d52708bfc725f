"""Scoring images for `adpt.predict`: files or a stream in, tables and an exit code out."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from adpt.errors import DataError
from adpt.inspection.command import STREAM
from adpt.inspection.inputs import UnreadImage
from adpt.inspection.inspection import Inspection
from adpt.inspection.inspector import Inspector
from adpt.inspection.outputs import Outputs
from adpt.inspection.regions import RegionRule
from adpt.inspection.rows import Row
from adpt.running.interruption import Stopped
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


def score(inspector: Inspector, paths: list[Path], config: DictConfig) -> int:
    """Score images, write what was found, and give the exit code.

    Raises:
        Stopped: By a signal; what was found until then is written.
    """
    stream = config.images == STREAM
    rule = RegionRule(**config.regions, mm_per_pixel=config.mm_per_pixel)
    found = (
        from_stdin(inspector, rule)
        if stream
        else inspector.predict_many(paths, config.batch_size, rule)
    )
    folder = expanded(config.output_dir)
    outputs = Outputs(
        folder, inspector, config.heatmaps, config.heatmap_format, config.heatmap_size
    )
    code, stopped = None, None
    with outputs, StepBar("Scoring", shown=not stream, logged=True) as progress:
        try:
            for number, result in enumerate(found, start=1):
                row = outputs.add(result)
                if stream:
                    answer(row)
                progress("images", number, len(paths))
        except Stopped as signalled:
            # A stream has no end of its own: what was answered until now is the whole.
            stopped, outputs.whole = signalled, stream
        except BrokenPipeError:
            code = BROKEN_PIPE
    outputs.write_page(config.title if outputs.whole else f"{config.title} (interrupted)")
    log.info(summary(outputs.rows))
    if table := worst(outputs.rows):
        log.info("Worst first:\n%s", table)
    log.info("Scores, heatmaps and the page index.html lie in %s", folder.absolute())
    if stopped is not None:
        raise Stopped(stopped.signum, "" if stream else NOT_WHOLE)
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


def from_stdin(inspector: Inspector, rule: RegionRule) -> Iterator[Inspection | UnreadImage]:
    """Score the image of each line of standard input, before the next line is read.

    Raises:
        DataError: There is no line.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files are bytes: one that is no text must not end the stream.
        sys.stdin.reconfigure(
            encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
        )
    empty = True
    for line in sys.stdin:
        if path := line.rstrip("\r\n"):
            empty = False
            yield from inspector.predict_many([path], regions=rule)
    if empty:
        raise DataError("images=-: standard input is empty. Give one path of an image a line.")


def worst(rows: Sequence[Row]) -> str:
    """The anomalous images as lines, the highest score first, `NAMED` of them; "" for none."""
    found = sorted((row for row in rows if row.anomalous), key=lambda row: -(row.score or 0))
    lines = [
        f"{row.score:>12.5g}  {row.path}" + f" ({row.sizes})" * bool(row.regions)
        for row in found[:NAMED]
    ]
    if len(found) > NAMED:
        lines.append(f"              and {len(found) - NAMED} more: see scores.csv")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """How many images were what."""
    anomalous = sum(row.anomalous is True for row in rows)
    unread = sum(bool(row.error) for row in rows)
    text = f"{anomalous} of {len(rows)} images are anomalous"
    return text + (f", and {unread} could not be read" if unread else "")
