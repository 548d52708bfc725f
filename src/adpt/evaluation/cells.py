"""A table's cells, the methods that are run for them, and what an experiment fixes for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adpt.data.reference_lists import ReferenceLists
from adpt.methods import Method
from adpt.residual import Kind


@dataclass(frozen=True)
class MethodSpec:
    """A method that is still to be made, once for each cell.

    Attributes:
        make: Kind of features to what makes the method.
        options: Kind of features to all its options, plain values.
        changed: Kind of features to the options that differ from the published ones.
        unified: One model is made for all classes.
        uses_defects: It trains on synthetic defects.
        uses_labels: It trains on labelled images of another set.
        uses_class_token: It is given the backbone's class token.
    """

    make: Mapping[Kind, Callable[[], Method]]
    options: Mapping[Kind, dict[str, Any]]
    changed: Mapping[Kind, dict[str, Any]]
    unified: bool = False
    uses_defects: bool = False
    uses_labels: bool = False
    uses_class_token: bool = False


@dataclass(frozen=True)
class PublishedChoices:
    """Choices of the authors that `clean` does not make, and no other option.

    Attributes:
        self_match: A training image that is a reference matches itself.
        reference_resize: `resize` of fixed references, where it differs from the images'.
        dilated_overlap: The paper's AUPRO takes overlaps from maps dilated by 5 × 5 pixels.
    """

    self_match: bool = False
    reference_resize: int | None = None
    dilated_overlap: bool = False


@dataclass(frozen=True)
class Setting:
    """All that an experiment fixes beside set, backbone and methods.

    Attributes:
        shots: Number of references a class.
        seed: Chooses them.
        few_shot: The references are all the training images there are.
        aligned: Give each image this many nearest training images as references instead.
        lists: Name the references.
        published: The authors' choices that no other option makes.
        as_published: True if protocol `paper` is in force whole.
        protocol: `clean` or `paper`.
        checks: How often trained methods are scored in training.
        memory_gb: Features up to this size are held in memory while training.
        refresh: Share of synthetic defects that is made anew in every epoch.
        heatmaps: Test images a class and method whose score maps are written as PNG.
        tsne: Classes whose patch features are plotted.
    """

    shots: int = 8
    seed: int = 0
    few_shot: bool = False
    aligned: int | None = None
    lists: ReferenceLists | None = None
    published: PublishedChoices = PublishedChoices()
    as_published: bool = False
    protocol: str = "clean"
    checks: int = 5
    memory_gb: float = 4.0
    refresh: float = 0.1
    heatmaps: int = 8
    tsne: tuple[str, ...] = ()

    @property
    def of_references(self) -> dict[str, Any]:
        """The choice of references beside number and seed, as arguments of `encode_class`."""
        return {
            "few_shot": self.few_shot,
            "aligned": self.aligned,
            "lists": self.lists,
            "self_match": self.published.self_match,
            "reference_resize": self.published.reference_resize,
        }

    def with_references(self, kind: Kind) -> bool:
        """True if references decide over results on such features."""
        return kind != "own" or self.few_shot


@dataclass(frozen=True)
class Cell:
    """One result to be had.

    Attributes:
        class_name: The product.
        method: The method's name.
        kind: The features.
        sha256: Hash of `decides`.
        decides: All that decides over the result, by name, as plain values.
    """

    class_name: str
    method: str
    kind: Kind
    sha256: str
    decides: dict[str, Any] = field(compare=False, repr=False)
