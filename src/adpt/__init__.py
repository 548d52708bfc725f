"""Pretrained features for industrial anomaly detection.

`adpt.Inspector` inspects images of one's own product; everything else is in the modules below.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adpt.inspection import Inspection, Inspector

__version__ = "0.1.0"
__all__ = ["Inspection", "Inspector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import adpt` alone must not wait for PyTorch."""
    if name in ("Inspection", "Inspector"):
        from importlib import import_module

        return getattr(import_module("adpt.inspection"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
