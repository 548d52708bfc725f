"""A class, encoded once: its features and its references."""

import logging
import time
from dataclasses import dataclass, replace
from functools import partial

import torch

from adpt.backbones.base import Backbone
from adpt.data import AnomalyDataModule
from adpt.data.reference_lists import ReferenceLists
from adpt.data.references import choose_references
from adpt.data.sample import UNLABELLED, Sample, Split
from adpt.errors import DataError
from adpt.evaluation.converting import convert_features
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.features import Features, extract
from adpt.evaluation.matching import AlignedReferences, FixedReferences, References
from adpt.projector import FeatureProjector
from adpt.residual import Kind
from adpt.results.blanks import lacks
from adpt.running.progress import Progress, no_progress

log = logging.getLogger(__name__)

Pair = tuple[Features, Features]
"""A class's training and test features."""


@dataclass(frozen=True)
class ClassData:
    """A class, encoded once, with its references.

    Attributes:
        name: The class.
        train: Own features of the training images.
        test: Own features of the test images.
        references: What residual features are taken against.
        seconds: Time that encoding took.
    """

    name: str
    train: Features
    test: Features
    references: References
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Memory that the features take where nothing is cached."""
        return self.train.num_bytes + self.test.num_bytes


def encode_class(
    data: AnomalyDataModule,
    class_name: str,
    backbone: Backbone,
    *,
    shots: int,
    seed: int,
    device: torch.device,
    progress: Progress = no_progress,
    few_shot: bool = False,
    aligned: int | None = None,
    lists: ReferenceLists | None = None,
    self_match: bool = False,
    reference_resize: int | None = None,
    cache: FeatureCache | None = None,
    only: Split | None = None,
    class_token: bool = False,
) -> ClassData:
    """Encode a class's training and test images and choose its references.

    Args:
        data: The set, already set up.
        class_name: The class.
        backbone: On `device`.
        shots: Number of references.
        seed: Chooses the references.
        device: Where to compute.
        progress: Told of every batch.
        few_shot: Let the references be all the training images there are.
        aligned: Give each image this many nearest training images as its references instead.
        lists: Name the references of some classes, in place of `seed` and of nearness.
        self_match: True if an image may be its own reference.
        reference_resize: Read fixed references at this `resize` where it differs from the images'.
        cache: Keeps features on disk.
        only: "test" for no training images but those that references are chosen from or are,
            "train" for no test images.
        class_token: Encode the class token too, for methods that use it, and those only.

    Raises:
        BadImageError: A file cannot be read and the data module does not skip such files.
        DataError: The class has no test image or no normal training image that can be read, or none
            of its images for validation can.
    """
    started = time.perf_counter()
    samples = data.select("train", class_name=class_name)
    references_alone = only == "test" and aligned is None

    def chosen_of(normal: list[Sample]) -> list[str]:
        named = lists.of_class(class_name, normal) if lists else None
        found = choose_references(normal, shots, seed)
        return named[:shots] if named else [str(sample.image) for sample in found]

    if references_alone:
        needed = chosen_of([sample for sample in samples if sample.label == 0])
        samples = [sample for sample in samples if str(sample.image) in needed]
    encoded = partial(
        extract, backbone, data, device=device, progress=progress, cache=cache,
        class_token=class_token,
    )  # fmt: skip
    train = encoded(samples)
    tested = [] if only == "train" else data.select("test", class_name=class_name)
    test = encoded(tested)
    validating = [] if only == "train" else data.select("validation", class_name=class_name)
    if validating:
        found = encoded(validating)
        if not len(found):
            raise DataError(
                f"Class '{class_name}' of {data.root} has no validation image that can be read, and"
                " thresholds come from these: unpack it anew, or leave it out with data.classes."
            )
        test = replace(test, validation=found)
    readable = set(train.paths)
    normal = [s for s in samples if s.label == 0 and str(s.image) in readable]
    if not normal or not (len(test) or only == "train"):
        what, found = ("test", test) if normal else ("normal training", train)
        unreadable = f" that can be read ({len(found.skipped)} cannot)" if found.skipped else ""
        raise DataError(
            f"Class '{class_name}' of {data.root} has no {what} image{unreadable}: nothing to"
            " evaluate. Add some, or leave the class out with data.classes."
        )
    test = replace(test, labelled=all(sample.defect != UNLABELLED for sample in tested))
    if any(sample.unmarked for sample in tested):
        test = replace(test, masks=test.masks[:, :0, :0])
    for sentence in lacks(counts_of(test)) if len(test) else ():
        log.warning("%s: %s.", class_name, sentence)
    chosen = [str(sample.image) for sample in normal] if references_alone else chosen_of(normal)
    if few_shot:
        train = train.take([train.paths.index(path) for path in chosen])
    patches = train.seen_by(False)
    references: References
    if aligned is not None:
        listed = lists.of_images(class_name, normal, [*samples, *tested]) if lists else None
        references = AlignedReferences(
            patches, chosen, device, aligned, listed, self_match=self_match
        )
    elif reference_resize in (None, data.geometry.resize):
        references = FixedReferences(patches, chosen, device, self_match=self_match)
    else:
        apart = data.resized(reference_resize)
        images = [sample for sample in normal if str(sample.image) in chosen]
        references = FixedReferences(
            patches,
            chosen,
            device,
            self_match=self_match,
            chosen=extract(backbone, apart, images, device=device, cache=cache),
            geometry=f" as {apart.geometry.decides()}",
        )
    return ClassData(class_name, train, test, references, time.perf_counter() - started)


def features_of(
    encoded: ClassData,
    kind: Kind,
    projector: FeatureProjector | None,
    batch_size: int,
    cache: FeatureCache | None = None,
    projector_sha256: str | None = None,
) -> Pair:
    """A class's training and test features of one kind; arguments as of `convert_features`."""
    if kind == "own":
        return encoded.train, encoded.test
    through = projector if kind == "pretrained" else None
    options = encoded.references, through, batch_size, cache, projector_sha256
    return convert_features(encoded.train, *options), convert_features(encoded.test, *options)


def counts_of(test: Features) -> dict[str, int]:
    """Test images, as `Record.counts` has them: all, anomalous, with a defect in the mask."""
    counts = {"test": len(test), "anomalous": int(test.labels.sum())}
    if not test.labelled:
        return counts | {"unlabelled": len(test)}
    if test.marked:
        counts["marked"] = int(test.masks[test.labels > 0].flatten(1).any(dim=1).sum())
    return counts
