"""Several sets as one, for pretraining."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from adpt.data.base import AnomalyDataModule
from adpt.data.sample import Sample
from adpt.errors import DataError


class Mixed(AnomalyDataModule):
    """Several data modules read as one; a class is called `<set>/<class>`, so names stay apart.

    Args:
        sets: Name to data module. Their own sizes and loaders are not used.
        **options: As `AnomalyDataModule`, without root and classes.
    """

    layout = source = ""

    def __init__(self, sets: Mapping[str, AnomalyDataModule], **options: Any) -> None:
        super().__init__(root=".", **options)
        if not sets:
            raise DataError("data.sets is empty: name at least one set to mix.")
        self.sets = dict(sets)

    @property
    def set_name(self) -> str:
        """The names of the sets, joined."""
        return "+".join(self.sets)

    def prepare_data(self) -> None:
        """Let each set draw or fetch what it needs."""
        for data in self.sets.values():
            data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """List and check the files of every set."""
        if not self.samples:
            for data in self.sets.values():
                data.setup(stage)
            self.samples = [
                sample for name in self.choose_classes() for sample in self.find_samples(name)
            ]

    def available_classes(self) -> list[str]:
        """Every set's classes, as `<set>/<class>`."""
        return [f"{name}/{product}" for name, data in self.sets.items() for product in data.classes]

    def find_samples(self, class_name: str) -> Iterable[Sample]:
        """The images of `<set>/<class>` that its set would use."""
        name, product = class_name.split("/", 1)
        data = self.sets[name]
        for sample in data.samples:
            if sample.class_name == product:
                yield replace(sample, class_name=class_name)
