"""Sets of rendered products: made on the spot, for trying everything without a download."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from adpt.data.base import AnomalyDataModule
from adpt.data.folder import Folder
from adpt.data.procedural import render_downstream_set, render_pretraining_set
from adpt.data.realiad import RealIAD


class _Rendered(AnomalyDataModule):
    recorded_as: ClassVar[str]
    render: Callable[[], Path]

    @property
    def set_name(self) -> str:
        """The set's name in records."""
        return self.recorded_as

    def prepare_data(self) -> None:
        """Render the set unless it is there."""
        self.render()


class DrawnForPretraining(_Rendered, RealIAD):
    """Rendered products in several views with labelled defects, in Real-IAD's layout.

    Args:
        root: Where the set is rendered, if it is not there yet.
        drawing_seed: Decides every picture.
        normal: Normal images a product and view.
        anomalous: Defective images a product and view.
        **options: As `RealIAD`.
    """

    known_classes: ClassVar[tuple[str, ...]] = ()
    recorded_as: ClassVar[str] = "procedural"

    def __init__(
        self,
        root: str | Path,
        drawing_seed: int = 0,
        normal: int = 40,
        anomalous: int = 30,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.render = partial(
            render_pretraining_set, root, seed=drawing_seed, normal=normal, anomalous=anomalous
        )


class DrawnDownstream(_Rendered, Folder):
    """Rendered products that pretraining never sees, in MVTec AD's layout.

    Args:
        root: Where the set is rendered, if it is not there yet.
        drawing_seed: Decides every picture.
        train: Normal training images a product.
        normal: Normal test images a product.
        anomalous: Defective test images a product.
        **options: As `Folder`.
    """

    recorded_as: ClassVar[str] = "procedural_downstream"

    def __init__(
        self,
        root: str | Path,
        drawing_seed: int = 0,
        train: int = 40,
        normal: int = 20,
        anomalous: int = 40,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        render = partial(render_downstream_set, root, seed=drawing_seed)
        self.render = partial(render, train=train, normal=normal, anomalous=anomalous)
