"""Options of `python -m adpt.evaluate`."""

from typing import Literal

from adpt.cli.options.kinds import Made, Names, Natural, Parts, Positive, Section, Seed, Share, Size
from adpt.cli.options.shared import WindowSection
from adpt.cli.types import Text


class DefectSection(Section):
    """Synthetic defects on training images, for methods that train on them (GLASS)."""

    refresh: Share
    """share of the images whose defect is made and encoded anew in every epoch"""
    draw: Made
    """what makes them"""


class PublishedSection(Section):
    """Choices of ADPretrain's authors that `protocol=paper` makes, and no other option."""

    self_match: bool
    """true: a training image that is a reference matches itself"""
    reference_resize: Positive | None
    """resize of fixed references, where it differs from data.resize"""
    dilated_overlap: bool
    """true: the paper's AUPRO takes overlaps from maps dilated by 5 x 5 pixels (GLASS)"""


class Evaluate(Section):
    """`python -m adpt.evaluate`."""

    backbone: Made
    """frozen network that features come from"""
    data: Made
    """set to evaluate on"""
    train_data: Made | None
    """another set that methods are fitted on, all its classes together, such as train_data=visa;
    null fits on data's own training images"""
    method: Parts
    """methods, one or several"""
    metric: Parts | None
    """metrics beside the seven that are always measured"""
    logger: Parts | None
    """where metrics go beside the results' own files"""
    projector: Text | None
    """a projector file that adpt.train wrote, a published .pth, builtin, or a name
    such as hub:adpretrain/clip_l; null leaves pretrained features out"""
    projector_block: str | None
    """class of one's own that the projector was trained with as model.projector.block, such as
    mine.Bottleneck; null for adpt's"""
    features: Names | None
    """some of [own, residual, pretrained]; null for all that can be had"""
    shots: Positive
    """normal reference images a class, for residual and pretrained features"""
    few_shot: bool
    """true: these are all the training images there are, for own features too"""
    unified: bool | None
    """true: one model of all classes for every method | false: one for each class | null: as the
    method is published"""
    aligned: Positive | None
    """a number n: each image's references are the n training images nearest to it"""
    reference_lists: Names | None
    """files or folders that name the reference images of each class; null chooses them by seed, or
    by nearness where aligned"""
    protocol: Literal["clean", "paper"]
    """clean: nothing is chosen on test data | paper: the published setting, by method and set, as
    conf/protocols/paper.yaml has it"""
    checks: Natural
    """how often a trained method is scored in training, early to late"""
    metric_resolution: Literal["network", "picture"]
    """resolution that pixels are measured at: network, data.image_size | picture, of each picture
    and its mask as they are"""
    intervals: bool
    """true: 95 % intervals of all metrics over resamples of the test images"""
    costs: bool
    """true: measures what each method costs: seconds to fit, milliseconds an image, memory, size"""
    submission: Text | None
    """a folder for the files that MVTec AD 2's server takes, with data=mvtec_ad2
    data.split=private; null writes none"""
    heatmaps: Natural
    """test images a class and method whose score maps are written, and worst and best cases on
    top"""
    tsne: Names | None
    """classes whose patch features are plotted before and after, such as [bottle]"""
    windows: WindowSection
    """that large images are seen through"""
    seed: Seed
    """references, data splits and methods"""
    recorded: Text | None
    """results that lie in this folder are not computed again; null computes all"""
    cache: Made | None
    """features on disk, shared by all runs; null switches it off"""
    memory_gb: Size
    """features up to this size are held in memory while a method trains"""
    defects: DefectSection
    """synthetic ones on training images, for methods that train on them (GLASS)"""
    published: PublishedSection
    """what protocol=paper alone needs"""
    device: Text
    """auto | cpu | cuda | cuda:1"""
    title: Text
    """heading of the page"""
    run_name: str
    """names the output folder and the W&B run"""
    data_dir: str
    """the folder that holds the data sets"""
    output_dir: Text
    """where the run's files go"""
