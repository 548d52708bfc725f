"""Files that `torch.save` wrote, read without running anything that stands in them."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adpt.errors import WeightsError

# The authors' files hold their metrics as NumPy numbers. What builds these builds nothing else; it
# has two names, before and since NumPy 2.
_SCALAR = np.float64().__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
]


def _check_sizes(path: Path) -> None:
    """Refuse an archive whose parts are larger than itself, before one is unpacked.

    Raises:
        ValueError: It is such; PyTorch compresses no weights, and no part of its lies in another.
            Or it is a program: TorchScript compresses its code.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.filename.endswith("/constants.pkl") for part in parts):
        raise ValueError("a TorchScript archive")
    claimed = sum(part.file_size for part in parts)
    if claimed > path.stat().st_size:
        raise ValueError(f"its parts claim {claimed} bytes, and it has {path.stat().st_size}")


def load_tensors(path: Path) -> Any:
    """The tensors, numbers and text of a file, and lists and dicts of these, on the CPU.

    Raises:
        WeightsError: It is damaged, of another kind, or holds anything else.
    """
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            # Only the newer zip format can be mapped instead of read: saves gigabytes of memory.
            mapped = zipfile.is_zipfile(path)
            if mapped:
                _check_sizes(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # What is no pickle, a text file for instance, makes the unpickler fail with errors of any kind.
    except Exception as error:
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path} is a TorchScript archive, a program rather than weights (OpenAI's own"
                " CLIP files are). If you trust it:"
                " `torch.save(torch.jit.load(path, 'cpu').state_dict(), 'weights.pth')`, and give"
                " that file instead."
            ) from error
        # PyTorch's own text begins with advice to read it all the same.
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
        asked = re.search(r"(?:GLOBAL|global|class|function) `?(\w+(?:\.\w+)+)", said)
        reason = (
            f"it asks for {asked[1]}" if asked else (said or str(error) or type(error).__name__)
        )
        raise WeightsError(
            f"{path} is refused ({reason.splitlines()[0]}): it is damaged, no file of PyTorch, or"
            " holds Python objects, and reading those could run any code. Only tensors, numbers"
            " and text are read: of a network, save the `state_dict()` alone."
        ) from error
