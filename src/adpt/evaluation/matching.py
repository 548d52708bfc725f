"""References downstream, and the residual and pretrained features that follow from them."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.evaluation.features import Features
from adpt.projector import FeatureProjector
from adpt.residual import reference_scale, residual_features

log = logging.getLogger(__name__)


class Match(NamedTuple):
    """Images that are compared with the same references, or each with its own.

    Attributes:
        rows: Which images of the batch.
        references: One tensor a level, (R, C) for all of them or (len(rows), R, C).
    """

    rows: list[int]
    references: list[Tensor]


class References(ABC):
    """Where the references of a class's images come from; an image is never its own reference.

    Args:
        train: Features of the class's training images.
        paths: The k references chosen among them; they give the class its scale.
        device: Where to compute.
        self_match: True if an image may be its own reference all the same.
        chosen: Features of the k references where they are read in another geometry.
        geometry: What that geometry decides.
    """

    def __init__(
        self,
        train: Features,
        paths: Sequence[str],
        device: torch.device,
        *,
        self_match: bool = False,
        chosen: Features | None = None,
        geometry: str = "",
    ) -> None:
        self.paths, self.device = list(paths), device
        self.self_match, self.geometry = self_match, geometry
        self.train_rows = {path: row for row, path in enumerate(train.paths)}
        self.train_keys = train.keys
        among = chosen or train
        rows = {path: row for row, path in enumerate(among.paths)}
        levels = among.read([rows[path] for path in self.paths])
        self.levels = [level.flatten(2).transpose(1, 2).to(device) for level in levels]
        self._scale: Tensor | None = None

    @abstractmethod
    def matches(self, levels: list[Tensor], paths: Sequence[str]) -> Iterator[Match]:
        """The references of a batch of images."""

    @property
    @abstractmethod
    def name(self) -> str:
        """All that decides over the references of any image, for the cache."""

    @abstractmethod
    def leaves_out(self, path: str) -> bool:
        """True if an image is itself among those that references are chosen from."""

    def alone(self, path: str) -> bool:
        """True if an image is matched with references that no other image has."""
        return self.leaves_out(path)

    def keys_of(self, paths: Sequence[str]) -> list[str]:
        """Content of training images; their paths where nothing is cached."""
        rows = [self.train_rows[path] for path in paths]
        return [self.train_keys[row] for row in rows] if self.train_keys else list(paths)

    def scale(self, projector: FeatureProjector) -> Tensor | None:
        """The class's scale, where the projector asks for one and there are two references."""
        # A single reference says nothing of its scale: the projector's own must do.
        if not projector.scale_by_references or len(self.paths) < 2:
            return None
        if self._scale is None:
            self._scale = reference_scale(self.levels)
        return self._scale

    @torch.no_grad()
    def convert(
        self,
        levels: list[Tensor],
        paths: Sequence[str],
        projector: FeatureProjector | None,
        batch_size: int = 0,
    ) -> list[Tensor]:
        """Residual features of a batch of images, through the projector where one is given.

        Args:
            levels: Own features, one (B, C, h, w) tensor a level, on the device that computes. A
                class token behind them stays as it is.
            paths: The images.
            projector: On the same device.
            batch_size: Images that are projected at a time, some of them again where there are
                fewer: so the last bits depend on none of the others.
        """
        levels, token = levels[: len(self.levels)], levels[len(self.levels) :]
        if projector is not None and not projector.on_residuals and not projector.needs_references:
            padded = _padded(range(len(paths)), batch_size)
            found = self._project(projector, [level[padded] for level in levels], [])
            return [*(level[: len(paths)] for level in found), *token]
        made = [torch.empty_like(level) for level in levels]
        for rows, references in self.matches(levels, paths):
            if not self.alone(paths[rows[0]]):
                rows = _padded(rows, batch_size)
            chosen = [level[rows] for level in levels]
            alone = len(self.paths) == 1 and not self.self_match
            within = alone and [paths[row] for row in rows] == self.paths
            found = self._convert(chosen, references, projector, within)
            for level, values in zip(made, found, strict=True):
                level[rows] = values.to(level.dtype)
        return made + token

    def _convert(
        self,
        levels: list[Tensor],
        references: list[Tensor],
        projector: FeatureProjector | None,
        within: bool = False,
    ) -> list[Tensor]:
        """As `convert`, with these references; `within` the image for the only reference itself."""
        if projector is None or projector.on_residuals:
            levels = (
                [_residual_within(level) for level in levels]
                if within
                else residual_features(levels, references)
            )
        return levels if projector is None else self._project(projector, levels, references)

    def _project(
        self, projector: FeatureProjector, levels: list[Tensor], references: list[Tensor]
    ) -> list[Tensor]:
        needed = references if projector.needs_references else None
        projected: list[Tensor] = projector(levels, self.scale(projector), references=needed)
        return projected


class FixedReferences(References):
    """The same k references for all of a class's images."""

    @property
    def name(self) -> str:
        """The references themselves, and how they are told from the images."""
        return f"fixed {self.keys_of(self.paths)}{self.geometry}{' self' * self.self_match}"

    def leaves_out(self, path: str) -> bool:
        """True for a reference."""
        return path in self.paths and not self.self_match

    def matches(self, levels: list[Tensor], paths: Sequence[str]) -> Iterator[Match]:
        """All references; for an image that is one of them, the others."""
        others = [row for row, path in enumerate(paths) if not self.leaves_out(path)]
        if others:
            yield Match(others, self._all())
        for row, path in enumerate(paths):
            if self.leaves_out(path):
                rest = [i for i, other in enumerate(self.paths) if other != path] or [0]
                yield Match([row], [level[rest].flatten(0, 1) for level in self.levels])

    @torch.no_grad()
    def convert_others(
        self, levels: list[Tensor], projector: FeatureProjector | None
    ) -> list[Tensor]:
        """As `convert`, for images none of which is a reference, however many they are."""
        levels, token = levels[: len(self.levels)], levels[len(self.levels) :]
        found = self._convert(levels, self._all(), projector)
        return [level.contiguous() for level in found] + token

    def _all(self) -> list[Tensor]:
        return [level.flatten(0, 1) for level in self.levels]


class AlignedReferences(References):
    """For each image the n training images whose global feature is nearest to its own.

    The global feature is the last level's mean over the image; nearest by cosine similarity
    (ADPretrain's evaluation of FeatureNorm takes 10 images from a list made beforehand: `listed`).

    Args:
        train: Features of the class's training images.
        paths: The k references that give the class its scale.
        device: Where to compute.
        count: n; all other training images where there are fewer.
        listed: An image to its references, the n first of which stand in for the nearest ones.
        self_match: True if an image may be its own reference all the same.
    """

    def __init__(
        self,
        train: Features,
        paths: Sequence[str],
        device: torch.device,
        count: int,
        listed: Mapping[str, Sequence[str]] | None = None,
        *,
        self_match: bool = False,
    ) -> None:
        super().__init__(train, paths, device, self_match=self_match)
        self.train, self.count = train, count
        self.listed = {
            path: [self.train_rows[one] for one in names[:count] if one in self.train_rows]
            for path, names in (listed or {}).items()
        }
        self.descriptors = torch.cat([_descriptor(levels) for levels in train.batches(32, device)])

    @property
    def name(self) -> str:
        """The number, and all images that are chosen among."""
        among, scale = self.keys_of(self.train.paths), self.keys_of(self.paths)
        listed = f" listed {sorted(self.listed.items())}" if self.listed else ""
        told = f"{listed}{' self' * self.self_match}"
        return f"aligned {self.count} of {among} scaled by {scale}{told}"

    def leaves_out(self, path: str) -> bool:
        """True for a training image."""
        return path in self.train_rows and not self.self_match

    def alone(self, path: str) -> bool:
        """True for every image."""
        return True

    def nearest(self, levels: list[Tensor], paths: Sequence[str]) -> Tensor:
        """Rows of the nearest training images, (B, n), nearest first."""
        similarity = _descriptor(levels) @ self.descriptors.T
        for row, path in enumerate(paths):
            if self.leaves_out(path) and len(self.descriptors) > 1:
                similarity[row, self.train_rows[path]] = -torch.inf
        return similarity.topk(min(self.count, len(self.descriptors)), dim=1).indices

    def matches(self, levels: list[Tensor], paths: Sequence[str]) -> Iterator[Match]:
        """Each image with its own references."""
        for row, nearest in enumerate(self.nearest(levels, paths).tolist()):
            own = self.train_rows[paths[row]] if self.leaves_out(paths[row]) else None
            near = self.listed.get(paths[row]) or nearest
            others = [train_row for train_row in near if train_row != own] or near
            read = self.train.read(others)
            flat = [level.flatten(2).transpose(1, 2).flatten(0, 1) for level in read]
            yield Match([row], [level.to(self.device) for level in flat])


def _padded(rows: Sequence[int], size: int) -> list[int]:
    return [*rows, *[rows[0]] * (size - len(rows))]


def _descriptor(levels: Sequence[Tensor]) -> Tensor:
    """Global features of images, (B, C), of length 1."""
    return F.normalize(levels[-1].float().mean((2, 3)), dim=1)


def _residual_within(level: Tensor) -> Tensor:
    """Residuals of an only reference (1, C, h, w): every patch less its nearest other patch."""
    tokens = level.flatten(2)[0].T
    directions = F.normalize(tokens.float(), dim=1)
    similarity = directions @ directions.T
    nearest = similarity.fill_diagonal_(-torch.inf).argmax(1)
    return (tokens - tokens[nearest]).T.reshape(level.shape)
