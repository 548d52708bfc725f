"""Backbones from timm: any of its models with spatial features."""

import difflib
import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor, nn

from adpt.backbones.base import Backbone, Levels
from adpt.backbones.loading import cut, find_weights, load_levels
from adpt.backbones.positions import resize_position_embedding
from adpt.backbones.recipes import Recipe
from adpt.backbones.weights_file import StateDict, check_file, read_state_dict
from adpt.errors import UserError, WeightsError
from adpt.windows import Size, pair

_log = logging.getLogger(__name__)


class TimmBackbone(Backbone):
    """Outputs of blocks or stages of a timm model, without final norm and register tokens.

    Name, channels, mean and std are as of `Backbone`.

    Args:
        network: A timm model that ends at the last level used.
        indices: What `forward_intermediates` calls the levels.
        image_size: The only height and width it takes; None if it takes any.
    """

    options_show = True

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        indices: Sequence[int],
        channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        image_size: Size | None = None,
    ) -> None:
        super().__init__(name, channels, mean, std)
        self.network = network
        self.indices = tuple(indices)
        self.image_size = image_size
        self.freeze()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's weights, by timm's names."""
        return dict(self.network.state_dict())

    def levels(self, images: Tensor) -> Levels:
        """Raw outputs of the chosen blocks or stages, see `Backbone.levels`.

        Raises:
            UserError: The images have another size than the network was built for.
        """
        self._check_size(images)
        return _intermediates(self.network, images, list(self.indices))

    @property
    def has_class_token(self) -> bool:
        """True of most vision transformers; see `Backbone.has_class_token`."""
        taken = inspect.signature(cast(Any, self.network).forward_intermediates).parameters
        return (
            "return_prefix_tokens" in taken and getattr(self.network, "cls_token", None) is not None
        )

    def levels_and_token(self, images: Tensor) -> Levels:
        """Likewise, with the last level's class token as it came out of the same block."""
        self._check_size(images)
        found: Any = _intermediates(
            self.network, images, list(self.indices), return_prefix_tokens=True
        )
        # The class token stands before those of distillation and registers.
        token = found[-1][1][:, 0, :, None, None]
        return [*(level for level, _ in found), token]

    def _check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if self.image_size is not None and self.image_size != (height, width):
            raise UserError(
                f"{self.name} was built for images of {_times(self.image_size)} px and "
                f"got {height}×{width}: set backbone.image_size and data.image_size to one value."
            )


def build_timm(
    name: str,
    recipe: Recipe,
    *,
    weights: Path | None = None,
    pretrained: bool = True,
    image_size: int | Size = 224,
) -> TimmBackbone:
    """Build a backbone from timm; everything that can be wrong is checked before any weights load.

    Args:
        name: What the backbone is called in configs and records.
        recipe: The model and how to use it.
        weights: Local weights file; None for the Hugging Face hub or its cache.
        pretrained: False for random weights, which only tests want.
        image_size: Side of the images in pixels, or (height, width).

    Raises:
        UserError: timm has no such model, or it gives no such levels or takes no such images.
        WeightsError: The weights cannot be had, read or used.
    """
    plan = check_timm(recipe, weights=weights, pretrained=pretrained, image_size=image_size)
    defaults, arguments, levels, shapes = plan

    state: StateDict | None = None
    source = ""
    if pretrained:
        file = weights or find_weights(name, defaults)
        state, source = read_state_dict(file), str(file)
        if weights is not None and recipe.convert:
            state = recipe.convert(state)

    network = _create(recipe.model, arguments)
    if state is None:
        indices = cut(network, levels)
    else:
        offset = _position_offset(recipe)
        if offset is not None and "pos_embed" in state:
            height, width = shapes[0][-2:]
            resized = resize_position_embedding(state["pos_embed"], (height, width), offset)
            state["pos_embed"] = resized
        indices = load_levels(network, levels, state, source)
    return TimmBackbone(
        name,
        network,
        indices=indices,
        channels=[shape[1] for shape in shapes],
        mean=recipe.mean or defaults.mean,
        std=recipe.std or defaults.std,
        image_size=pair(image_size, "backbone.image_size") if defaults.fixed_input_size else None,
    )


class Plan(NamedTuple):
    """All that is settled of a backbone before its network is built.

    Attributes:
        defaults: What timm records of the weights.
        arguments: Of `timm.create_model`.
        levels: Blocks or stages.
        shapes: (1, C, h, w) of each level.
    """

    defaults: Any
    arguments: dict[str, Any]
    levels: list[int]
    shapes: list[torch.Size]


def check_timm(
    recipe: Recipe, *, weights: Path | None, pretrained: bool, image_size: int | Size
) -> Plan:
    """Check everything that can be known without the network and without its weights.

    Arguments as of `build_timm`.

    Raises:
        UserError: timm has no such model, or it gives no such levels or takes no such images.
        WeightsError: The file is missing or no file of weights, or one is needed.
    """
    defaults = _defaults(recipe.model)
    if pretrained and weights is None and recipe.where is not None:
        raise WeightsError(recipe.where)
    arguments = dict(recipe.model_args)
    size = pair(image_size, "backbone.image_size")
    if defaults.fixed_input_size and tuple(defaults.input_size[-2:]) != size:
        arguments["img_size"] = size

    levels, shapes = _sketch(recipe.model, tuple(arguments.items()), recipe.levels, size)
    if weights is not None:
        check_file(weights)
    return Plan(defaults, arguments, levels, shapes)


@lru_cache
def _sketch(
    model: str,
    arguments: tuple[tuple[str, Any], ...],
    levels: int | tuple[int, ...],
    image_size: Size,
) -> tuple[list[int], list[torch.Size]]:
    """The levels of a network without weights, and their shapes."""
    with torch.device("meta"):
        sketch = _create(model, dict(arguments))
    chosen = _choose_levels(sketch, model, levels, image_size)
    return chosen, _shapes(sketch, model, chosen, image_size)


def _position_offset(recipe: Recipe) -> float | None:
    # DINOv2's models with registers are resized with antialiasing and no offset, as timm does it.
    plain_dinov2 = "_dinov2" in recipe.model and "_reg" not in recipe.model
    return 0.1 if plain_dinov2 else recipe.position_offset


def _defaults(model: str) -> Any:
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=4, cutoff=0.5)
        raise UserError(
            f"backbone.name={model} is neither a preset nor a model of timm {timm.__version__}"
            + (f"; close are {', '.join(close)}" if close else "")
            + ". `timm.list_models()` lists all of them."
        )
    known = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise UserError(
            f"backbone.name={model}: timm {timm.__version__} has no weights '{tag}' for "
            f"{architecture}, but {', '.join(known) or 'none at all'}."
        )
    defaults = get_pretrained_cfg(model) or PretrainedCfg()
    if any("natively QuickGELU" in n for n in defaults.notes or ()):
        _warn_of_gelu(model)
    return defaults


@lru_cache
def _warn_of_gelu(model: str) -> None:
    right = model.replace("_clip_", "_clip_quickgelu_")
    if "quickgelu" not in model and timm.is_model(right.partition(".")[0]):
        _log.warning(
            "The weights of %s were trained with QuickGELU and give other features with the GELU "
            "of this model: use %s.",
            model,
            right,
        )


def _create(model: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(model, pretrained=False, **arguments).eval()
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise UserError(f"timm cannot build {model} with {given}: {error}") from error
    if not hasattr(network, "forward_intermediates") or not getattr(network, "feature_info", None):
        raise UserError(
            f"{model} has no spatial features that timm can give. Take a model whose class has "
            "`forward_intermediates`: ViT, Swin, ConvNeXt, ResNet, EfficientNet and most others."
        )
    return network


def _choose_levels(
    network: Any, model: str, levels: int | tuple[int, ...], image_size: Size
) -> list[int]:
    info = list(network.feature_info)
    strides = {int(level["reduction"]) for level in info}
    plain_transformer = len(strides) == 1
    if plain_transformer:
        _check_divisible(model, image_size, strides.pop())
    if not isinstance(levels, int):
        chosen = list(levels)
        if not chosen or chosen != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= len(info):
            raise UserError(
                f"backbone.levels={chosen}: {model} has levels 0 to {len(info) - 1}; name "
                "some of them in rising order, or say how many."
            )
        return chosen
    if not 1 <= levels <= len(info):
        raise UserError(f"backbone.levels={levels}: {model} has 1 to {len(info)} levels.")
    if plain_transformer:
        return [(i + 1) * len(info) // levels - 1 for i in range(levels)]
    return list(range(len(info) - levels, len(info)))


def _check_divisible(model: str, image_size: Size, patch: int) -> None:
    for side in image_size:
        below = side // patch * patch
        works = [size for size in (below, below + patch) if size]
        if side % patch:
            raise UserError(
                f"{model} cuts images into patches of {patch} px, so a side of {side} in image_size"
                f" does not work: the nearest that do are {' and '.join(map(str, works))}."
            )


def _times(image_size: Size) -> str:
    return f"{image_size[0]}×{image_size[1]}"


def _intermediates(network: Any, images: Tensor, indices: list[int], **more: bool) -> Levels:
    return list(
        network.forward_intermediates(
            images,
            indices=indices,
            norm=False,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
            **more,
        )
    )


@torch.no_grad()
def _shapes(sketch: nn.Module, model: str, levels: list[int], image_size: Size) -> list[torch.Size]:
    images = torch.zeros(1, 3, *image_size, device="meta")
    try:
        shapes = [level.shape for level in _intermediates(sketch, images, levels)]
    # Each architecture has its own way to say that a size does not suit it.
    except Exception as error:
        stride = max(int(level["reduction"]) for level in sketch.feature_info)  # type: ignore[union-attr]
        raise UserError(
            f"{model} takes no images of {_times(image_size)} px ({error}). Sizes that are "
            f"multiples of {stride}, such as its own, usually work."
        ) from error
    if len(shapes) != len(levels) or any(len(shape) != 4 for shape in shapes):
        raise UserError(
            f"{model} gives no spatial features (B, C, H, W) at levels {levels} but {shapes}."
        )
    return shapes
