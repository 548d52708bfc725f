"""Pretrained features for industrial anomaly detection.

`adpt.Inspector` inspects images of one's own product; everything else is in the modules below.
"""

from typing import TYPE_CHECKING, Any

from adpt.version import __version__

if TYPE_CHECKING:
    from adpt.inspection import Inspection, Inspector

__all__ = ["Inspection", "Inspector", "__version__"]

_FORMER = {
    "callbacks": "pretraining.callbacks",
    "checkpoints": "running.checkpoints",
    "downstream": "evaluation",
    "metrics_log": "pretraining.metrics_log",
    "references": "pretraining.reference_pool",
    "sweeps": "cli.sweeps",
}
"""Where the `_target_`s of config files lay, and lie."""


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import adpt` alone must not wait for PyTorch."""
    from importlib import import_module

    if name in ("Inspection", "Inspector"):
        return getattr(import_module("adpt.inspection"), name)
    if name in _FORMER:
        return import_module(f"adpt.{_FORMER[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
