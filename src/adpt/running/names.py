"""Names of files and classes, written so that no table, page, terminal or disk stumbles over them.

Names come from cameras and archives: bytes that are no UTF-8, line breaks, escape sequences that a
terminal would obey, formulas that a spreadsheet would.
"""

import os
import re
import unicodedata
import zlib

_NEVER_SHOWN = "\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, marks of direction and line ends, and bytes that are no text."""
_UNSAFE = re.compile(f"[\x00-\x0a{_NEVER_SHOWN}]")
_UNSAFE_IN_TEXT = re.compile(f"[\x00-\x08{_NEVER_SHOWN}]")
_FORMULA = re.compile("[ ']*[=+\\-@＝＋－＠\t\r\n]")
_LONGEST = 100
"""Bytes of a file's name that are kept: some encrypted file systems take no more than 143."""


def printable(name: str | os.PathLike[str]) -> str:
    r"""A name or a path as one line of text that can be printed and is valid UTF-8.

    Control characters and bytes that are no UTF-8 become what Python writes for them, such as
    `\x1b` and `\udce9`, and a backslash becomes two where it does not part folders, so that no two
    names become one.
    """
    text = os.fspath(name)
    if os.sep != "\\":
        text = text.replace("\\", "\\\\")
    return _UNSAFE.sub(_escaped, text)


def printable_text(text: str) -> str:
    """A message, of one line or several, that names may stand in: printed, it does no harm."""
    return _UNSAFE_IN_TEXT.sub(_escaped, text)


def spreadsheet_cell(value: object) -> object:
    """A value for a CSV file: what a spreadsheet would take for a formula gets a ' in front."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): two that look alike are then equal."""
    return unicodedata.normalize("NFC", name)


def file_name(text: str) -> str:
    """A part of a file's name, of letters, digits, `.`, `-` and `_` alone, at most 100 bytes."""
    return shortened(re.sub(r"[^\w.-]", "_", text))


def shortened(text: str) -> str:
    """A part of a file's name of at most 100 bytes.

    What is cut off leaves a number, so that long names that begin alike stay apart.
    """
    if len(text.encode()) <= _LONGEST:
        return text
    number = f"-{zlib.crc32(text.encode()):08x}"
    return within_bytes(text, _LONGEST - len(number)) + number


def within_bytes(text: str, limit: int) -> str:
    """The beginning of a text that takes at most `limit` bytes in a file's name."""
    return os.fsencode(text)[:limit].decode(errors="ignore")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
