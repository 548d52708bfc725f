"""How long `--help` and `--cfg job` take, whole processes, against importing PyTorch."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from measuring import Row, in_turns

ENTRIES = ("train", "evaluate", "report", "doctor")


def rows() -> Iterator[Row]:
    """Each entry's two options."""
    for option in ("--help", "--cfg job"):
        for entry in ENTRIES:
            ours = partial(process, "-m", f"adpt.{entry}", *option.split())
            measured = in_turns(ours, partial(process, "-c", "import torch"))
            yield Row(
                "start",
                f"`python -m adpt.{entry} {option}`",
                other_name='`python -c "import torch"`',
                goal=1.0,
                note="whole processes",
                **measured,
            )


def process(*arguments: str) -> str:
    """Run Python with these arguments to its end; what it prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
