"""Options of `python -m adpt.doctor`."""

from adpt.cli.options.kinds import Above0, Made, Positive, Section, Seed
from adpt.cli.types import Text


class Doctor(Section):
    """`python -m adpt.doctor`."""

    data: Made
    """set to examine"""
    workers: Positive
    """threads that read files"""
    max_megapixels: Above0
    """pictures whose header claims more are told, but not decoded"""
    published: bool
    """compare numbers of classes, images and views with the published set; false if cut down on
    purpose"""
    json: Text | None
    """a file that everything found is written to"""
    seed: Seed
    """of no effect here; the data group refers to it"""
    data_dir: str
    """the folder that holds the data sets"""
