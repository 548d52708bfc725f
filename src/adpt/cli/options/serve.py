"""Options of `python -m adpt.serve`."""

from typing import Annotated

from adpt.cli.options.kinds import Above0, Positive, Section
from adpt.cli.options.shared import RegionSection
from adpt.cli.types import Range, Text


class Serve(Section):
    """`python -m adpt.serve`."""

    inspector: Text
    """the file of a fitted inspector, or a folder of several, <product>.adpt.safetensors"""
    host: Text
    """address to listen at; 0.0.0.0 for all networks of this machine"""
    port: Annotated[int, Range(least=0, most=65535)]
    """0 for a free one"""
    token: Text | None
    """what clients have to know; rather by the environment variable, which no list of processes
    shows"""
    queue: Positive
    """pictures that are arriving, waiting or in work; further ones are refused with 503"""
    max_megabytes: Above0
    """larger files are refused with 413"""
    max_megapixels: Above0
    """pictures whose header claims more are not decoded, as if they were broken"""
    timeout: Above0
    """seconds that a picture may take to arrive"""
    mm_per_pixel: Above0 | None
    """side of a pixel of the pictures in millimetres: regions get an area in mm² too"""
    regions: RegionSection
    """defect regions of an anomalous image"""
    heatmap_size: Positive | None
    """longest side of heatmaps in pixels; null for the picture's own"""
    backbone_weights: Text | None
    """the backbone's weights, for inspectors that were saved without them"""
    projector_block: Text | None
    """class of one's own that a file's projector is built of, as in adpt.predict; null for adpt's;
    backbones and methods of one's own are those of --config-dir"""
    device: Text
    """auto | cpu | cuda | cuda:1"""
