"""HTML that escapes by default."""

import html
from collections.abc import Iterable


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
