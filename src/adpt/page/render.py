"""HTML from the templates beside this file; they escape whatever they are given."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).with_name("templates")
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> str:
    """The text of a template, such as `report.html.j2`, with these values."""
    return _TEMPLATES.get_template(template).render(values)


def script_of(name: str) -> tuple[str, str]:
    """A script beside the templates, and what a page's Content-Security-Policy calls it."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return text, f"sha256-{base64.b64encode(digest).decode()}"
