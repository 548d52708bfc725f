"""Every option of the commands, declared once: its type, its range, and below it what it means.

Defaults stand in `conf/<command>.yaml`. What has a `_target_` declares its own options, by the
signature of that class or function; here it is `Made`. `make options` carries the sentences into
`docs/configuration.md` and behind the options in `conf/`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from adpt.cli.types import Range, Text


class Made:
    """A part that a `_target_` makes, whose signature declares the options."""


class Parts:
    """Parts by name, each made by a `_target_`, or switched off by null."""


class Section:
    """Options that stand below one name."""


Positive = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]
Share = Annotated[float, Range(least=0, most=1)]
Size = Annotated[float, Range(least=0)]
Above0 = Annotated[float, Range(above=0)]
Names = str | Sequence[str]
"""A name or several; a number is one too."""


class Train(Section):
    """`python -m adpt.train`."""

    backbone: Made
    """frozen network that features come from"""
    data: Made
    """set to pretrain on"""
    references: Made
    """normal images that residuals are taken against"""
    model: Made
    """projector, losses, optimizer and schedule"""
    trainer: Made
    """Lightning's `Trainer`; `strategy` chooses devices and processes"""
    logger: Parts | None
    """where metrics go"""
    callbacks: Parts | None
    """what happens beside the training steps"""
    seed: Seed
    """decides weights, order, views and references"""
    run_name: str
    """names the output folder and the W&B run"""
    data_dir: str
    """the folder that holds the data sets"""
    projector: Text | None
    """start from these weights: a projector file, or a name such as hub:adpretrain/clip_l; null
    starts anew"""
    ckpt_path: Text | None
    """go on from a checkpoint, such as <output_dir>/checkpoints/last.ckpt; last: from the newest in
    output_dir, if there is one"""
    objective: Text | None
    """a figure of callbacks=held_out_check that a search goes by, such as
    held_out/feature_norm/pixel_aupro/pretrained"""
    output_dir: Text
    """where the run's files go"""


class Defects(Section):
    """Defects drawn on training images, for methods that train on them (GLASS)."""

    refresh: Share
    """share of the images whose defect is drawn and encoded anew in every epoch"""
    draw: Made
    """what draws them"""


class Windows(Section):
    """Overlapping windows that large images are seen through."""

    size: Positive | Sequence[int] | None
    """side of a window in pixels, or [height, width]: images are brought to data.image_size and
    seen through overlapping windows, for small defects; null for whole images"""
    overlap: Annotated[float, Range(least=0, below=1)]
    """share of a window that it has in common with the next one, at least about"""
    aligned: bool
    """true: PatchCore, and methods of one's own, are fitted for each window by itself, for parts
    that always lie in the same place"""


class Published(Section):
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
    windows: Windows
    """that large images are seen through"""
    seed: Seed
    """references, data splits and methods"""
    recorded: Text | None
    """results that lie in this folder are not computed again; null computes all"""
    cache: Made | None
    """features on disk, shared by all runs; null switches it off"""
    memory_gb: Size
    """features up to this size are held in memory while a method trains"""
    defects: Defects
    """drawn on training images, for methods that train on them (GLASS)"""
    published: Published
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


class Reading(Section):
    """How `predict` reads images; an inspector keeps it."""

    image_size: int | Sequence[int] | Literal["auto"]
    """side of the images that the backbone sees, in pixels, or [height, width]; auto keeps the good
    images' proportions"""
    resize: int | Sequence[int] | None
    """null squeezes the picture to image_size; a number (shorter side) crops the centre"""
    bit_depth: Annotated[int, Range(least=8, most=16)] | None
    """bits in use of 16-bit files: 8 to 16; null for what the good images take"""


class Regions(Section):
    """Which pixels of an anomalous image are taken for a defect region."""

    of_peak: Annotated[float, Range(least=0, below=1)]
    """their scores are above this share of the way from the median pixel of good images to the
    image's highest"""
    smallest: Annotated[float, Range(least=0, below=1)]
    """share of the image that a region takes at least; that of the highest pixel may be smaller"""


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
    data: Reading
    """how images are read"""
    windows: Windows
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
    regions: Regions
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
    regions: Regions
    """defect regions of an anomalous image"""
    heatmap_size: Positive | None
    """longest side of heatmaps in pixels; null for the picture's own"""
    backbone_weights: Text | None
    """the backbone's weights, for inspectors that were saved without them"""
    device: Text
    """auto | cpu | cuda | cuda:1"""


class Report(Section):
    """`python -m adpt.report`."""

    results: Text
    """folder with the .jsonl files that `python -m adpt.evaluate` wrote, and what lies beside
    them"""
    compare: Names | None
    """two folders of results, the earlier one first: shows what changed between them, cell by cell,
    instead; null for none"""
    output: Text
    """where the files go"""
    formats: Names | None
    """some of [markdown, csv, latex, html]"""
    metrics: Names | None
    """what the tables show; results.csv has all of them"""
    protocol: Text | None
    """which results: clean | paper; null for all"""
    datasets: Names | None
    """names as they were recorded; null for all"""
    methods: Names | None
    """names as they were recorded; null for all"""
    backbones: Names | None
    """names as they were recorded; null for all"""
    reported: Text | None
    """YAML file of published results to show beside ours where they may stand, such as
    experiments/main_table/reported.yaml; null for none"""
    title: Text
    """heading of the page"""


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


class Publish(Section):
    """`python -m adpt.publish`."""

    projector: Text
    """a projector.safetensors that adpt.train wrote"""
    results: Text
    """folder with the .jsonl files that adpt.evaluate wrote with it"""
    repo: Text
    """<owner>/<name>; made if it isn't there"""
    license: Text
    """of the weights, as the hub names it, such as apache-2.0; mind that of the training images"""
    folder: Text
    """README.md and projector.safetensors go here"""
    dry_run: bool
    """true: write the folder, upload nothing"""
    private: bool
    """a new repository is visible to its owner alone; opened on the hub"""
    metrics: Names | None
    """what the card's tables show"""


COMMANDS: dict[str, type[Section]] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "serve": Serve,
    "report": Report,
    "doctor": Doctor,
    "publish": Publish,
}
