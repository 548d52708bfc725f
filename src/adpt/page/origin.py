"""How the results came about: settings, counts, references and commands."""

from collections.abc import Sequence

from adpt.page.markup import Markup, join, tag
from adpt.results import Record
from adpt.results.origin import commands, facts

_COUNTS = ("train", "test", "anomalous", "skipped")
_AT_ONCE = 6
"""Entries of a list that are shown without unfolding it."""


def section(records: Sequence[Record]) -> Markup:
    """Everything that tells under which conditions the numbers were taken."""
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", _list(texts)))
        for name, texts in facts(records).items()
    ]
    typed = commands(records)
    return tag(
        "section",
        tag("h2", "How these results were made"),
        tag("div", tag("table", *rows, class_="facts"), class_="scroll", tabindex=0),
        *([tag("h3", "Commands"), _commands(typed)] if typed else []),
        tag("h3", "Images"),
        _counts(records),
        _references(records),
    )


def _list(texts: Sequence[str]) -> Markup:
    lines = [tag("div", text) for text in texts]
    if len(lines) <= _AT_ONCE:
        return join(lines)
    return tag("details", tag("summary", f"{len(lines)} different"), *lines)


def _commands(typed: Sequence[str]) -> Markup:
    text = tag("pre", "\n".join(typed))
    if len(typed) <= _AT_ONCE:
        return text
    return tag("details", tag("summary", f"{len(typed)} commands"), text)


def _counts(records: Sequence[Record]) -> Markup:
    classes: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        classes.setdefault((record.dataset, record.class_name), []).append(record)
    head = [tag("th", name, scope="col") for name in ("data set · class", *_COUNTS)]
    rows = [
        tag(
            "tr",
            tag("th", f"{dataset} · {class_name}", scope="row"),
            *(tag("td", _count(group, name)) for name in _COUNTS),
        )
        for (dataset, class_name), group in sorted(classes.items())
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    scrolling = tag("div", table, class_="scroll", tabindex=0)
    if len(rows) > _AT_ONCE:
        scrolling = tag("details", tag("summary", f"{len(rows)} classes"), scrolling)
    parts = [scrolling]
    if any(_differs(group) for group in classes.values()):
        warning = "Where a cell shows a range, the results of that class are not over equal images."
        parts.append(tag("p", warning, class_="note worse"))
    return join(parts)


def _count(group: Sequence[Record], name: str) -> str:
    found = _numbers(group, name)
    if not found:
        return "–"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _differs(group: Sequence[Record]) -> bool:
    return any(len(_numbers(group, name)) > 1 for name in _COUNTS)


def _numbers(group: Sequence[Record], name: str) -> list[int]:
    return sorted({record.counts[name] for record in group if name in record.counts})


def _references(records: Sequence[Record]) -> Markup:
    chosen = {
        (r.dataset, r.class_name, r.seed, r.references): None for r in records if r.references
    }
    if not chosen:
        return Markup()
    items = [
        tag("li", tag("b", f"{dataset} · {class_name}, seed {seed}: "), ", ".join(paths))
        for dataset, class_name, seed, paths in chosen
    ]
    return tag("details", tag("summary", "Normal reference images"), tag("ul", *items))
