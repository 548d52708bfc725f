"""The good images that a threshold was found from: which of them sets it, and which stand apart."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from adpt.inspection.limits import outlying
from adpt.inspection.threshold import ThresholdPolicy
from adpt.methods import Scores
from adpt.running.names import printable
from adpt.windows import Size

_NAMED = 5


@dataclass(frozen=True)
class GoodImages:
    """Good images with their scores, none of them fitted on for its own.

    Attributes:
        paths: Their files.
        scores: Maps (n, H, W) of the model's size and image scores (n,), on the CPU.
        remarks: What the scores say of the images, a sentence each.
        copies: Small copies of the pictures by path, with their own height and width, as far as
            they were to be kept.
    """

    paths: list[str]
    scores: Scores
    remarks: list[str]
    copies: dict[str, tuple[Image.Image, Size]] = field(default_factory=dict)

    @classmethod
    def examined(
        cls,
        paths: list[str],
        scores: Scores,
        policy: ThresholdPolicy,
        bad: npt.ArrayLike | None,
        every: npt.ArrayLike | None = None,
    ) -> "GoodImages":
        """The images, with remarks on the highest score and on those that stand apart.

        Args:
            paths: Their files.
            scores: As the attribute.
            policy: How the threshold was found.
            bad: Scores of known defects, where there are any.
            every: Of the good images of earlier too, these before the others; None for no earlier.
        """
        values = scores.image.double().numpy() if every is None else np.asarray(every)
        earlier = len(values) - len(paths)
        names = ["an earlier image"] * earlier + paths
        top = int(values.argmax())
        remarks = [f"The highest score of a good image is that of {named(names, values, [top])}."]
        if apart := outlying(values):
            found = policy.found(values, "", bad).value
            without = policy.found(np.delete(values, apart), "", bad).value
            cost = f"; without them the threshold would be {without:.5g}, not {found:.5g}"
            remarks.append(
                f"{len(apart)} of {len(values)} good images stand apart from the others:"
                f" {named(names, values, apart)}. Look whether they are good"
                + cost * (without != found)
                + "."
            )
        return cls(paths, scores, remarks)


def named(paths: list[str], values: npt.NDArray[Any], rows: list[int]) -> str:
    """Some of the images with their scores, in words; the first few of many."""
    names = [f"{printable(paths[row])} ({values[row]:.5g})" for row in rows[:_NAMED]]
    return ", ".join(names) + f" and {len(rows) - _NAMED} more" * (len(rows) > _NAMED)
