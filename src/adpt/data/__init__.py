"""Data modules: where images come in."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adpt.data.sample import Batch, Sample

if TYPE_CHECKING:
    from adpt.data.base import AnomalyDataModule
    from adpt.data.btad import BTAD
    from adpt.data.dagm import DAGM
    from adpt.data.drawn import DrawnDownstream, DrawnForPretraining
    from adpt.data.folder import Folder
    from adpt.data.kolektorsdd2 import KolektorSDD2
    from adpt.data.mixed import Mixed
    from adpt.data.mpdd import MPDD
    from adpt.data.mvtec import MVTec
    from adpt.data.mvtec3d import MVTec3D
    from adpt.data.mvtec_ad2 import MVTecAD2
    from adpt.data.mvtec_loco import MVTecLOCO
    from adpt.data.realiad import RealIAD
    from adpt.data.visa import VisA

__all__ = [
    "BTAD",
    "DAGM",
    "MPDD",
    "AnomalyDataModule",
    "Batch",
    "DrawnDownstream",
    "DrawnForPretraining",
    "Folder",
    "KolektorSDD2",
    "MVTec",
    "MVTec3D",
    "MVTecAD2",
    "MVTecLOCO",
    "Mixed",
    "RealIAD",
    "Sample",
    "VisA",
]

_HOMES = {
    "AnomalyDataModule": "base",
    "DrawnDownstream": "drawn",
    "DrawnForPretraining": "drawn",
    "MVTecAD2": "mvtec_ad2",
    "MVTecLOCO": "mvtec_loco",
}


def __getattr__(name: str) -> Any:
    """A data module, imported once it is asked for: reading pictures alone takes no Lightning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, name.lower())}"), name)
