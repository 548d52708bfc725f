"""HTML that escapes by default."""

import html
from collections.abc import Iterable

# Nothing may be loaded from elsewhere, whatever a class or a path is called.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Markup(str):
    """Text that is HTML already; `tag` escapes any other."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | int) -> Markup:
    """An element; content that is no `Markup`, and every attribute, is escaped.

    Args:
        name: Name of the element.
        *content: What stands in it.
        **attributes: Its attributes; `class_` stands for `class`, `aria_label` for `aria-label`.
    """
    opened = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{opened}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """Elements and texts one after the other; what is no `Markup` is escaped."""
    return Markup("".join(p if isinstance(p, Markup) else html.escape(p) for p in parts))


def document(title: str, style: str, body: Markup) -> Markup:
    """A whole page that loads nothing: pictures and style lie in it, and no script may run.

    Args:
        title: What the browser shows.
        style: CSS.
        body: What stands in the body.
    """
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    start = Markup('<!doctype html>\n<html lang="en">\n')
    return join([start, head, Markup("\n"), tag("body", body), Markup("\n</html>\n")])
