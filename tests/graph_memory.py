"""What one run of an ONNX graph takes of memory, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

_SCRIPT = """
import re, sys
from pathlib import Path
import numpy as np, onnxruntime
graph, arrays, name, axis = sys.argv[1:]
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
def peak(given):
    session.run(None, given)
    # Not ru_maxrss, which begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
given = dict(np.load(arrays))
before = peak(given | {name: given[name].take([0], int(axis))})
print(peak(given) - before)
"""


def growth(graph: Path, folder: Path, given: dict[str, Any], name: str, axis: int = 0) -> int:
    """By how many kB the peak rises from one row of an input to all of them.

    Args:
        graph: The file.
        folder: Takes the inputs.
        given: All inputs.
        name: The input whose rows are counted.
        axis: Of its rows.
    """
    arrays = folder / "given.npz"
    np.savez(arrays, **given)
    words = [sys.executable, "-c", _SCRIPT, graph, arrays, name, str(axis)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
