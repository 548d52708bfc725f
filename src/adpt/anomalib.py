"""In anomalib: its Patchcore on residual and pretrained features.

anomalib is the extra `adpt[anomalib]`; nothing else here imports it or this module. It changes timm
in its whole process (once it builds a vision transformer of its own), so keep evaluations by
`adpt.evaluate` to processes without it.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode, Resize

from adpt.backbones import Backbone, build_backbone
from adpt.errors import UserError
from adpt.projector import FeatureProjector
from adpt.residual import reference_scale, residual_features
from adpt.weights import load_matching_projector

try:
    from anomalib.data.utils import read_image
    from anomalib.models import Patchcore
    from anomalib.pre_processing import PreProcessor
except ImportError as error:
    raise UserError("adpt.anomalib needs anomalib: pip install 'adpt[anomalib]'.") from error

_SAME = 1e-3
"""Largest difference of a pixel, of [0, 1], between a reference and itself, read in a batch."""


class ResidualExtractor(nn.Module):
    """In place of anomalib's `TimmFeatureExtractor`: images in, feature maps by name out.

    The same features as in `adpt.evaluate`: a reference is compared with the other references.

    Args:
        backbone: Frozen.
        projector: Made for it, or None for residual features as they are.
        references: (k, 3, H, W) normal images in [0, 1], k at least 2.
        num_levels: How many levels to give, counted from the last; all if there are fewer.

    Attributes:
        layers: Names of the feature maps, shallow to deep.
        out_dims: Their widths.

    Raises:
        ValueError: There are fewer than two references, or no level is asked for.
    """

    images: Tensor
    scale: Tensor

    def __init__(
        self,
        backbone: Backbone,
        projector: FeatureProjector | None,
        references: Tensor,
        num_levels: int = 3,
    ) -> None:
        super().__init__()
        if len(references) < 2 or num_levels < 1:
            raise ValueError(
                f"{len(references)} references and {num_levels} levels: at least 2 references and"
                " 1 level are needed."
            )
        self.backbone, self.projector, self.num_levels = backbone, projector, num_levels
        levels = [level.flatten(2).transpose(1, 2) for level in backbone(references)]
        self.register_buffer("images", references)
        for number, level in enumerate(levels):
            self.register_buffer(f"references_{number}", level)
        ones = torch.ones(len(levels))
        by_references = projector is not None and projector.scale_by_references
        scale = reference_scale(levels) if by_references else getattr(projector, "scale", ones)
        self.register_buffer("scale", scale.clone())
        self.requires_grad_(False)
        numbers = range(len(levels))[-num_levels:]
        self.layers = [f"level{number}" for number in numbers]
        self.out_dims = [backbone.channels[number] for number in numbers]

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Residual features, projected where there is a projector.

        Args:
            images: (B, 3, H, W) in [0, 1], of the references' size.

        Returns:
            Layer name to (B, C, h, w).
        """
        levels = self.backbone(images)
        own = [self.get_buffer(f"references_{number}") for number in range(len(levels))]
        made = [torch.empty_like(level) for level in levels]
        same = (images[:, None] - self.images).abs().flatten(2).amax(2) < _SAME
        for left_out in same.unique(dim=0):
            rows = (same == left_out).all(1)
            kept = [level[~left_out].flatten(0, 1) for level in own]
            for level, values in zip(made, self._features(levels, rows, kept), strict=True):
                level[rows] = values
        return dict(zip(self.layers, made[-self.num_levels :], strict=True))

    def _features(
        self, levels: list[Tensor], rows: Tensor, references: list[Tensor]
    ) -> list[Tensor]:
        chosen = [level[rows] for level in levels]
        if self.projector is None or self.projector.on_residuals:
            chosen = residual_features(chosen, references)
        if self.projector is None:
            return chosen
        needed = references if self.projector.needs_references else None
        found: list[Tensor] = self.projector(chosen, self.scale, references=needed)
        return found


class ResidualPatchcore(Patchcore):
    """anomalib's Patchcore on residual features, projected where a projector is given.

    Pooling, embedding, coreset and scores are anomalib's: levels are averaged over 3 × 3 patches,
    brought to the first one's grid and put side by side. `adpt.evaluate` embeds as the paper's
    code does, so figures are near each other and not the same.

    Args:
        references: Paths of k normal images, at least 2; 8 training images in the paper.
        backbone: As of `build_backbone`.
        projector: A file or a name on the hub, such as `hub:adpretrain/clip_l`; None for residual
            features as they are.
        weights: A local file of the backbone's weights.
        levels: Which of the backbone's; None for its own.
        image_size: Side of the square images in pixels.
        num_levels: How many levels the memory bank is made of, counted from the last.
        coreset_sampling_ratio: As of `Patchcore`.
        num_neighbors: As of `Patchcore`; 1 for the highest patch score, as in the paper's code.

    Raises:
        UserError: Backbone, projector or references cannot be had, or do not fit each other, or
            `references` is no list of at least two paths.
    """

    def __init__(
        self,
        references: Sequence[str | Path],
        backbone: str = "clip_l",
        *,
        projector: str | None = None,
        weights: str | None = None,
        levels: Sequence[int] | None = None,
        image_size: int = 224,
        num_levels: int = 3,
        coreset_sampling_ratio: float = 0.1,
        num_neighbors: int = 1,
    ) -> None:
        if isinstance(references, str | Path):
            raise UserError(
                f"references={str(references)!r} is one path: give a list of paths of normal"
                " images, such as sorted(Path('photos/good').glob('*.png'))[:8]."
            )
        if len(references) < 2:
            raise UserError(
                f"references has {len(references)} images: give at least 2 normal images, such as 8"
                " of the training images."
            )
        resize = Resize((image_size, image_size), InterpolationMode.BICUBIC, antialias=True)
        # Its own extractor is replaced below: one that is small and takes no download.
        super().__init__(
            backbone="resnet18",
            layers=("layer1",),
            pre_trained=False,
            coreset_sampling_ratio=coreset_sampling_ratio,
            num_neighbors=num_neighbors,
            pre_processor=PreProcessor(transform=resize),
        )
        network = build_backbone(backbone, levels=levels, weights=weights, image_size=image_size)
        made_for = load_matching_projector(projector, network, torch.device("cpu"))
        images = torch.stack([resize(_read(path)) for path in references])
        extractor = ResidualExtractor(network, made_for, images, num_levels)
        self.model.backbone, self.model.layers = backbone, extractor.layers
        self.model.feature_extractor = extractor.eval()


def _read(path: str | Path) -> Tensor:
    try:
        image: Tensor = read_image(path, as_tensor=True)
    except OSError as error:
        raise UserError(f"The reference {path} cannot be read: {error}") from error
    return image
