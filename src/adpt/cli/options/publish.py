"""Options of `python -m adpt.publish`."""

from adpt.cli.options.kinds import Names, Section
from adpt.cli.types import Text


class Publish(Section):
    """`python -m adpt.publish`."""

    projector: Text
    """a projector.safetensors that adpt.train wrote"""
    results: Text
    """folder with the .jsonl files that adpt.evaluate wrote with it"""
    repo: Text
    """<owner>/<name>; made if it isn't there"""
    license: Text
    """of the weights, as the hub names it, such as apache-2.0; mind that of the training images"""
    folder: Text
    """README.md and projector.safetensors go here"""
    dry_run: bool
    """true: write the folder, upload nothing"""
    private: bool
    """a new repository is visible to its owner alone; opened on the hub"""
    metrics: Names | None
    """what the card's tables show"""
