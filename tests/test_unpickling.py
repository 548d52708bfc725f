"""Files of PyTorch that are made to take memory or time: refused before anything is unpacked."""

import time
import zipfile
from pathlib import Path

import pytest
import torch

from adpt.errors import WeightsError
from adpt.running.unpickling import load_tensors
from adpt.weights import load_projector


def bomb(path: Path, megabytes: int = 1000) -> Path:
    """A small archive one of whose parts is large, as PyTorch has it otherwise."""
    torch.save({"projectors": {"a": torch.zeros(4)}}, path.with_suffix(".plain"))
    with (
        zipfile.ZipFile(path.with_suffix(".plain")) as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for part in plain.infolist():
            if part.filename.endswith("data/0"):
                with archive.open(part.filename, "w", force_zip64=True) as file:
                    for _ in range(megabytes):
                        file.write(bytes(1_000_000))
            else:
                archive.writestr(part.filename, plain.read(part))
    return path


def test_a_bomb_is_refused_in_a_moment(tmp_path: Path) -> None:
    path = bomb(tmp_path / "weights.pth")
    assert path.stat().st_size < 2e6
    for read in (load_tensors, load_projector):
        start = time.monotonic()
        with pytest.raises(WeightsError, match=r"weights\.pth is refused \(its parts claim"):
            read(path)
        assert time.monotonic() - start < 1


def test_parts_that_lie_in_one_another_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", bytes(10_000))
        archive.filelist *= 50
    with pytest.raises(WeightsError, match="its parts claim 500000 bytes"):
        load_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(zipped: bool, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(5.0), "none": torch.zeros(0), "long": torch.zeros(10_000)}
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = load_tensors(tmp_path / "w.pth")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
