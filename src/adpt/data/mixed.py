"""Several sets as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from adpt.data.base import AnomalyDataModule
from adpt.data.sample import Defect, Sample
from adpt.errors import DataError


class Mixed(AnomalyDataModule):
    """Several data modules read as one; a class is called `<set>/<class>`, so names stay apart.

    Args:
        sets: Name to data module. Each keeps its classes, its `pretrain_splits`, its `masks` and
            its own `train_fraction` and `noise_ratio`; sizes, batches and everything else about
            reading is said here, once for all. A set's `bit_depth` and `invert_masks` hold for its
            files unless they are given here for all.
        **options: As `AnomalyDataModule`, without root; `classes` are `<set>/<class>`, and
            `train_fraction` and `noise_ratio` apply to what the sets' own ones leave; `masks`
            "none" holds for all of them.
    """

    layout: ClassVar[str] = "  (each set's own)"
    source: ClassVar[str] = ""

    def __init__(self, sets: Mapping[str, AnomalyDataModule], **options: Any) -> None:
        super().__init__(root=".", **options)
        if not sets:
            raise DataError(
                "data.sets is empty: name the sets to mix, for example with"
                " +data@data.sets.visa=visa +data@data.sets.own=folder."
            )
        for name, data in sets.items():
            if not isinstance(data, AnomalyDataModule) or "/" in name:
                raise DataError(
                    f"data.sets.{name} is {type(data).__name__}: each set is a data module under"
                    " a name without a slash."
                )
        self.sets = dict(sets)
        if self.masks == "none":
            for data in self.sets.values():
                data.masks = "none"

    @property
    def set_name(self) -> str:
        """The names of the sets, joined."""
        return "+".join(self.sets)

    def prepare_data(self) -> None:
        """Let each set render or fetch what it needs."""
        for data in self.sets.values():
            data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """List and check the files of every set."""
        for data in self.sets.values():
            if stage == "fit":
                data.refuse_noise()
            data.setup()
        super().setup(stage)

    def set_rules(self, samples: Iterable[Sample]) -> None:
        """Each set's own, for its classes."""
        rules = self.geometry.rules
        of_sets = {f"{name}/": data.geometry.rules for name, data in self.sets.items()}
        depths = {
            begins + further: bits
            for begins, own in of_sets.items()
            for further, bits in own.bit_depths.items()
        }
        inverted = [begins + further for begins, own in of_sets.items() for further in own.inverted]
        self.geometry.rules = replace(
            rules,
            bit_depths=rules.bit_depths or depths,
            inverted=rules.inverted or tuple(inverted),
        )

    def available_classes(self) -> list[str]:
        """Every set's classes, as `<set>/<class>`."""
        return [f"{name}/{product}" for name, data in self.sets.items() for product in data.classes]

    def find_samples(self, class_name: str) -> Iterator[Sample]:
        """The images of `<set>/<class>`."""
        name, product = class_name.split("/", 1)
        for sample in self.sets[name].samples:
            if sample.class_name == product:
                yield sample._replace(class_name=class_name)

    def deciding_files(self, class_name: str) -> Sequence[Path]:
        """As the class's own set tells them."""
        name, product = class_name.split("/", 1)
        return self.sets[name].deciding_files(product)

    def defects_of(self, sample: Sample) -> Sequence[Defect] | None:
        """As the image's own set tells them."""
        name, product = sample.class_name.split("/", 1)
        return self.sets[name].defects_of(sample._replace(class_name=product))

    def _of_pretraining(self) -> list[Sample]:
        """All images that both this module's and their own set's `pretrain_splits` allow."""
        return [
            sample
            for sample in super()._of_pretraining()
            if sample.split in self.sets[sample.class_name.split("/", 1)[0]].pretrain_splits
        ]

    def check_masks(self, samples: Sequence[Sample]) -> None:
        """Done by each set already."""
