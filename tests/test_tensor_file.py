"""Files of tensors are read as they were written."""

import os
import stat
from pathlib import Path

import torch
from safetensors import safe_open

from adpt.weights.tensor_file import write_tensors

METADATA = {
    **{f"key {number}": str(number) for number in range(12)},
    "path": 'C:\\images "new"\tü 検 😀 \x00\x1f\x7f\b\f\n\r / \u2028',
}
TENSORS = {"b": torch.arange(5.0), "a": torch.ones(3, dtype=torch.bool), "none": torch.zeros(0, 2)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (METADATA, {}):
        write_tensors(TENSORS, path, metadata)
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == metadata
            read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert read.keys() == TENSORS.keys()
        assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
        # Tensors begin at a multiple of 8 bytes, as the format wants it.
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0


def test_a_strided_tensor_is_written_by_its_values(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    turned = torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    write_tensors({"turned": turned}, path, {})
    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("turned"), turned)


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_tensors(TENSORS, tmp_path / "model.safetensors", METADATA)
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640
