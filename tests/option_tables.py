"""Tables of every option, from its declaration: `make options` writes them where users read them.

`docs/configuration.md` ends with the tables, and in the primary files under `conf/` the sentence of
an option stands behind it.
"""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import OmegaConf

from adpt.cli.keys import arguments
from adpt.cli.options import COMMANDS, Made, Parts, Section
from adpt.cli.types import wanted
from adpt.cli.values import shown

ROOT = Path(__file__).resolve().parents[1]
CONF, PAGE = ROOT / "conf", ROOT / "docs" / "configuration.md"
START = "## Every option\n"
HEAD = (
    f"{START}\n`make options` writes these tables:"
    " those of a command from `src/adpt/cli/options/`,"
    " those of a part from the signature and the docstring of the class or function that its"
    " `_target_` names. Options of others' classes, such as Lightning's `Trainer`, stand in their"
    " files under `conf/` and in their own documentation.\n"
)
BY_CHOICE = object()
"""In place of a default that the files of a group differ in."""
PARTS = ("backbone", "data", "references", "model", "method", "metric", "callbacks", "logger")


def meanings(section: type[Section]) -> dict[str, str]:
    """The sentence below each option of a section."""
    tree = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


def sections(section: type[Section], place: str = "") -> Iterator[tuple[str, type[Section]]]:
    """A section and those within it, each with the start of its options' names."""
    yield place, section
    for name, hint in get_type_hints(section).items():
        if isinstance(hint, type) and issubclass(hint, Section):
            yield from sections(hint, f"{place}{name}.")


# ---- Tables -----------------------------------------------------------------------------------


def default_in_words(value: Any) -> str:
    if value is BY_CHOICE:
        return "by choice"
    return "needed" if value == "???" else f"`{shown(value)}`"


def table(rows: list[tuple[str, Any, str, str]]) -> str:
    cells = [
        [f"`{name}`", default_in_words(default), takes, means]
        for name, default, takes, means in rows
    ]
    lines = [["option", "default", "takes", "means"], ["---"] * 4, *cells]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in lines
    )


def of_command(name: str) -> str:
    defaults = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    rows = []
    for place, section in sections(COMMANDS[name]):
        told = meanings(section)
        for option, hint in get_type_hints(section, include_extras=True).items():
            value = defaults.get(place[:-1], {}) if place else defaults
            plain = isinstance(hint, type) and issubclass(hint, Section | Made | Parts)
            if not plain and Made not in get_args(hint) and Parts not in get_args(hint):
                rows.append((place + option, value[option], wanted(hint), told[option]))
    return f"### {name}\n\n{table(rows)}\n"


def argument_texts(target: Any) -> dict[str, str]:
    """The first sentence that a docstring says of each argument."""
    found: dict[str, str] = {}
    for one in reversed(target.__mro__) if inspect.isclass(target) else [target]:
        section = re.search(r"\nArgs:\n(.*?)(\n\n|\Z)", inspect.getdoc(one) or "", re.DOTALL)
        for name, text in re.findall(
            r"^    (\w+): (.*?)(?=^    \S|\Z)",
            section[1] if section else "",
            re.DOTALL | re.MULTILINE,
        ):
            sentence = re.split(r"\.(?:\s|$)", " ".join(text.split()))[0]
            small = sentence[1:2].islower() or sentence[1:2] == " "
            found[name] = sentence[:1].lower() + sentence[1:] if small else sentence
    return found


def made(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes of a file that adpt's own classes and functions are made of, by their places."""

    def walk(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            if str(node.get("_target_")).startswith("adpt."):
                yield place, node
            for name, value in node.items():
                yield from walk(value, f"{place}.{name}".strip("."))

    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    package = re.search(r"^# @package (\S+)", file.read_text(), re.MULTILINE)
    group = file.parent.name if file.parent != CONF else ""
    start = package[1].removeprefix("_global_") if package else group
    yield from walk(content | {"hydra": None}, start)


def of_parts() -> Iterator[str]:
    """A table for each class or function that the files name; a set's has what others lack."""
    base = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "base.yaml"))
    nodes = [("data", {"_target_": "adpt.data.base.AnomalyDataModule", **base})]
    for group in PARTS:
        for file in sorted((CONF / group).glob("*.yaml")):
            choice = f"data={file.stem}" if group == "data" else ""
            nodes += [(choice or place, node) for place, node in made(file)]
    nodes += made(CONF / "evaluate.yaml")
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for place, node in nodes:
        same = [seen for seen in merged if seen[1] == node["_target_"]]
        if not same or same[0][0] == place:
            known = merged.setdefault((place, node["_target_"]), {})
            for option, value in node.items():
                known[option] = value if known.get(option, value) == value else BY_CHOICE
    for (place, name), node in sorted(merged.items(), key=lambda one: one[0]):
        target = pkgutil.resolve_name(name)
        hints, texts = arguments(target) or {}, argument_texts(target)
        start = "data" if place.startswith("data=") else place
        rows = [
            (f"{start}.{option}", value, wanted(hints[option]), texts.get(option, ""))
            for option, value in node.items()
            if option in hints and not (isinstance(value, dict) and value)
        ]
        if rows and [row[0] for row in rows] != ["data.root"]:
            yield f"### {place}: `{name}`\n\n{table(rows)}\n"


def page() -> str:
    """The whole page, its tables made anew."""
    text = PAGE.read_text().partition(START)[0].rstrip()
    return "\n".join([text, "", HEAD, *map(of_command, COMMANDS), *of_parts()])


# ---- Comments in conf/ ------------------------------------------------------------------------


def commented(name: str) -> str:
    """A primary file with each option's sentence behind it."""
    told = {place: meanings(section) for place, section in sections(COMMANDS[name])}
    groups = {key for entry in OmegaConf.load(CONF / f"{name}.yaml").defaults
              if not isinstance(entry, str) for key in entry}  # fmt: skip
    lines, above = [], ""
    for line in (CONF / f"{name}.yaml").read_text().splitlines():
        found = re.match(r"(\s*)([a-z_]+):", line)
        if found and not found[1]:
            above = f"{found[2]}."
        place = above if found and found[1] == "  " else ""
        deep = found is None or len(found[1]) > 2 or (found[1] and place not in told)
        if found and not deep and found[2] in told[place] and (place or found[2] not in groups):
            line = f"{line.partition('  # ')[0]}  # {told[place][found[2]]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    for command in COMMANDS:
        (CONF / f"{command}.yaml").write_text(commented(command))
