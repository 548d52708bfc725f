"""Projector and results as W&B artefacts, and which run used which."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from adpt.results import provenance
from adpt.running.whole_files import replacing, sha256
from adpt.tracking.logger import wandb_runs
from adpt.weights import ProjectorFile, projector_metadata

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

_OF_THE_FILE = ("backbone", "backbone_sha256", "levels", "epoch", "block", "channels")


def log_projector(loggers: Sequence[Logger], path: Path, config: DictConfig) -> None:
    """Log a projector as an artefact of type `model`, called `projector-<backbone>`.

    A note beside the file, `<name>.wandb.json`, tells later runs which artefact it is. It is not in
    the file itself: the same training would give another file every time.

    Args:
        loggers: Of the run that trained it; nothing is done where none is of W&B.
        path: The file; a trained backbone's weights lie beside it.
        config: The run's config.

    Raises:
        UserError: The note cannot be written.
    """
    import wandb

    for run in wandb_runs(loggers):
        described, origin, digest = projector_metadata(path), provenance(config), sha256(path)
        about = {key: described[key] for key in _OF_THE_FILE if key in described}
        name = _artifact_name("projector", described["backbone"])
        artifact = wandb.Artifact(
            name, "model", metadata={"sha256": digest, "file": about, "origin": origin}
        )
        artifact.add_file(str(path))
        if config.model.train_backbone:
            artifact.add_file(str(path.with_name("backbone.safetensors")))
        # The version is not known before the upload, and offline not at all; this name is.
        alias = f"run-{run.id}"
        run.log_artifact(artifact, aliases=[alias])
        place = [part for part in (run.entity, run.project) if part]
        note = {"artifact": "/".join([*place, f"{name}:{alias}"]), "sha256": digest}
        with replacing(_note(path)) as temporary:
            temporary.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def use_projector(loggers: Sequence[Logger], projector: ProjectorFile | None) -> None:
    """Tell W&B which artefact a run's projector is, where a run of W&B trained it.

    Offline W&B takes no such link: the artefact's name and the file's hash in the run's config
    must do.

    Args:
        loggers: Of the run that uses it; nothing is done where none is of W&B.
        projector: The projector, if any.
    """
    import wandb

    if projector is None:
        return
    note = _read_note(projector)
    for run in wandb_runs(loggers):
        run.config["projector_sha256"] = projector.sha256
        run.config["projector_artifact"] = note
        if note is None or run.offline:
            continue
        try:
            run.use_artifact(note, type="model")
        except (wandb.errors.Error, ValueError) as error:
            log.warning(
                "W&B does not have the artefact %s of the projector, so that this run is not"
                " linked to it (%s). Was the run that trained it sent (`wandb sync`)?",
                note,
                error,
            )


def log_results(
    run: "wandb.Run", name: str, files: Sequence[Path], metadata: Mapping[str, Any]
) -> None:
    """Log files as an artefact of type `results`.

    Args:
        run: The run that made them.
        name: Set and backbone, such as `visa-clip_l`.
        files: The files.
        metadata: What the results are of.
    """
    import wandb

    artifact = wandb.Artifact(_artifact_name("results", name), "results", metadata=dict(metadata))
    for file in files:
        artifact.add_file(str(file))
    run.log_artifact(artifact)


def _artifact_name(kind: str, name: str) -> str:
    return re.sub(r"[^\w.-]", "-", f"{kind}-{name}")


def _note(path: Path) -> Path:
    return path.with_suffix(".wandb.json")


def _read_note(projector: ProjectorFile) -> str | None:
    """The artefact's name; None without a note, and where it is of a file that was replaced."""
    try:
        note = json.loads(_note(projector.path).read_text(encoding="utf-8"))
        return str(note["artifact"]) if note["sha256"] == projector.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
