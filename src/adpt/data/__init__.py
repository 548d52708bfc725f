"""Data modules: where images come in."""

from adpt.data.base import AnomalyDataModule
from adpt.data.btad import BTAD
from adpt.data.drawn import DrawnDownstream, DrawnForPretraining
from adpt.data.folder import Folder
from adpt.data.mixed import Mixed
from adpt.data.mpdd import MPDD
from adpt.data.mvtec import MVTec
from adpt.data.mvtec3d import MVTec3D
from adpt.data.realiad import RealIAD
from adpt.data.sample import Batch, Sample
from adpt.data.visa import VisA

__all__ = [
    "BTAD",
    "MPDD",
    "AnomalyDataModule",
    "Batch",
    "DrawnDownstream",
    "DrawnForPretraining",
    "Folder",
    "MVTec",
    "MVTec3D",
    "Mixed",
    "RealIAD",
    "Sample",
    "VisA",
]
