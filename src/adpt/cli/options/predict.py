"""Options of `python -m adpt.predict`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from adpt.cli.options.kinds import Above0, Made, Parts, Positive, Section, Seed, Size
from adpt.cli.options.shared import RegionSection, WindowSection
from adpt.cli.types import Range, Text


class ReadingSection(Section):
    """How `predict` reads images; an inspector keeps it."""

    image_size: int | Sequence[int] | Literal["auto"]
    """side of the images that the backbone sees, in pixels, or [height, width]; auto keeps the good
    images' proportions"""
    resize: int | Sequence[int] | None
    """null squeezes the picture to image_size; a number (shorter side) crops the centre"""
    bit_depth: Annotated[int, Range(least=8, most=16)] | None
    """bits in use of 16-bit files: 8 to 16; null for what the good images take"""


class DriftNotice(Section):
    """When `predict` says that scores of images taken for good have moved."""

    window: Annotated[int, Range(least=5)]
    """images taken for good whose median counts, the last ones"""
    above: Above0
    """standard errors above the fit's median from which on there is a notice"""
    below: Above0
    """the same below it"""


class Predict(Section):
    """`python -m adpt.predict`."""

    backbone: Made
    """frozen network that features come from"""
    method: Parts
    """patchcore | padim | feature_norm | anomaly_dino, or trained for many epochs: cflow | glass |
    uniad | supersimplenet | dinomaly | inp_former"""
    fit: Text | None
    """good images to fit on: a folder, or a pattern such as 'photos/*.png'"""
    inspector: Text | None
    """the file of a fitted inspector: written after fitting, read otherwise"""
    product: Text | None
    """of a folder of inspectors, inspector=models/, the one to take; null takes for each image the
    one that a folder of it is called by"""
    add: Text | None
    """further good images that a fitted inspector takes in: a folder, or a pattern"""
    save_as: Text | None
    """where add= writes to; null replaces the inspector's file"""
    export: Text | None
    """the inspector as an ONNX graph too, for use without PyTorch: a file such as bottle.onnx"""
    images: Text | None
    """what to score: a folder, a file, a pattern, or - for paths from standard input"""
    watch: Text | None
    """or: a folder whose new images are scored as they are written, until it is stopped"""
    existing: bool
    """true: with watch, the images that lie there at the start are scored too"""
    settle: Size
    """with watch, seconds for which a file stays as it is before it counts as whole"""
    projector: Text | None
    """a projector file for this backbone, or builtin; the method then sees pretrained features"""
    projector_block: str | None
    """class of one's own that the projector was trained with as model.projector.block, such as
    mine.Bottleneck, for an inspector that was fitted with it too; null for adpt's"""
    features: Literal["own", "residual", "pretrained"] | None
    """own | residual | pretrained; null for pretrained with a projector, and else own (residual for
    feature_norm)"""
    shots: Positive
    """good images that residual and pretrained features are taken against"""
    seed: Seed
    """references and coreset"""
    backbone_weights: bool | str
    """false: a smaller file, that needs the backbone's weights from elsewhere; when scoring with
    it, their file if it was moved"""
    data: ReadingSection
    """how images are read"""
    windows: WindowSection
    """that large images are seen through"""
    roi: Text | None
    """region of interest: a picture of their framing, black where the pictures are to be neither
    fitted nor scored"""
    false_positive_rate: Annotated[float, Range(above=0, below=1)] | None
    """estimated share of further good images that exceed it"""
    quantile: Annotated[float, Range(above=0, most=1)] | None
    """or: share of the left-out good images that the threshold lets pass, such as 0.99"""
    folds: Annotated[int, Range(least=2)] | None
    """parts that the good images are left out in, fitting again without each; null for one by one
    from a single fit"""
    good_test: Text | None
    """further good images for the threshold, in place of left-out ones"""
    defects: Text | None
    """anomalous images: the threshold is then that of the largest F1 score"""
    threshold: float | None
    """a number in place of all that, for an inspector that was fitted before, too"""
    max_megapixels: Above0
    """pictures whose header claims more are not decoded, as if they were broken"""
    batch_size: Positive
    """images at a time; changes no score"""
    device: Text
    """auto | cpu | cuda | cuda:1"""
    mm_per_pixel: Above0 | None
    """side of a pixel of the pictures in millimetres: regions get an area in mm² too"""
    regions: RegionSection
    """defect regions of an anomalous image"""
    drift: DriftNotice
    """a notice when scores of images taken for good move from those at the fit"""
    heatmaps: Literal["all", "anomalous", "none"]
    """all | anomalous | none"""
    heatmap_format: Literal["jpg", "png"]
    """jpg | png"""
    heatmap_size: Positive | None
    """longest side in pixels; null for the picture's own"""
    exit_code: bool
    """false: exit with 0 whatever was found"""
    title: Text
    """heading of the page"""
    output_dir: Text
    """where the run's files go"""
