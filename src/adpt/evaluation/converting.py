"""Residual and pretrained features of images from their own, kept on disk or in memory."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from adpt.evaluation.feature_cache import CacheFullError, FeatureCache, FeatureSpace
from adpt.evaluation.features import Cached, Features, Make
from adpt.evaluation.matching import References
from adpt.methods.feature_sets import InMemory
from adpt.projector import FeatureProjector

log = logging.getLogger(__name__)


def convert_features(
    features: Features,
    references: References,
    projector: FeatureProjector | None = None,
    batch_size: int = 32,
    cache: FeatureCache | None = None,
    projector_sha256: str | None = None,
) -> Features:
    """Residual features of images, projected where a projector is given.

    Args:
        features: Own features.
        references: What to compare them with.
        projector: On the device of the references.
        batch_size: Images at a time; changes no feature but in its last bits.
        cache: Keeps the result, if own features are cached, too; otherwise it is in memory.
        projector_sha256: Tells projectors apart in the cache; without it nothing is cached.
    """
    if features.validation is not None:
        options = references, projector, batch_size, cache, projector_sha256
        found = convert_features(features.validation, *options)
        features = replace(features, validation=found)

    def make(rows: Sequence[int]) -> list[Tensor]:
        own = [level.to(references.device) for level in features.read(rows)]
        paths = [features.paths[row] for row in rows]
        return [level.cpu() for level in references.convert(own, paths, projector, batch_size)]

    known_projector = projector is None or projector_sha256 is not None
    if cache is not None and known_projector and isinstance(features.source, Cached):
        space = cache.space(
            own=features.source.space.name,
            references=references.name,
            batch_size=batch_size,  # Rounding differs.
            projector=projector_sha256 if projector else None,
        )
        keys = [
            f"{key}-{'trained' if references.leaves_out(path) else 'other'}"
            for key, path in zip(features.keys, features.paths, strict=True)
        ]
        if _fill(space, keys, make, features.num_bytes, batch_size):
            return replace(features, source=Cached(space, keys, make), keys=())
    levels: list[Tensor] = []
    for rows in _in_parts(range(len(features)), batch_size):
        made = make(rows)
        levels = levels or [level.new_empty(len(features), *level.shape[1:]) for level in made]
        for level, values in zip(levels, made, strict=True):
            level[rows[0] : rows[-1] + 1] = values
    return replace(features, source=InMemory(levels), keys=())


def _fill(
    space: FeatureSpace, keys: Sequence[str], make: Make, num_bytes: int, batch_size: int
) -> bool:
    """Write what is missing of images that take `num_bytes` together; False if it has no room."""
    known = space.present(keys)
    missing = [row for row, key in enumerate(keys) if key not in known]
    needed = num_bytes * len(missing) // max(1, len(keys))
    if not space.cache.make_room(needed, {space.path(key) for key in known}):
        return False
    for rows in _in_parts(missing, batch_size):
        made = make(rows)
        try:
            for position, row in enumerate(rows):
                space.write(keys[row], [level[position] for level in made])
        except CacheFullError as error:
            log.warning("%s Features are held in memory instead", error)
            return False
    return True


def _in_parts(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
