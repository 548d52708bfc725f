"""The projector: residual features in, features that tell normal from anomalous out."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adpt.projector.blocks import block_of

OPTIONS = ("channels", "num_heads", "num_references", "scale_by_references", "block",
           "on_residuals")  # fmt: skip
"""Arguments, and attributes, of `FeatureProjector` by which a file's projector is built again."""


class FeatureProjector(nn.Module):
    """Map residual features to features made for telling normal from anomalous.

    Each level has a block of its own; the levels share nothing. Section 3 of ADPretrain
    (arXiv 2511.05245), as the authors' code has it.

    Args:
        channels: One width a level.
        num_heads: Attention heads, of blocks that have any; a level whose width this does not
            divide uses the largest divisor below it.
        num_references: Learnable references a level, of the block "attention".
        start_at_identity: Start with the last linear map of attention and of MLP at zero, so that
            training sets out from the residual features themselves. The authors start at random.
        scale_by_references: Expect with every call the scale of the images' own references, see
            `residual.reference_scale`, so that products of every contrast look alike. Not done by
            the authors.
        block: Projects a level: "attention" to learnable references, as published, or for
            comparison "cross_attention" to the images' references, "self_attention" within an
            image, and "mlp" and "linear" token by token; see `projector_blocks`. Or the dotted name
            of a class of one's own, made of a width, `num_heads` and `num_references`.
        on_residuals: Made for residual features; False for a backbone's own features.

    Attributes:
        scale: (L,) that levels are divided by where a call gives no other scale; 1 in published
            weights.

    Raises:
        ValueError: `num_heads` or `num_references` is below 1, there is no such block, or own
            features are to be divided by the scale of residual ones.
    """

    scale: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        num_heads: int = 16,
        num_references: int = 2048,
        *,
        start_at_identity: bool = False,
        scale_by_references: bool = False,
        block: str = "attention",
        on_residuals: bool = True,
    ) -> None:
        super().__init__()
        if num_heads < 1 or num_references < 1:
            raise ValueError(
                f"num_heads is {num_heads} and num_references {num_references}: both must be at"
                " least 1."
            )
        make_block = block_of(block)
        if scale_by_references and not on_residuals:
            raise ValueError(
                "scale_by_references is the length of residual features, and without residuals"
                " there are none: set it to false, and model.scale_levels to true if levels need"
                " a scale."
            )
        self.channels, self.num_heads = tuple(channels), num_heads
        self.num_references = num_references
        self.scale_by_references = scale_by_references
        self.block, self.on_residuals = block, on_residuals
        blocks = [make_block(width, num_heads, num_references) for width in channels]
        self.blocks = nn.ModuleList(blocks)
        self.needs_references = any(one.needs_references for one in blocks)
        self.register_buffer("scale", torch.ones(len(self.channels)))
        if start_at_identity:
            for one in blocks:
                one.start_at_identity()

    @property
    def options(self) -> dict[str, Any]:
        """`OPTIONS` by name."""
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all tensors and what is done with them, in hex.

        Equal fingerprints mean equal features, whatever else their files say.
        """
        digest = hashlib.sha256(json.dumps(list(self.options.values())).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            flat = value.detach().cpu().contiguous().view(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def forward(
        self,
        levels: Sequence[Tensor],
        scale: Tensor | None = None,
        references: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Project the residual features (own features, without `on_residuals`) of some images.

        Args:
            levels: One (B, C, H, W) tensor a level.
            scale: (L,) or (B, L) to divide the levels by; None for the projector's own.
            references: Own features of the images' references, where `needs_references`: a tensor
                a level, (R, C) for all images or (B, R, C) for each its own, as
                `residual_features` takes them. They are divided like the levels.

        Returns:
            Tensors of the levels' shapes.

        Raises:
            ValueError: The levels' number or widths are not those of the projector, or it needs
                references and gets none.
        """
        widths = tuple(level.shape[1] for level in levels)
        if widths != self.channels:
            raise ValueError(
                f"The projector was made for levels of widths {self.channels}, not {widths}: use"
                " it with the backbone and levels that it was trained with."
            )
        if self.needs_references and references is None:
            raise ValueError(
                f"A projector of block {self.block!r} needs the images' references: give"
                " `references`."
            )
        scales = (self.scale if scale is None else scale).unbind(-1)
        projected = []
        for number, (block, level, divisor) in enumerate(
            zip(self.blocks, levels, scales, strict=True)
        ):
            tokens = (level / divisor.reshape(-1, 1, 1, 1)).flatten(2).transpose(1, 2)
            if self.scale.dtype == torch.bfloat16:  # Then all weights are, and take nothing else.
                tokens = tokens.bfloat16()
            if self.needs_references and references is not None:
                output = block(tokens, _divided(references[number], divisor).to(tokens.dtype))
            else:
                output = block(tokens)
            if output.shape != tokens.shape:
                raise ValueError(
                    f"The block {self.block!r} makes {tuple(output.shape)} of tokens"
                    f" {tuple(tokens.shape)}: it must give tokens of the same shape."
                )
            projected.append(output.transpose(1, 2).unflatten(2, level.shape[2:]))
        return projected


def _divided(references: Tensor, divisor: Tensor) -> Tensor:
    """References (R, C) or (B, R, C) by one number, or by one for each image: then (B, R, C)."""
    return references / (divisor.reshape(-1, 1, 1) if divisor.ndim else divisor)
