"""Backbone, references, projector and method in one: images in, scores out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adpt.backbones import Backbone
from adpt.evaluation import Features, FixedReferences
from adpt.inspection.interest import blank
from adpt.methods import Method, Scores
from adpt.methods.base import checked
from adpt.methods.feature_sets import InMemory
from adpt.projector import FeatureProjector
from adpt.residual import Kind


class Scorer(nn.Module):
    """All that makes scores of images.

    Args:
        backbone: The frozen backbone.
        method: Fitted.
        kind: The features that `method` was fitted on.
        references: What residual features are taken against; None for own features.
        projector: For the kind "pretrained".
        interest: (H, W) bool: outside of it nothing of an image is looked at, and maps are 0. None
            for the whole image.
    """

    interest: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        method: Method,
        kind: Kind,
        references: FixedReferences | None = None,
        projector: FeatureProjector | None = None,
        interest: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.method, self.projector = backbone, method, projector
        self.kind, self.references = kind, references
        self.register_buffer("interest", interest)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return self.backbone.mean.device

    def convert(self, levels: list[Tensor]) -> list[Tensor]:
        """The features that the method sees, of the backbone's own.

        Args:
            levels: One (B, C, h, w) float32 tensor a level, on `device`.
        """
        if self.references is None:
            return levels
        # An image to be scored has no name: none of the references is ever taken for itself.
        return self.references.convert_others(levels, self.projector)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Scores:
        """Scores of images.

        Args:
            images: (B, 3, H, W) uint8, of the size that the method was made for.

        Returns:
            Maps (B, H, W) and image scores (B,), float32, on `device`.
        """
        seen = blank(images.to(self.device), self.interest)
        encode = self.backbone.encoding(self.method.uses_class_token)
        levels = [level.float() for level in encode(seen)]
        scores = checked(self.method, self.method.score(self.convert(levels)))
        maps = scores.maps.float()
        return Scores(maps if self.interest is None else maps * self.interest, scores.image.float())


def references_from(levels: Sequence[Tensor], device: torch.device) -> FixedReferences:
    """References that were saved.

    Args:
        levels: One (k, T, C) tensor a level, as `FixedReferences.levels`.
        device: Where to compute.
    """
    names = [f"reference {number}" for number in range(len(levels[0]))]
    grids = [level.transpose(1, 2).unsqueeze(-1) for level in levels]
    return FixedReferences(features_in_memory(grids, names), names, device)


def features_in_memory(levels: Sequence[Tensor], paths: Sequence[str]) -> Features:
    """Features of normal images, without masks.

    Args:
        levels: One (n, C, h, w) tensor a level.
        paths: The n images.
    """
    return Features(
        InMemory(list(levels)),
        masks=torch.zeros(len(paths), 0, 0, dtype=torch.bool),
        labels=torch.zeros(len(paths), dtype=torch.int64),
        paths=list(paths),
        skipped=[],
    )
