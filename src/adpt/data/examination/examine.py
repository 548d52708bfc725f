"""Walking a whole data set: every class is listed, every file read, and nothing stops the walk."""

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from adpt.data import AnomalyDataModule, Mixed, Sample, VisA
from adpt.data.checks import deepest_of, files_of
from adpt.data.examination.leftover import holds_images, left_out, left_out_whole
from adpt.data.examination.links import faulty_links
from adpt.data.examination.numbers import differences, read_spare_lists
from adpt.data.examination.pictures import Examined, examine_sample
from adpt.data.files import is_hidden, leads_up, refuse_output
from adpt.data.finding import Finding
from adpt.data.images import ReadingRules
from adpt.data.masks import MOST
from adpt.errors import DataError
from adpt.running.progress import Progress, no_progress
from adpt.running.whole_files import is_output

# After these it is no wonder if images are missing.
UNLISTED = {"list", "listing", "path outside the set"}

Work = tuple[Sample, ReadingRules, bool]
"""A sample, how its files are read, and whether its mask may hold numbers of defects."""


@dataclass(frozen=True)
class Examination:
    """The outcome.

    Attributes:
        findings: All faults and remarks, by kind and path.
        classes: Products that were examined.
        images: Image files that were read, or that reading was tried on.
        masks: Their masks.
    """

    findings: list[Finding]
    classes: int
    images: int
    masks: int

    @property
    def faults(self) -> list[Finding]:
        """The findings without the remarks."""
        return [finding for finding in self.findings if finding.fault]


def examine(
    data: AnomalyDataModule,
    workers: int = 4,
    max_megapixels: float | None = None,
    published: bool = True,
    progress: Progress = no_progress,
) -> Examination:
    """Find every fault of a set, without the `setup` that would stop at the first.

    Memory holds the list of files, 32 bytes of each image, and one picture a worker.

    Args:
        data: The set; `classes` and what else says which files it has are followed, the options
            that choose among these (`train_fraction`, `noise_ratio`) are not.
        workers: Threads that read files.
        max_megapixels: Pictures whose header claims more pixels are told, but not decoded; None for
            what the set says.
        published: True to compare numbers of classes, images and views with the published set.
        progress: Told how far the walk is.

    Raises:
        DataError: There is no such folder, no class in it, or no class of a wanted name.
    """
    findings: list[Finding] = []
    work: list[Work] = []
    for prefix, part in _parts(data):
        listed, samples = _list(part, prefix, published, progress)
        if published:
            listed += differences(part, samples)
        findings += [replace(f, class_name=_named(prefix, f.class_name)) for f in listed]
        rules = _rules(data, part, samples, max_megapixels)
        findings += _bit_depth(part, samples, rules, prefix)
        numbered = isinstance(part, VisA)
        work += [
            (s._replace(class_name=_named(prefix, s.class_name)), rules, numbered) for s in samples
        ]
    examined = []
    for done in _read_all(work, workers):
        findings += done.findings
        examined.append(done)
        progress("reading", len(examined), len(work))
    findings += _marking_most(examined)
    findings += _same_pictures(examined)
    findings += _unusual(examined)
    findings = sorted(set(findings), key=lambda f: (not f.fault, f.kind, str(f.path), f.message))
    samples = [sample for sample, *_ in work]
    return Examination(
        findings,
        len({sample.class_name for sample in samples}),
        len({sample.image for sample in samples}),
        len({mask for sample in samples for mask in sample.masks}),
    )


def _parts(data: AnomalyDataModule, prefix: str = "") -> Iterator[tuple[str, AnomalyDataModule]]:
    if isinstance(data, Mixed):
        for name, part in data.sets.items():
            yield from _parts(part, _named(prefix, name))
    else:
        yield prefix, data


def _named(prefix: str, class_name: str) -> str:
    return "/".join(filter(None, (prefix, class_name)))


# ---- Listing ---------------------------------------------------------------------------------


def _list(
    data: AnomalyDataModule, prefix: str, published: bool, progress: Progress
) -> tuple[list[Finding], list[Sample]]:
    """All findings in a set's tree and lists, and its images, past every fault."""
    if not data.root.is_dir():
        raise DataError(data.explain(f"There is no folder {data.root}."))
    findings: list[Finding] = []
    data = copy(data)
    data.collected = findings
    classes = data.choose_classes()
    folders = [data.class_folder(name) for name in classes]
    refuse_output(data.root, "data.root")
    findings += faulty_links(folders[0].parent, folders)
    findings += _other_folders(data, folders)
    samples: list[Sample] = []
    for number, name in enumerate(classes):
        progress(f"listing {_named(prefix, name)}", number, len(classes))
        samples += _list_class(data, name, findings)
        findings += list(read_spare_lists(data, name, published))
    return findings, samples


def _list_class(data: AnomalyDataModule, name: str, findings: list[Finding]) -> list[Sample]:
    """The images of a class; its faults go to `findings`, as `data` collects them there."""
    samples: list[Sample] = []
    folder = data.class_folder(name)
    try:
        samples.extend(data.find_samples(name))
        findings += list(data.leftovers(name, samples))
    except DataError as error:  # Such as a folder that cannot be entered.
        message = f"cannot be listed: {str(error).splitlines()[0]}"
        findings.append(Finding("listing", folder, message, name))
    own = [finding for finding in findings if finding.class_name in ("", name)]
    if data.masks == "none":
        samples = [sample.without_masks() for sample in samples]
    else:
        told = {finding.path for finding in own}
        for sample in samples:
            if sample.unmarked and sample.image not in told:
                message = "has no mask: add it, or data.masks=none."
                findings.append(Finding("mask missing", sample.image, message, name))
    kinds = {finding.kind for finding in own}
    if not kinds & UNLISTED and not any(s.split == "train" and s.label == 0 for s in samples):
        message = "has no normal training image: unpack the class anew, or leave it out."
        findings.append(Finding("no normal images", folder, message, name))
    if "listing" not in kinds:
        about = (path for finding in findings for path in (finding.path, *finding.others))
        used = {*files_of(samples), *about}
        known = used if data.holds_all else None
        findings += left_out(folder, name, known, data.unread_folders())
    return samples


def _other_folders(data: AnomalyDataModule, classes: Sequence[Path]) -> Iterator[Finding]:
    """Folders beside the classes, where all are wanted: empty, hidden, or with images left out."""
    if data.wanted_classes is not None:
        return
    for folder in sorted(path for path in data.root.iterdir() if path.is_dir()):
        # A folder that nobody may enter is not known to be empty.
        with contextlib.suppress(OSError):
            if is_hidden(folder.name) or is_output(folder):
                yield from left_out_whole(folder)
            elif data.known_classes or folder in classes or leads_up(folder):
                continue
            elif not any(folder.iterdir()):
                message = "is empty: fill it, or remove it."
                yield Finding("folder without images", folder, message, folder.name)
            elif holds_images(folder):
                message = "holds images and is no class: it has neither a train nor a test folder."
                yield Finding("unused", folder, message, fault=False)


# ---- Reading ---------------------------------------------------------------------------------


def _rules(
    data: AnomalyDataModule,
    part: AnomalyDataModule,
    samples: Sequence[Sample],
    max_megapixels: float | None,
) -> ReadingRules:
    """How the files of a part are read, the whole set's options first."""
    whole = data.geometry.rules
    if not whole.bit_depths:
        part.set_rules(samples)
    own = part.geometry.rules
    return ReadingRules(
        whole.bit_depths or own.bit_depths,
        whole.inverted or own.inverted,
        whole.max_megapixels if max_megapixels is None else max_megapixels,
    )


def _bit_depth(
    part: AnomalyDataModule, samples: Sequence[Sample], rules: ReadingRules, prefix: str
) -> Iterator[Finding]:
    """A remark on the bits in use, where there are 16-bit files among the training images."""
    deepest = deepest_of(samples, rules.max_megapixels)
    if deepest is not None:
        message = (
            f"holds files of 16-bit numbers: {rules.bit_depth(f'{prefix}/')} bits are taken to be"
            f" in use, its normal training images need {deepest[0]}, the first that does so is"
            f" {deepest[1]}. If the camera gives others, set data.bit_depth."
        )
        yield Finding("bit depth", part.root, message, prefix, False)


def _read_all(work: Sequence[Work], workers: int) -> Iterator[Examined]:
    """Examine samples in threads, in order; only a few more than workers are under way."""
    under_way: deque[Future[Examined]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for sample, rules, numbered in work:
            under_way.append(pool.submit(examine_sample, sample, rules, numbered))
            if len(under_way) > 4 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# ---- Comparing -------------------------------------------------------------------------------


def _same_pictures(examined: Iterable[Examined]) -> Iterator[Finding]:
    """Pictures in training and test at once, as faults; those twice in one of them, as remarks."""
    by_content: dict[bytes, list[Sample]] = defaultdict(list)
    for one in examined:
        if one.digest is not None:
            by_content[one.digest].append(one.sample)
    for same in by_content.values():
        train = [sample for sample in same if sample.split != "test"]
        test = [sample for sample in same if sample.split == "test"]
        fault = "same picture in training and test"
        if train:
            part = "validation" if train[0].split == "validation" else "training"
            for sample in test:
                message = f"is also the {part} image {train[0].image}: remove one of them."
                yield Finding(fault, sample.image, message, sample.class_name)
        for first, *others in filter(None, (train, [] if train else test)):
            for sample in others:
                message = f"shows the same as {first.image}."
                yield Finding("same picture twice", sample.image, message, sample.class_name, False)


def _marking_most(examined: Iterable[Examined]) -> Iterator[Finding]:
    """Masks that mark most of their picture: faults where most of a class's masks do."""
    by_class: dict[str, list[Examined]] = defaultdict(list)
    for one in examined:
        if one.defective is not None and one.sample.label == 1:
            by_class[one.sample.class_name].append(one)
    for name, members in by_class.items():
        marking = [one for one in members if (one.defective or 0) > MOST]
        most = 2 * len(marking) > len(members)
        kind = "inverted masks" if most else "mask marks most"
        for one in marking:
            message = f"marks {one.defective:.0%} of its picture as a defect" + (
                ", as most masks of its class do: if that is the background, set"
                " data.invert_masks=true, or false where it is set."
                if most
                else ": see whether that is the background."
            )
            yield Finding(kind, one.sample.mask or one.sample.image, message, name, most)


def _unusual(examined: Sequence[Examined]) -> Iterator[Finding]:
    """Remarks on images of another size or mode than more than half of their class."""
    by_class: dict[str, list[Examined]] = defaultdict(list)
    for one in examined:
        if one.size is not None:
            by_class[one.sample.class_name].append(one)
    for name, members in by_class.items():
        remark = partial(Finding, class_name=name, fault=False)
        for kind, values in (
            ("unusual size", ["{}x{}".format(*(one.size or ())) for one in members]),
            ("unusual mode", [one.mode for one in members]),
        ):
            usual, times = Counter(values).most_common(1)[0]
            for one, value in zip(members, values, strict=True):
                if 2 * times > len(members) and value != usual:
                    message = f"is {value}, most of its class are {usual}."
                    yield remark(kind, one.sample.image, message)
