"""Options are declared once: what a type takes, and the tables and comments made of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pytest
import torch
from omegaconf import OmegaConf

import option_tables
from adpt.cli.keys import arguments
from adpt.cli.options import COMMANDS
from adpt.cli.types import Range, Text, fits, hints, wanted

MADE = {"_target_": "anything"}


@pytest.mark.parametrize(
    ("hint", "taken", "refused", "words"),
    [
        (int, [3, -1, MADE], [3.0, True, "3", None, [3], {}], "a whole number"),
        (float, [3, 0.5], [True, "x", None], "a number"),
        (bool, [True], [1, "yes", None], "true or false"),
        (str, ["a", "", 3], [True, None, ["a"]], "text"),
        (Text, ["a"], ["", 3, None], "text"),
        (str | Path | None, ["a", None], [[1], False], "text or null"),
        (None | int, [None, 1], ["a"], "a whole number or null"),
        (Literal["a", 1], ["a", 1], ["b", True, 1.0], "one of a, 1"),
        (Sequence[int], [[], [1, 2]], [1, "12", [1, "x"], None], "a list of whole numbers"),
        (tuple[float, ...], [[1.5]], [["x"]], "a list of numbers"),
        (tuple[int, int], [[1, 2]], [[1], [1, 2, 3]], "a list of whole numbers"),
        (Sequence[str], ["a", 3, ["a", 3]], [[None], True], "a list of names"),
        (list[Literal["a", "b"]], [["a"]], ["a", ["c"]], "a list of a, b"),
        (list, [[1, "a"]], ["a", 1], "a list"),
        (Mapping[str, int], [{"a": 1}], [[1], "a"], "names, each with what it holds below it"),
        (int | Sequence[int], [1, [1]], ["a"], "a whole number or a list of whole numbers"),
        (Annotated[int, Range(least=1)], [1], [0, 1.5, "x", None], "a whole number of at least 1"),
        (
            Annotated[float, Range(above=0, most=1)] | None,
            [0.5, 1, None],
            [0, 1.5],
            "a number above 0 and at most 1 or null",
        ),
        (Annotated[float, Range(least=0, below=1)], [0], [1, -1], None),
        # What no config can tell is left to the class.
        (Any, [1, "x", None], [], None),
        (torch.device | None, ["cuda:0", None, MADE], [], None),
        (float | torch.Tensor, [1, MADE], ["abc"], "a number or something made by a _target_"),
        (Callable[[], int], [MADE, "x", None], [], "something made by a _target_"),
    ],
)
def test_a_type_takes_its_values_and_no_others(
    hint: Any, taken: list[Any], refused: list[Any], words: str | None
) -> None:
    assert [value for value in taken if not fits(value, hint)] == []
    assert [value for value in refused if fits(value, hint)] == []
    assert words is None or wanted(hint) == words


def test_what_is_annotated_is_read_as_far_as_it_can_be() -> None:
    def own(
        plain, number: "int", standard: "Iterable[int]", absent: "Nowhere | None", odd: [int]  # noqa: F821
    ) -> None: ...  # fmt: skip

    assert hints(own) == {
        "plain": Any, "number": int, "standard": Iterable[int], "absent": Any, "odd": Any,
    }  # fmt: skip
    # Torch imports some of these for type checkers alone.
    taken = arguments(torch.optim.lr_scheduler.MultiStepLR)
    assert taken is not None
    assert taken["milestones"] == Iterable[int]
    assert taken["gamma"] is float


# ---- The declaration --------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_primary_file_is_declared_and_explained(command: str) -> None:
    content: Any = OmegaConf.to_container(OmegaConf.load(option_tables.CONF / f"{command}.yaml"))
    for place, section in option_tables.sections(COMMANDS[command]):
        declared = get_type_hints(section)
        assert option_tables.meanings(section).keys() == declared.keys()
        own = content.get(place[:-1], {}) if place else content
        keys = own.keys() - {"defaults", "hydra"}
        groups = {key for entry in content["defaults"] if isinstance(entry, dict) for key in entry}
        # Files of `strategy` go below `trainer`.
        named = {g.partition("@")[2] or g for g in groups if " " not in g}
        keys |= set() if place else named - {"strategy"}
        assert keys == declared.keys()


def test_the_tables_are_those_of_the_declaration() -> None:
    assert option_tables.PAGE.read_text() == option_tables.page(), "run: make options"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_sentence_of_an_option_stands_behind_it(command: str) -> None:
    written = (option_tables.CONF / f"{command}.yaml").read_text()
    assert written == option_tables.commented(command), "run: make options"
