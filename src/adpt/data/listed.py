"""The classes and files of a set on disk, checked without decoding any."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args

from adpt.data.checks import check_mask_sizes, files_of, require_masks
from adpt.data.files import folders_by_name, on_disk
from adpt.data.finding import Finding
from adpt.data.index import indexed
from adpt.data.sample import Masks, Sample
from adpt.errors import DataError, OutsideError
from adpt.running.names import composed
from adpt.running.paths import expanded

log = logging.getLogger(__name__)

T = TypeVar("T")


class Watched(NamedTuple):
    """All that decides over a class's listing.

    Attributes:
        options: Those of the set, beside root and class.
        tree: The folder that holds all files of the class.
        lists: Files that name these, whether they are there or not.
    """

    options: dict[str, Any]
    tree: Path
    lists: Sequence[Path] = ()


class ListedSet:
    """The classes and files of a set; a subclass says where they lie.

    Arguments as of `AnomalyDataModule`.
    """

    layout: ClassVar[str]
    """The tree that the set has on disk, for messages."""
    source: ClassVar[str]
    """How to get the data, for messages."""
    known_classes: ClassVar[tuple[str, ...]] = ()
    """The published classes; empty where the user's own folders are the classes."""
    holds_all: ClassVar[bool] = False
    """True where every image in a class's folder should belong to the class."""

    def __init__(self, root: str | Path, classes: Sequence[str] | None, masks: Masks) -> None:
        super().__init__()
        if not isinstance(root, str | Path) or not str(root):
            raise DataError(f"data.root={root} is no folder: give that of the set.")
        if masks not in get_args(Masks):
            raise DataError(
                f"data.masks is 'required' or 'none', not '{masks}': none for labels without masks."
            )
        self.root = expanded(root)
        self.wanted_classes: Sequence[str] | None = several(classes)
        self.masks: Masks = masks
        self.collected: list[Finding] | None = None
        """All that listing finds, while the set is examined; None raises the first fault."""
        self._warnings: list[str] = []
        self._folders: dict[str, Path] | None = None

    @property
    def set_name(self) -> str:
        """The set's name in records."""
        return type(self).__name__.lower()

    # ---- What a subclass says ----------------------------------------------------------------

    @abstractmethod
    def available_classes(self) -> list[str]:
        """Names of the classes that lie under `root`, in order."""

    @abstractmethod
    def find_samples(self, class_name: str) -> Iterable[Sample]:
        """All images of one class, both splits, in a fixed order.

        Raises:
            DataError: Something the layout promises is missing, such as a list's image. Masks need
                no check here. Faults that are told by `report` are raised only where nobody
                collects them.
        """

    def expected(self) -> str:
        """The tree that should be there, for the message where masks are missing."""
        return self.layout

    def class_folder(self, class_name: str) -> Path:
        """The folder that a class lies in."""
        # Listed once a listing: each class asks for its folder several times.
        if self._folders is None:
            self._folders = folders_by_name(self.root)
        return self._folders.get(class_name, self.root / class_name)

    def watched(self, class_name: str) -> Watched | None:
        """All that decides over `find_samples`; None keeps no index of the set."""
        return None

    def deciding_files(self, class_name: str) -> Sequence[Path]:
        """Files whose content decides over a class's figures, beside its images and masks."""
        return ()

    def leftovers(self, class_name: str, samples: Sequence[Sample]) -> Iterable[Finding]:
        """Findings beside a class's samples, which stop nothing: for an examination."""
        return ()

    def unread_folders(self) -> Collection[str]:
        """Names, in lower case, of folders that are left alone on purpose."""
        return ()

    # ---- Faults ------------------------------------------------------------------------------

    def report(self, *faults: Finding, said: str = "") -> None:
        """Tell of faults that a set cannot be used with.

        Args:
            faults: Any number of them, also none.
            said: The error's message on all of them; "" for that of the first alone.

        Raises:
            DataError: There are some, and nobody collects them.
        """
        if self.collected is not None:
            self.collected += faults
        elif faults:
            raise DataError(said or str(faults[0]))

    def note(self, *findings: Finding) -> None:
        """Tell of what stops nothing; for whoever collects it."""
        if self.collected is not None:
            self.collected += findings

    def entry(self, file: Path, class_name: str, read: Callable[[], T]) -> T | None:
        """Take with `read` from a list; None where that is at fault, which is reported."""
        try:
            return read()
        except DataError as error:
            outside = isinstance(error, OutsideError)
            kind = "path outside the set" if outside else "list"
            message = "was not followed" if outside else "holds an entry that cannot be used"
            self.report(Finding(kind, file, f"{message}: {error}", class_name), said=str(error))
        return None

    def warn(self, finding: Finding) -> None:
        """Tell of what stops nothing, and what every user of the set should know."""
        self.note(finding)
        self._warnings.append(str(finding))

    def existing(self, samples: Sequence[Sample], source: Path) -> list[Sample]:
        """The samples that `source` lists, their files as the disk has them; each once.

        Those whose files are missing are reported and left out.
        """
        files = files_of(samples)
        there = on_disk(files)
        advice = f"is listed in {source}, and not there: unpack it anew."
        missing = [
            Finding("missing file", path, advice, sample.class_name)
            for sample in samples
            for path in (sample.image, sample.mask)
            if path is not None and path not in there
        ]
        if missing:
            self.report(
                *missing,
                said=f"{len(missing)} files that {source} lists are missing, the first:"
                f" {missing[0].path}. Unpack the data set anew, or leave the class out with"
                " data.classes.",
            )
        found = (
            s._replace(image=there[s.image], mask=s.mask and there.get(s.mask))
            for s in samples
            if s.image in there
        )
        return list(dict.fromkeys(found))

    def explain(self, problem: str) -> str:
        """A problem, with what is expected and where to get it."""
        return f"{problem}\nExpected under {self.root}:\n{self.layout}\n{self.source}"

    # ---- Listing -----------------------------------------------------------------------------

    def choose_classes(self) -> list[str]:
        """The classes to use, checked against those on disk.

        Raises:
            DataError: A class is unknown or not on disk, or there is none at all.
        """
        self._folders = None
        available = self.available_classes()
        if not available:
            raise DataError(self.explain(f"No class of the set lies in {self.root}."))
        if self.wanted_classes is None:
            if len(available) < len(self.known_classes):
                missing = sorted(set(self.known_classes) - set(available))
                log.warning("%s lacks the classes %s", self.root, ", ".join(missing))
            return available
        if not self.wanted_classes:
            raise DataError("data.classes is empty: name classes, or leave it null for all.")
        chosen = [_written_out(name, available) for name in self.wanted_classes]
        known = self.known_classes or tuple(available)
        for fault, where, there in (
            ("No class of this set", "known", known),
            (f"Not in {self.root}", "there", tuple(available)),
        ):
            wrong = [name for name in chosen if name not in there]
            if wrong:
                raise DataError(
                    f"{fault}: {', '.join(wrong)}; {where} are {', '.join(there)} (data.classes)."
                )
        return list(dict.fromkeys(chosen))

    def samples_of(self, class_name: str) -> list[Sample]:
        """The images of a class, checked, from an index where the set keeps one.

        Raises:
            DataError: As of `find_samples`, or there is no normal training image, or masks are
                missing or differ in size from their images.
        """
        find = partial(self._checked, class_name)
        watched = self.watched(class_name)
        if watched is None:
            samples, warnings = find()
        else:
            kind = {"set": type(self).__name__, "class": class_name, "masks": self.masks}
            decides = {**kind, **watched.options}
            samples, warnings = indexed(self.root, decides, watched.tree, watched.lists, find)
        for warning in warnings:
            log.warning("%s", warning)
        return samples

    def _checked(self, class_name: str) -> tuple[list[Sample], list[str]]:
        self._warnings = []
        found = list(self.find_samples(class_name))
        if self.masks == "none":
            found = [sample.without_masks() for sample in found]
        else:
            self.check_masks(found)
        if not any(sample.label == 0 and sample.split == "train" for sample in found):
            raise DataError(self.explain(f"Class '{class_name}' has no normal training image."))
        return found, self._warnings

    def check_masks(self, samples: Sequence[Sample]) -> None:
        """Refuse masks that are missing, or of another size than their images."""
        require_masks(samples, self.expected())
        check_mask_sizes(samples)


def several(names: Any) -> Any:
    """One name, or several, as several; text is a sequence too, of letters."""
    return (names,) if isinstance(names, str | int) else names


def _written_out(name: object, available: Sequence[str]) -> str:
    """A class name as text: YAML reads a name such as 01 as the number 1."""
    same = [known for known in available if known.isdigit() and int(known) == name]
    return same[0] if same else composed(str(name))
