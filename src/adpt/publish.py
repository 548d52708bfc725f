"""Publish a projector with its model card: `python -m adpt.publish projector=... repo=me/mine`."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from adpt.cli.entry import command, entry
from adpt.cli.values import names
from adpt.errors import UserError

if TYPE_CHECKING:
    from adpt.weights import ProjectorFile

log = logging.getLogger(__name__)


@entry
def publish(config: DictConfig) -> None:
    """Write the projector and a card made from recorded results, and upload both."""
    from adpt.results import check_metrics, read_records
    from adpt.results.card import model_card, records_of
    from adpt.running.whole_files import replacing, sha256
    from adpt.weights import find_projector, load_projector, save_projector
    from adpt.weights.hub import OWN_FILE, upload
    from adpt.weights.places import without_places

    metrics = names(config.metrics) or []
    repo, folder = repository(config.repo), Path(config.folder)
    projector = find_projector(config.projector)
    check_own(projector)
    fingerprint = load_projector(projector.path).fingerprint
    records = records_of(read_records(Path(config.results)), projector.sha256, fingerprint)
    check_metrics(metrics, records)
    notes = without_places(projector.metadata)
    save_projector(load_projector(projector.path), folder / OWN_FILE, notes)
    digests = (sha256(folder / OWN_FILE), projector.sha256)
    card = model_card(repo, config.license, notes, digests, records, metrics)
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    log.info("The model card and the projector lie in %s", folder.absolute())
    if config.dry_run:
        return
    files = [folder / "README.md", folder / OWN_FILE]
    commit = upload(files, repo, config.private, f"Projector {projector.sha256[:8]}")
    log.info("Published: projector=hub:%s@%s", repo, commit)


def check_own(projector: "ProjectorFile") -> None:
    """Refuse weights of the authors, as they published them or converted.

    Raises:
        UserError: They are.
    """
    if projector.authors:
        raise UserError(
            f"{projector.name} is of the authors' publication, which has its place on the hub."
            " Publish a projector.safetensors that adpt.train wrote."
        )


def repository(name: str) -> str:
    """The name of a repository, `<owner>/<name>`.

    Raises:
        UserError: It is none.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"repo={name} names no repository: give repo=<owner>/<name>.")
    return name


@command("publish")
def main(config: DictConfig) -> None:
    """Publish a projector."""
    publish(config)


if __name__ == "__main__":
    main()
