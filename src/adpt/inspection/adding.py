"""Further good images into an inspector, those that it was fitted on not being at hand."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from adpt.data.transforms import Geometry
from adpt.errors import UserError
from adpt.inspection.fitted_model import by_content, digits, shown_pixels
from adpt.inspection.fitting import ImageFiles
from adpt.inspection.good_images import GoodImages, named
from adpt.inspection.grounds import Grounds
from adpt.inspection.inputs import Images, image_files
from adpt.inspection.model_file import Model
from adpt.inspection.scorer import Scorer
from adpt.methods import Scores
from adpt.methods.base import tells_left_out
from adpt.running.progress import Progress

log = logging.getLogger(__name__)

_COPY = 0.02
"""Share of the median score of good images below which an image is a copy of one fitted on."""


def with_further(
    model: Model, geometry: Geometry, images: Images, batch_size: int, progress: Progress
) -> tuple[Model, GoodImages]:
    """A model with further good images in it, its threshold found anew.

    The further images are scored as if each had not been there. The earlier ones cannot be: their
    scores, and those of known defects, are brought to the larger fit by the factor by which it
    changes the further images' (the median).

    Args:
        model: As it was; it stays so.
        geometry: Brings images to its size.
        images: The further images.
        batch_size: Images at a time.
        progress: Told of every batch and step.

    Returns:
        The model, and the further images with remarks on what changed.

    Raises:
        UserError: Its file is of before, when it did not hold what this takes; its method cannot;
            or none of the images is new.
    """
    grounds = model.grounds
    if grounds is None:
        raise UserError(
            "add: this inspector was saved before the scores of its good images were kept in the"
            " file, so that no threshold could be found anew. Fit it again, with all images."
        )
    if not tells_left_out(type(model.scorer.method)):
        name = type(model.scorer.method).__name__
        raise UserError(
            f"add: {name} scores in a way of its own, of which no images can be left out: fit it"
            " again, with all images."
        )
    former, interest = model.scorer, model.scorer.interest
    inside = None if interest is None else interest.cpu()
    files = ImageFiles(geometry, batch_size, inside)
    new_files, token = unseen(image_files(images, "add"), grounds), former.method.uses_class_token
    own = files.encoded(former.backbone, new_files, progress, token)
    batches = [
        former.convert([level.to(former.device) for level in own.read(rows.tolist())])
        for rows in torch.arange(len(own)).split(batch_size)
    ]
    method = deepcopy(former.method)
    with torch.no_grad():
        before = Scores.joined(map(former.method.score, batches)).image.cpu()
        # Saved anew, a copy is another file. Left-out scores of copies say nothing of good images.
        new = before > _COPY * float(np.median(grounds.good))
        paths, before = list(compress(own.paths, new)), before[new]
        _tell_left_out(len(own) - len(paths), len(paths))
        progress("fitting the method", 0, len(paths))
        parts = zip(batches, new.to(former.device).split(batch_size), strict=True)
        further = [[level[some] for level in levels] for levels, some in parts if some.any()]
        after = Scores(*(part.cpu() for part in method.extend(further, model.settings.images)))
    if not bool(after.image.isfinite().all()):
        raise UserError("add: scores of these images are no finite numbers: look at the images.")
    factor = float((after.image / before).median())
    every = replace(
        grounds,
        good=(*(score * factor for score in grounds.good), *after.image.tolist()),
        defects=tuple(score * factor for score in grounds.defects),
        files=(*grounds.files, *map(digits, paths)),
    )
    threshold = model.threshold if every.value is not None else every.threshold()
    shown = shown_pixels(after.maps, inside)
    middle, highest = (score * factor for score in model.settings.normal_map)
    share = len(paths) / (len(paths) + model.settings.images)
    settings = replace(
        model.settings,
        images=model.settings.images + len(paths),
        normal_map=(
            middle + share * (float(shown.median()) - middle),
            max(highest, float(shown.max())),
        ),
    )
    scorer = Scorer(
        former.backbone, method, former.kind, former.references, former.projector, interest
    )
    added = Model(scorer, settings, threshold, every.spread(), every, model.weights_inside)
    good = GoodImages.examined(paths, after, every.policy, every.defects or None, every.good)
    change = (
        f"{len(paths)} further good images, {settings.images} in all. The threshold is"
        f" {threshold.value:.5g}, {model.threshold.value:.5g} before. Before, the further images"
        f" scored {float(before.median()):.5g} in the median, and the earlier ones"
        f" {float(np.median(grounds.good)):.5g}; scores of good images change by"
        f" {100 * (factor - 1):+.1f} %."
    )
    remarks = [f"{change} {good.remarks[0]}", *good.remarks[1:]]
    if above := (before > model.threshold.value).nonzero().flatten().tolist():
        remarks.append(
            f"{len(above)} of the further images were anomalous before:"
            f" {named(paths, before.numpy(), above)}. Look whether they are good: what they show is"
            " normal from now on."
        )
    return added, replace(good, remarks=remarks)


def unseen(paths: Sequence[Path], grounds: Grounds) -> list[Path]:
    """The images that were not fitted on; the others are named.

    Raises:
        UserError: There are none.
    """
    known = set(grounds.files)
    new = [path for key, path in by_content(paths).items() if key not in known]
    _tell_left_out(len(paths) - len(new), len(new))
    return new


def _tell_left_out(count: int, others: int) -> None:
    if not others:
        raise UserError("add: all of these images were taken in before; there is nothing to add.")
    if count:
        log.warning("add: %d images are left out: they were taken in before", count)
