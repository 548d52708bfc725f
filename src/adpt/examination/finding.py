"""What an examination finds: a file or folder, what is wrong with it, and what to do."""

from dataclasses import dataclass
from pathlib import Path


def first_line(error: Exception) -> str:
    """What an error says, without the layout and the advice that follow some."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
