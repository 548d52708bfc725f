"""Numbers and settings as readers see them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adpt.results.record import Record

LEGEND = (
    "own: the backbone's features as they are. residual: the same less the nearest normal reference"
    " feature. pretrained: residual features through the pretrained projector. Values in percent,"
    " a method's best features in bold; vs own, vs residual: pretrained minus those, in points."
)
"""Explains the tables to their reader."""

PROTOCOL_MEANING = {
    "clean": "nothing chosen on test data",
    "paper": "the authors' choices on test data",
}
"""The meaning of each protocol."""

_SHOWN = 4
_OF_OPTIONS = ("name", "fingerprint", "options", "mean", "std", "network")
"""Facts about a backbone that its options in the config decide."""


def percent(
    fraction: float, deviation: float = math.nan, interval: tuple[float, float] | None = None
) -> str:
    """A fraction in percent with one decimal, `–` for nan.

    Args:
        fraction: The fraction.
        deviation: Its standard deviation, which follows after ± unless it is nan.
        interval: Its low and high end, which follow in brackets.
    """
    if math.isnan(fraction):
        return "–"
    text = f"{100 * fraction:.1f}"
    if interval:
        low, high = (f"{100 * end:.1f}" for end in interval)
        text = f"{text} [{low}, {high}]"
    return text if math.isnan(deviation) else f"{text} ± {100 * deviation:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in points with its sign, `–` for nan."""
    if math.isnan(difference):
        return "–"
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def setting_in_words(setting: Mapping[str, Any]) -> list[str]:
    """The differences from the plain experiment, a phrase for each option; none for the plain one.

    Args:
        setting: As of `Record.setting`.
    """
    return [_phrase(name, value) for name, value in sorted(setting.items())]


def options_in_words(options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A method's options, a phrase for each, with the features where it is not for all of them.

    Args:
        options: Kind of features to the options, as of `Record.options`.
    """
    kinds: dict[str, list[str]] = {}
    for features, chosen in options.items():
        for name, value in chosen.items():
            kinds.setdefault(_phrase(name, value), []).append(features)
    return [
        phrase if len(found) == len(options) else f"{phrase} on {listed(found)} features"
        for phrase, found in kinds.items()
    ]


def causes(told: Iterable[str]) -> list[str]:
    """Differences without those that follow from an option or a source that is told beside it.

    Args:
        told: Names as in `Record.decides`, or phrases that begin with them.
    """
    told = list(told)
    follow: tuple[str, ...] = ()
    if any(one.startswith("backbone.") for one in told):
        follow += tuple(f"the backbone's {name}" for name in _OF_OPTIONS)
    if any(one.startswith("source of ") for one in told):
        follow += ("the backbone's source",)
    return [one for one in told if not one.startswith(follow)]


def few_listed(texts: Sequence[str]) -> str:
    """Texts as a list in a sentence; of more than four the others are counted."""
    more = len(texts) - _SHOWN
    return listed([*texts[:_SHOWN], f"{more} more"] if more > 0 else texts)


def plural(number: int, noun: str) -> str:
    """A number and its noun, such as `2 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(texts: Iterable[str]) -> str:
    """Texts as a list in a sentence, such as `a, b and c`."""
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last


def references_in_words(records: Iterable[Record]) -> list[str]:
    """How many references the classes of records had; nothing where they had none."""
    numbers = sorted({one.shots_used for one in records if one.shots_used is not None})
    if not numbers:
        return []
    return [f"{listed(map(str, numbers))} reference{'s' * (numbers != [1])} per class"]


def distinct(texts: Iterable[str]) -> list[str]:
    """Texts, each once, without empty ones."""
    return [text for text in dict.fromkeys(texts) if text]


def short_commit(commit: str | None) -> str:
    """The first digits of a commit, with `-dirty` where it has that; empty for None."""
    digits, dash, rest = (commit or "").partition("-")
    return digits[:8] + dash + rest


def _phrase(name: str, value: Any) -> str:
    match name, value:
        case "train_fraction", float():
            return f"{100 * value:g} % of the training images"
        case "noise_ratio", float():
            return f"{100 * value:g} % anomalous images mixed into training"
        case "trained_on", str():
            return f"trained on {value}"
        case "few_shot", True:
            return "few-shot: no other training images than the references"
        case "image_size", [height, width]:
            return f"images of {height} × {width} pixels"
        case "windows", [height, width]:
            return f"windows of {height} × {width} pixels"
        case "windows", int():
            return f"windows of {value} pixels"
        case "aligned_windows", True:
            return "each window by itself"
        case "aligned", int():
            return f"for each image the {value} nearest training images as references"
        case "as_published", True:
            return "the published setting"
        case "picture_resolution", True:
            return "pixels measured at the pictures' own resolution"
        case "masks", "none":
            return "without masks"
        case "epochs", str():
            return f"{value} epochs"
        case _, True:
            return name.replace("_", " ")
    return f"{name.replace('_', ' ')} {value}"
