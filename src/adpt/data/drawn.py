"""Sets of drawn products: made on the spot, for trying everything without a download."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from adpt.data.folder import Folder
from adpt.data.procedural import draw_downstream_set, draw_pretraining_set
from adpt.data.realiad import RealIAD


class DrawnForPretraining(RealIAD):
    """Drawn products in several views with labelled defects, in Real-IAD's layout.

    Args:
        root: Where the set is drawn, if it is not there yet.
        drawing_seed: Decides every picture.
        normal: Normal images a product and view.
        anomalous: Defective images a product and view.
        **options: As `RealIAD`.
    """

    known_classes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        root: str | Path,
        drawing_seed: int = 0,
        normal: int = 40,
        anomalous: int = 30,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.draw = partial(
            draw_pretraining_set, root, seed=drawing_seed, normal=normal, anomalous=anomalous
        )

    @property
    def set_name(self) -> str:
        """What the set is called in records."""
        return "procedural"

    def prepare_data(self) -> None:
        """Draw the set unless it is there."""
        self.draw()


class DrawnDownstream(Folder):
    """Drawn products that pretraining never sees, in MVTec AD's layout.

    Args:
        root: Where the set is drawn, if it is not there yet.
        drawing_seed: Decides every picture.
        train: Normal training images a product.
        normal: Normal test images a product.
        anomalous: Defective test images a product.
        **options: As `Folder`.
    """

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
        self.draw = partial(
            draw_downstream_set,
            root,
            seed=drawing_seed,
            train=train,
            normal=normal,
            anomalous=anomalous,
        )

    @property
    def set_name(self) -> str:
        """What the set is called in records."""
        return "procedural_downstream"

    def prepare_data(self) -> None:
        """Draw the set unless it is there."""
        self.draw()
