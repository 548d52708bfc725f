"""What an examination finds: a file or folder, what is wrong with it, and what to do."""

import re
from dataclasses import dataclass
from pathlib import Path


def first_line(error: Exception) -> str:
    """What an error says, without the layout and the advice that follow some."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def reason(error: BaseException) -> str:
    """What an error says of a file, without the file's path and a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Pillow ends with the path, in quotes, where it knows no more.
    said = re.sub(r""" file ['"].*$""", "", str(error), flags=re.DOTALL)
    return said.rstrip(".") or type(error).__name__


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a look.

    Attributes:
        kind: What sort of thing it is, such as "truncated"; findings are grouped by it.
        path: The file or folder it was found in.
        message: What is wrong and what to do, one sentence that the path goes before.
        class_name: The product; "" where it is none's in particular.
        fault: False for a remark: a set may be like that, and can be used.
    """

    kind: str
    path: Path
    message: str
    class_name: str = ""
    fault: bool = True
