"""Classes of a set to their features of each kind, as an experiment's setting has it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch

from adpt.backbones import Backbone
from adpt.data import AnomalyDataModule
from adpt.data.sample import Split
from adpt.evaluation.cells import Setting
from adpt.evaluation.class_data import ClassData, Pair, encode_class, features_of
from adpt.evaluation.feature_cache import FeatureCache
from adpt.projector import FeatureProjector
from adpt.residual import Kind
from adpt.running.progress import Progress
from adpt.running.sources import source_of
from adpt.weights import ProjectorFile


@dataclass(frozen=True)
class LoadedProjector:
    """A projector on the device that computes, and the file that it came from."""

    module: FeatureProjector
    file: ProjectorFile

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides over its features, the source of its own blocks included."""
        source = source_of(type(self.module.blocks[0]))
        if source is None:
            return self.module.fingerprint
        return hashlib.sha256(f"{self.module.fingerprint} {source}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Encodes the classes of a set.

    Args:
        data: The set, set up.
        backbone: On `device`.
        projector: Likewise; None where there is none.
        setting: Chooses references.
        device: Where to compute.
        cache: Keeps features on disk.
        only: As of `encode_class`.
        class_token: Likewise.
    """

    data: AnomalyDataModule
    backbone: Backbone
    projector: LoadedProjector | None
    setting: Setting
    device: torch.device
    cache: FeatureCache | None
    only: Split | None = None
    class_token: bool = False

    def encode(self, class_name: str, progress: Progress) -> ClassData:
        """A class's own features and its references."""
        return encode_class(
            self.data,
            class_name,
            self.backbone,
            shots=self.setting.shots,
            seed=self.setting.seed,
            device=self.device,
            progress=progress,
            **self.setting.of_references,
            cache=self.cache,
            only=self.only,
            class_token=self.class_token,
        )

    def features(self, encoded: ClassData, kind: Kind) -> Pair:
        """A class's training and test features of a kind."""
        return features_of(
            encoded,
            kind,
            self.projector.module if self.projector else None,
            self.data.batch_size,
            self.cache,
            self.projector.fingerprint if self.projector else None,
        )
