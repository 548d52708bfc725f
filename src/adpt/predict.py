"""Fit on good images, find anomalous ones: `python -m adpt.predict fit=good images=new`.

Exit code: 0 all images are normal, 1 a mistake in the command or its files, 2 at least one image is
anomalous, 3 none is, but some could not be read; with `exit_code=false` 0 instead of 2 and 3.
A stream whose reader leaves ends with 141.
"""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adpt.cli.entry import check_backbone, command, entry
from adpt.cli.keys import own_folders
from adpt.cli.sweeps import failure_file, job_number
from adpt.cli.values import check_texts
from adpt.errors import DataError, UserError
from adpt.running.paths import conf_dir, expanded
from adpt.running.sources import targets

if TYPE_CHECKING:
    from adpt.inspection import Inspection, Inspector, UnreadImage
    from adpt.inspection.rows import Row

log = logging.getLogger(__name__)

STREAM = "-"
ANOMALOUS, UNREAD, BROKEN_PIPE = 2, 3, 141
"""Exit codes; the last as a shell has it."""

OF_THRESHOLD = ("quantile", "false_positive_rate", "defects", "threshold")
"""What decides over the threshold, one of them."""

OF_FITTING = (
    "backbone",
    "method",
    "projector",
    "features",
    "shots",
    "seed",
    "data",
    "quantile",
    "false_positive_rate",
    "folds",
    "good_test",
    "defects",
)
"""What is settled once an inspector is fitted."""


@entry
def predict(config: DictConfig) -> None:
    """Fit, or load, an inspector, and score images; exit as the module says."""
    check(config)
    paths = listed(config.images)
    inspector = fit(config) if config.fit is not None else load(config)
    if config.threshold is not None:
        inspector = inspector.with_threshold(config.threshold)
    log.info("Anomalous above %.6g: %s", inspector.threshold, inspector.threshold_origin)
    if config.fit is not None and config.inspector is not None:
        inspector.save(config.inspector, config.backbone_weights)
        log.info("Inspector written: %s", config.inspector)
    if config.export is not None:
        inspector.export_onnx(config.export)
        log.info("ONNX graph written: %s", config.export)
    if config.images is None:
        return
    code = score(inspector, paths, config)
    # A sweep's other jobs go on.
    if code and config.exit_code and failure_file() is None:
        sys.exit(code)


def check(config: DictConfig) -> None:
    """Refuse what cannot be meant, before anything is loaded.

    Raises:
        UserError: Nothing to fit, to save or to score, an unknown choice, or options of fitting for
            an inspector that was fitted before.
    """
    from adpt.data.images import reading_rules

    check_texts(config, "device", "title", "output_dir")
    check_texts(config, "fit", "inspector", "export", "images", "projector", null=True)
    check_texts(config, "features", "good_test", "defects", null=True)
    if config.fit is None and config.inspector is None:
        raise UserError(
            "Give fit=<folder of good images>, or inspector=<file> of one that was fitted before;"
            " see `python -m adpt.predict --help`."
        )
    saved = config.fit is not None and config.inspector is not None
    if config.images is None and config.export is None and not saved:
        raise UserError(
            "There is nothing to do: give images=<folder> to score, or export=<file> for an ONNX"
            " graph" + (", or inspector=<file> to save it." if config.inspector is None else ".")
        )
    if config.export is not None:
        from adpt.inspection.onnx_file import require_onnx

        require_onnx()
    for key, accepted in (
        ("heatmaps", ("all", "anomalous", "none")),
        ("heatmap_format", ("jpg", "png")),
    ):
        if config[key] not in accepted:
            raise UserError(f"{key}={config[key]}: choose one of {', '.join(accepted)}.")
    for key in ("shots", "batch_size", "heatmap_size"):
        if config[key] is not None and (not isinstance(config[key], int) or config[key] < 1):
            raise UserError(f"{key}={config[key]} must be a whole number, at least 1.")
    for key in ("shots", "batch_size"):
        if config[key] is None:
            raise UserError(f"{key} must be a whole number, at least 1.")
    reading_rules(config.data.bit_depth, False, config.max_megapixels)
    if config.fit is not None:
        from adpt.inspection.threshold import check_options

        check_options(config.quantile, config.false_positive_rate, config.folds)
    if config.fit is None:
        check_settled(config)
    elif not isinstance(config.backbone_weights, bool):
        raise UserError(
            f"backbone_weights={config.backbone_weights}: with fit= it is true or false, whether"
            " the inspector's file holds the weights. Weights to fit with are backbone.weights."
        )
    check_threshold(config)
    check_files(config)
    device_of(config)
    if config.fit is not None:
        check_backbone(config.backbone)


def check_threshold(config: DictConfig) -> None:
    """Refuse a threshold that is none, and several ways to find one.

    Raises:
        UserError: It is no number, or more than one way is given.
    """
    from adpt.inspection.threshold import check_value

    if config.threshold is not None:
        check_value(config.threshold)
    # The quantile always has a value: only one that was asked for contradicts the others.
    given = [key for key in OF_THRESHOLD if config[key] is not None]
    given = [key for key in given if key != "quantile" or key in overridden()]
    if config.fit is not None and len(given) > 1:
        raise UserError(
            f"{' and '.join(given)} contradict each other: each is a way to find the threshold."
            " Give one of them."
        )


def check_files(config: DictConfig) -> None:
    """Refuse files that cannot be written.

    Raises:
        UserError: One of them cannot.
    """
    from adpt.running.files import require_writable

    written = {"export": config.export}
    if config.fit is not None:
        written["inspector"] = config.inspector
    if config.images is not None:
        written["output_dir"] = f"{config.output_dir}/scores.csv"
    for key, path in written.items():
        if path is not None:
            require_writable(expanded(path), key)


def overridden() -> list[str]:
    """The keys that the command line sets; none outside of a Hydra run."""
    if not HydraConfig.initialized():
        return []
    return [word.partition("=")[0].lstrip("+~") for word in HydraConfig.get().overrides.task]


def check_settled(config: DictConfig) -> None:
    """Refuse options of fitting for an inspector that was fitted before.

    Raises:
        UserError: There are some.
    """
    wrong = [key for key in overridden() if key.partition(".")[0] in OF_FITTING]
    # One's own has to be named, or the file could have any code run.
    named = [key for key in ("backbone", "method") if own_targets(config[key])]
    wrong = [key for key in wrong if key not in named]
    if "backbone_weights" in overridden() and not isinstance(config.backbone_weights, str):
        wrong.append("backbone_weights")
    if wrong:
        raise settled(config, wrong)


def settled(config: DictConfig, wrong: list[str]) -> UserError:
    """What to say of options that were decided when an inspector was fitted."""
    moved = any(key.startswith("backbone") for key in wrong)
    return UserError(
        f"{', '.join(wrong)}: settled when {config.inspector} was fitted. Fit again with"
        " fit=<folder of good images>, or leave it out."
        + (" A backbone whose weights lie elsewhere now: backbone_weights=<file>." * moved)
    )


def fit(config: DictConfig) -> "Inspector":
    """Fit as the config says."""
    from adpt.inspection import Inspector
    from adpt.running.progress import StepBar

    backbone = cast(dict[str, Any], OmegaConf.to_container(config.backbone, resolve=True))
    method, options = chosen_method(config)
    data = cast(dict[str, Any], OmegaConf.to_container(config.data, resolve=True))
    with StepBar("Fitting") as progress:
        return Inspector.fit(
            config.fit,
            method=method,
            method_options=options,
            backbone=backbone,
            projector=config.projector,
            features=config.features,
            shots=config.shots,
            **data,
            max_megapixels=config.max_megapixels,
            defects=config.defects,
            good_test=config.good_test,
            quantile=config.quantile,
            false_positive_rate=config.false_positive_rate,
            folds=config.folds,
            seed=config.seed,
            batch_size=config.batch_size,
            device=device_of(config),
            progress=progress,
        )


def chosen_method(config: DictConfig) -> tuple[str, dict[str, Any]]:
    """Name and options of the only method that is chosen.

    Raises:
        UserError: There are several, or none.
    """
    chosen = {}
    for part, node in config.method.items():
        if node is not None and "_target_" not in node:
            log.warning("method.%s has options but is not chosen: left out", part)
        elif node is not None:
            chosen[str(part)] = node
    if len(chosen) != 1:
        raise UserError(
            f"An inspector has one method, not {len(chosen)}: method=patchcore, for instance."
        )
    ((name, node),) = chosen.items()
    options = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    return name, {key: value for key, value in options.items() if key != "_partial_"}


def load(config: DictConfig) -> "Inspector":
    """The inspector that was fitted before.

    Raises:
        UserError: The command names a backbone or a method of the user's own, and another one was
            fitted.
    """
    from adpt.inspection import Inspector

    weights = config.backbone_weights
    elsewhere = weights if isinstance(weights, str) else None
    loaded = Inspector.load(
        config.inspector, device_of(config), elsewhere, config.max_megapixels, trusted(config)
    )
    other = [
        f"{group}={HydraConfig.get().runtime.choices[group]}"
        for group in ("backbone", "method")
        if group in overridden()
        and not set(own_targets(config[group])) & set(loaded.settings.targets)
    ]
    if other:
        raise settled(config, other)
    return loaded


def device_of(config: DictConfig) -> str:
    """The device to compute on, as this job of a sweep has it.

    Raises:
        UserError: It is not here.
    """
    from adpt.running.devices import choose_device

    return str(choose_device(config.device, job_number()))


def trusted(config: DictConfig) -> set[str]:
    """What the user has named, in the command or in files of a folder of configuration."""
    named = {*own_targets(config.backbone), *own_targets(config.method)}
    for folder in own_folders():
        for group in ("backbone", "method"):
            for file in (folder / group).rglob("*.yaml"):
                named |= set(own_targets(OmegaConf.load(file)))
    return named


def own_targets(config: Any) -> list[str]:
    """What a part of the config names that is not adpt's."""
    found = targets(OmegaConf.to_container(config, resolve=False))
    return [target for target in found if not str(target).startswith("adpt.")]


def listed(images: str | None) -> list[Path]:
    """The files to score, found before time is spent on fitting; none for a stream."""
    from adpt.inspection import find_images

    return [] if images in (None, STREAM) else find_images(images, "images")


def score(inspector: "Inspector", paths: list[Path], config: DictConfig) -> int:
    """Score images, write what was found, and give the exit code."""
    from adpt.inspection.outputs import Outputs
    from adpt.running.progress import StepBar

    stream = config.images == STREAM
    found = from_stdin(inspector) if stream else inspector.predict_many(paths, config.batch_size)
    folder = expanded(config.output_dir)
    outputs = Outputs(
        folder, inspector, config.heatmaps, config.heatmap_format, config.heatmap_size
    )
    interrupted = unheard = False
    with outputs, StepBar("Scoring", shown=not stream) as progress:
        try:
            for number, result in enumerate(found, start=1):
                row = outputs.add(result)
                if stream:
                    answer(row)
                progress("images", number, len(paths))
        except KeyboardInterrupt:
            interrupted = True
        except BrokenPipeError:
            unheard = True
    outputs.write_page(config.title)
    log.info(summary(outputs.rows))
    log.info("Scores, heatmaps and the page index.html lie in %s", folder.absolute())
    if interrupted:
        log.warning("Interrupted: the images after these were not scored")
        return 130
    if unheard:
        return BROKEN_PIPE
    if any(row.anomalous for row in outputs.rows):
        return ANOMALOUS
    return UNREAD if any(row.error for row in outputs.rows) else 0


def answer(row: "Row") -> None:
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


def from_stdin(inspector: "Inspector") -> "Iterator[Inspection | UnreadImage]":
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
            yield from inspector.predict_many([path])
    if empty:
        raise DataError("images=-: standard input is empty. Give one path of an image a line.")


def summary(rows: "list[Row]") -> str:
    """How many images were what."""
    anomalous = sum(row.anomalous is True for row in rows)
    unread = sum(bool(row.error) for row in rows)
    text = f"{anomalous} of {len(rows)} images are anomalous"
    return text + (f", and {unread} could not be read" if unread else "")


@command
@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="predict")
def main(config: DictConfig) -> None:
    """Fit on good images, find anomalous ones."""
    predict(config)


if __name__ == "__main__":
    main()
