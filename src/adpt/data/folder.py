"""The user's own products, laid out like MVTec AD."""

from typing import ClassVar

from adpt.data.mvtec import MVTec


class Folder(MVTec):
    """Own images: every folder under `root` with a `train/good` is a class."""

    layout = MVTec.layout
    source: ClassVar[str] = (
        "Put the normal images of each product into <class>/train/good; defective images and"
        " their masks are needed for pretraining and for measuring, not for anything else."
    )
    known_classes: ClassVar[tuple[str, ...]] = ()
