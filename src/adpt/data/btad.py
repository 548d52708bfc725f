"""BTAD."""

from typing import ClassVar

from adpt.data.mvtec import MVTec


class BTAD(MVTec):
    """BeanTech Anomaly Detection (Mishra et al. 2021): 3 classes."""

    layout: ClassVar[str] = (
        "  <01, 02 or 03>/train/ok/*.bmp or *.png\n"
        "  <01, 02 or 03>/test/<ok or ko>/*.bmp or *.png\n"
        "  <01, 02 or 03>/ground_truth/ko/<name>.png or <name>.bmp"
    )
    source: ClassVar[str] = (
        "BTAD is published by AVIRES, University of Udine (avires.dimi.uniud.it/papers/btad);"
        " unpack it and set data.root to the folder that holds 01, 02 and 03."
    )
    known_classes: ClassVar[tuple[str, ...]] = ("01", "02", "03")
    normal: ClassVar[str] = "ok"
