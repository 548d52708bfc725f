"""Data modules: where images come in."""

from adpt.data.base import AnomalyDataModule
from adpt.data.folder import Folder
from adpt.data.mixed import Mixed
from adpt.data.mvtec import MVTec
from adpt.data.sample import Batch, Sample

__all__ = ["AnomalyDataModule", "Batch", "Folder", "MVTec", "Mixed", "Sample"]
