"""Kinds of options, which a command's declaration names."""

from collections.abc import Sequence
from typing import Annotated

from adpt.cli.types import Range


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
