"""The methods that a config names, each to be made for every cell."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any, cast

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from adpt.errors import UserError
from adpt.evaluation.cells import MethodSpec
from adpt.methods import try_making
from adpt.methods.trained import TrainedMethod
from adpt.residual import KINDS
from adpt.windows import WindowOptions

log = logging.getLogger(__name__)


def method_specs(
    configs: DictConfig, unified: bool | None = None, windows: WindowOptions | None = None
) -> dict[str, MethodSpec]:
    """Each method of the group, to be made for each kind of features.

    A method's `pretrained` options replace the others on pretrained features. Each is made once
    here, so that none refuses its options after images are encoded.

    Args:
        configs: The group, name to options.
        unified: True for one model of all classes, False for one for each; None for each method's
            own way.
        windows: What images are seen through.

    Raises:
        UserError: The group is empty, or a method refuses its options.
    """
    specs = {}
    for name, config in configs.items():
        if config is None:
            continue
        options = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        if "_target_" not in options:
            log.warning("method.%s has options but is not chosen: left out", name)
            continue
        for_pretrained = options.pop("pretrained", {})
        by_kind = dict.fromkeys(KINDS, options) | {"pretrained": options | for_pretrained}
        target = get_class(options["_target_"])
        each = windows if windows and windows.divides(target) else None
        make = {
            kind: instantiate({**each.method(chosen), "_partial_": True} if each else chosen)
            for kind, chosen in by_kind.items()
        }
        made = [try_making(f"method.{name!s}", make[kind]) for kind in ("own", "pretrained")]
        own_way = issubclass(target, TrainedMethod) and target.unified
        chosen_way = own_way if unified is None else unified
        differs = {"unified": chosen_way} if chosen_way != own_way else {}
        specs[str(name)] = MethodSpec(
            make,
            by_kind,
            {kind: _changed(target, chosen) | differs for kind, chosen in by_kind.items()},
            chosen_way,
            issubclass(target, TrainedMethod) and target.uses_defects,
            issubclass(target, TrainedMethod) and target.uses_labels,
            made[0].uses_class_token,
        )
    if not specs:
        raise UserError("method is empty: choose some, such as method=[padim,patchcore].")
    return specs


def without_labels(specs: Mapping[str, MethodSpec]) -> dict[str, MethodSpec]:
    """The methods less those that learn from labelled images, which are named.

    Raises:
        UserError: None is left.
    """
    left_out = [name for name, spec in specs.items() if spec.uses_labels]
    advice = (
        f"{', '.join(left_out)}: learned from labelled images of other products, which train_data"
        " names, such as train_data=visa"
    )
    if left_out and len(left_out) == len(specs):
        raise UserError(f"{advice}.")
    if left_out:
        log.warning("%s: left out", advice)
    return {name: spec for name, spec in specs.items() if name not in left_out}


def _changed(target: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from a method's defaults; size and seed are told elsewhere."""
    defaults = inspect.signature(target).parameters
    return {
        name: value
        for name, value in options.items()
        if name in defaults
        and name not in ("image_size", "seed")
        and value != defaults[name].default
    }
