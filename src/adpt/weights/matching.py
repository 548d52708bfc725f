"""A projector for the backbone at hand."""

import torch

from adpt.backbones import Backbone
from adpt.errors import WeightsError
from adpt.projector import FeatureProjector
from adpt.weights.projector_file import ProjectorFile


def load_matching_projector(
    wanted: "ProjectorFile | str | None", backbone: "Backbone", device: "torch.device"
) -> "FeatureProjector | None":
    """A projector that was trained on this backbone, or None where none is wanted.

    Args:
        wanted: Its file as `find_projector` gives it, or what that takes: a path or a name.
        backbone: The backbone.
        device: Where the projector goes.

    Raises:
        WeightsError: The file is not usable, or was made for another backbone or other levels.
    """
    from adpt.weights import ProjectorFile, find_projector, load_projector

    if wanted is None:
        return None
    file = wanted if isinstance(wanted, ProjectorFile) else find_projector(wanted)
    projector, metadata = load_projector(file.path), file.metadata
    trained_on = metadata.get("backbone", backbone.name)
    if projector.channels != backbone.channels or trained_on != backbone.name:
        raise WeightsError(
            f"{file.name} was trained on levels of widths {projector.channels} of backbone"
            f" '{trained_on}', but backbone '{backbone.name}' gives {backbone.channels}. Choose the"
            " backbone and levels that the projector was trained with."
        )
    known = metadata.get("backbone_sha256")
    if known is not None and not backbone.is_known_as(known):
        raise WeightsError(
            f"{file.name} was trained on other levels, options or weights of backbone"
            f" '{backbone.name}' than these. Give the backbone.levels, backbone.weights and other"
            " options that it was trained with."
        )
    return projector.to(device)
