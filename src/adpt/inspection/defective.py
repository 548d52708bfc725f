"""Good images with synthetic defects, for methods that train on them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from adpt.backbones import Backbone
from adpt.data import Sample
from adpt.data.texture_defects import TextureDefects
from adpt.data.transforms import Geometry
from adpt.evaluation.defect_pool import Convert, DefectPool
from adpt.inspection.interest import blank


def synthetic_defects(
    paths: Sequence[str],
    geometry: Geometry,
    *,
    interest: Tensor | None,
    backbone: Backbone,
    convert: Convert | None,
    batch_size: int,
    seed: int,
    class_token: bool = False,
) -> DefectPool:
    """Features of image files, each with a rendered texture that shines through in spots.

    Args:
        paths: The files, in the order of the features that training sees.
        geometry: Brings them to the model's size.
        interest: (H, W) bool: outside of it nothing is seen, defects neither. None for all.
        backbone: On the device that computes.
        convert: Makes features of the kind that the method sees; None for the backbone's own.
        batch_size: Images at a time.
        seed: Decides all draws.
        class_token: As of `Backbone.forward`.
    """
    blend = TextureDefects(geometry=geometry)

    def synthesise(image: Tensor, seed: int, path: Path) -> tuple[Tensor, Tensor]:
        defective, mask = blend(image, seed, path)
        return blank(defective, interest), mask if interest is None else mask & interest

    samples = [Sample(Path(path), 0, "", "train") for path in paths]
    return DefectPool(
        samples, geometry, backbone.encoding(class_token), synthesise,
        batch_size=batch_size, convert=convert, device=backbone.mean.device, seed=seed,
    )  # fmt: skip
