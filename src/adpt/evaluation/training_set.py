"""Cross-class: methods are fitted on one set's classes and tested on another's."""

import torch
from omegaconf import DictConfig

from adpt.data import AnomalyDataModule
from adpt.data.sample import UNLABELLED
from adpt.errors import UserError
from adpt.evaluation.class_data import ClassData, Pair
from adpt.evaluation.encoding import Encoder
from adpt.evaluation.features import Features
from adpt.methods.feature_sets import Labels
from adpt.residual import Kind
from adpt.results.words import few_listed
from adpt.running.contents import contents
from adpt.running.progress import Progress, no_progress


class TrainingSet:
    """The classes that methods are fitted on, all of them together.

    Args:
        encoder: Encodes them.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._encoded: list[ClassData] = []
        self._kind: Kind | None = None
        self._features: list[Pair] = []

    def encode(self, progress: Progress) -> list[ClassData]:
        """Encode all classes, once."""
        if not self._encoded:
            names = self.encoder.data.classes
            self._encoded = [self.encoder.encode(name, progress) for name in names]
        return self._encoded

    def normal(self, kind: Kind) -> list[Features]:
        """Features of each class's normal training images."""
        return [train for train, _ in self._of(kind)]

    def labelled(self, kind: Kind) -> tuple[list[Features], Labels]:
        """Features of all images, and their labels.

        Raises:
            UserError: There is no anomalous image, or one without a mask.
        """
        found = [part for pair in self._of(kind) for part in pair if len(part)]
        if not all(part.marked for part in found) or not any(part.labels.any() for part in found):
            raise UserError(
                "it learns from anomalous images and their masks, and train_data"
                f" ({self.encoder.data.root}) has none, or some without: choose another set."
            )
        return found, Labels(torch.cat([part.masks for part in found]))

    def _of(self, kind: Kind) -> list[Pair]:
        if kind != self._kind:  # One kind after the other is asked for.
            self._features = []
            self._features = [self.encoder.features(one, kind) for one in self._encoded]
            self._kind = kind
        return self._features


def check_suits(
    training: AnomalyDataModule, data: AnomalyDataModule, progress: Progress = no_progress
) -> None:
    """Refuse a set to fit on that does not suit the one that is tested.

    Args:
        training: The former, set up.
        data: The latter, likewise.
        progress: Told how many files are read.

    Raises:
        UserError: Their images are read in different ways, they have some in common, or nobody
            tells which of the former are normal.
    """
    if any(sample.defect == UNLABELLED for sample in training.samples):
        raise UserError(
            f"Nobody tells which images of train_data ({training.root}) are normal: choose images"
            " with labels, such as train_data.split=public."
        )
    for option in ("image_size", "resize", "as_torchvision", "mask_resize"):
        value, other = (getattr(one.geometry, option) for one in (data, training))
        if value != other:
            raise UserError(
                f"Images are read in two ways: data.{option} is {value} and train_data.{option}"
                f" {other}. Give both the same."
            )
    class_of = {sample.image: sample.class_name for sample in data.samples}
    tested = {
        digest: class_of[path] for path, digest in contents(class_of, progress).items() if digest
    }
    learned = {sample.image: sample.class_name for sample in training.samples}
    common = {
        f"{learned[path]} (as {tested[digest]})"
        for path, digest in contents(learned, progress).items()
        if digest in tested
    }
    if common:
        raise UserError(
            "Images of data are among those of train_data, in the classes"
            f" {few_listed(sorted(common))}: what is tested would have been learned. Leave these"
            " out with train_data.classes or data.classes."
        )


def check_train_data(config: DictConfig) -> None:
    """Refuse what has no meaning where methods are fitted on another set.

    Raises:
        UserError: There is such an option.
    """
    for option, is_set, why in (
        ("protocol=paper", config.protocol == "paper", "ADPretrain's paper has no such setting"),
        ("few_shot=true", config.few_shot, "all images of train_data are fitted on"),
        ("unified=false", config.unified is False, "one model is fitted on all its classes"),
    ):
        if is_set:
            raise UserError(f"{option} cannot be with train_data: {why}. Leave one of them out.")
