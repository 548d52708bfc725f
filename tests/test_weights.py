"""Projector files: what is written comes back, what is no projector is refused with its reason."""

import errno
import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from literal.projector import PublishedProjector
from safetensors.torch import load_file, save_file
from torch import Tensor

from adpt.errors import UserError, WeightsError
from adpt.projector import FeatureProjector
from adpt.weights import (
    FORMAT,
    PUBLISHED_NAMES,
    load_projector,
    projector_metadata,
    save_projector,
)

CHANNELS = (16, 24)


@pytest.fixture
def projector() -> FeatureProjector:
    torch.manual_seed(0)
    projector = FeatureProjector(CHANNELS, num_heads=4, num_references=5)
    projector.scale.copy_(torch.tensor([0.3, 7.0]))
    return projector


@pytest.fixture
def state() -> dict[str, Any]:
    """A published state of two levels."""
    torch.manual_seed(1)
    return dict(PublishedProjector((16, 32), num_heads=16, num_references=5).state_dict())


def write(path: Path, state: dict[str, Any], **others: Any) -> Path:
    torch.save({"projectors": state, **others}, path)
    return path


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


@pytest.mark.parametrize("by_references", [False, True])
def test_round_trip_is_bit_for_bit(
    tmp_path: Path, projector: FeatureProjector, by_references: bool
) -> None:
    path = tmp_path / "new folder" / "projector.safetensors"
    projector.scale_by_references = by_references
    save_projector(projector, path, {"backbone": "dinov2_b", "note": "größer\nals zuvor"})
    loaded = load_projector(path)
    assert_same(loaded.state_dict(), projector.state_dict())
    assert loaded.channels == CHANNELS
    assert loaded.num_heads == 4
    assert [block.attention.num_heads for block in loaded.blocks] == [4, 4]
    assert projector_metadata(path) == {
        "backbone": "dinov2_b",
        "note": "größer\nals zuvor",
        "format": FORMAT,
        "channels": "[16, 24]",
        "num_heads": "4",
        "num_references": "5",
        "scale_by_references": str(by_references).lower(),
        "block": "attention",
        "on_residuals": "true",
    }
    assert loaded.scale_by_references == by_references


def test_what_files_of_before_do_not_say_is_as_it_was(
    tmp_path: Path, projector: FeatureProjector
) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector, path)
    newer = {"scale_by_references", "block", "on_residuals"}
    metadata = {name: v for name, v in projector_metadata(path).items() if name not in newer}
    save_file(load_file(path), path, metadata)
    loaded = load_projector(path)
    assert (loaded.scale_by_references, loaded.block, loaded.on_residuals) == (
        False, "attention", True
    )  # fmt: skip


def test_path_may_be_text(tmp_path: Path, projector: FeatureProjector) -> None:
    path = str(tmp_path / "projector.safetensors")
    save_projector(projector, path)
    assert_same(load_projector(path).state_dict(), projector.state_dict())


def test_bfloat16_weights_are_read_as_float32(
    tmp_path: Path, projector: FeatureProjector, state: dict[str, Any]
) -> None:
    save_projector(projector.to(torch.bfloat16), tmp_path / "ours.safetensors")
    write(tmp_path / "theirs.pth", {name: tensor.bfloat16() for name, tensor in state.items()})
    for name in ("ours.safetensors", "theirs.pth"):
        for tensor in load_projector(tmp_path / name).state_dict().values():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, tensor.bfloat16().float())


def test_every_published_parameter_arrives_under_our_name(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    path = write(tmp_path / "published.pth", state)
    loaded = load_projector(path).state_dict()
    for level in (1, 2):
        for published, own in PUBLISHED_NAMES.items():
            expected = state[f"l{level}_proj.{published}"]
            ours = loaded[f"blocks.{level - 1}.{own}"]
            assert torch.equal(ours.flatten(), expected.flatten()), published
    assert torch.equal(loaded["scale"], torch.ones(2))
    assert len(loaded) == 2 * len(PUBLISHED_NAMES) + 1
    assert projector_metadata(path) == {}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("number", [np.float64, np.float32, float], ids=lambda kind: str(kind))
def test_metrics_beside_the_weights_may_be_numpy_numbers(
    tmp_path: Path, state: dict[str, Any], zipped: bool, number: Callable[[float], Any]
) -> None:
    path = tmp_path / "published.pth"
    content = {"projectors": state, "img_auc": number(0.9), "pix_auc": 0.8, "pix_pro": number(0.7)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert load_projector(path).channels == (16, 32)


def test_numpy_numbers_written_before_numpy_2_are_read(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    buffer = io.BytesIO()
    torch.save({"projectors": state, "img_auc": np.float64(0.9)}, buffer)
    path = tmp_path / "published.pth"
    replaced = 0
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                replaced = content.count(b"numpy._core.multiarray")
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(name, content)
    assert replaced == 1
    assert load_projector(path).channels == (16, 32)


def test_prefix_of_distributed_training_is_taken_off(tmp_path: Path, state: dict[str, Any]) -> None:
    plain = load_projector(write(tmp_path / "plain.pth", state))
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    assert_same(
        load_projector(write(tmp_path / "ddp.pth", prefixed)).state_dict(), plain.state_dict()
    )


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pth", "folder.pth"])
@pytest.mark.parametrize("read", [load_projector, projector_metadata])
def test_missing_file_is_named(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(WeightsError, match=re.escape(str(tmp_path / name)) + ".*adpt.train"):
        read(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 1, 7, 100, 0.5, -1])
@pytest.mark.parametrize("name", ["ours.safetensors", "zip.pth", "legacy.pth"])
def test_truncated_file_is_refused(
    tmp_path: Path, projector: FeatureProjector, state: dict[str, Any], name: str, kept: float
) -> None:
    path = tmp_path / name
    if name == "ours.safetensors":
        save_projector(projector, path)
    else:
        torch.save({"projectors": state}, path, _use_new_zipfile_serialization=name == "zip.pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept == 0.5 else int(kept)])
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_projector(path)


OTHER_FILES = {
    "text": b"hello, this is a text\n",
    "html": b"<!DOCTYPE html><html>Not found</html>",
    "git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "noise": bytes(range(256)),
    "zeros": bytes(300),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"projector{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_projector(path)


@pytest.mark.parametrize("position", range(0, 900, 75))
def test_altered_published_file_is_refused_or_read(
    tmp_path: Path, state: dict[str, Any], position: int
) -> None:
    path = write(tmp_path / "published.pth", state)
    content = bytearray(path.read_bytes())
    content[position : position + 3] = b"\xff\x00X"
    path.write_bytes(content)
    try:
        load_projector(path)
    except WeightsError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=f"no projector of adpt: its format is None.*{FORMAT}"):
        load_projector(path)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": None},
        {"num_heads": None},
        {"channels": "16, 24"},
        {"channels": "7"},
        {"num_references": "many"},
        {"num_heads": "0"},
        {"channels": "[16, 32]"},
        {"channels": "[16]"},
    ],
    ids=str,
)
def test_safetensors_file_with_wrong_sizes_is_refused(
    tmp_path: Path, projector: FeatureProjector, change: dict[str, str | None]
) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector, path)
    metadata = {**projector_metadata(path), **change}
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_file(load_file(path), path, metadata=kept)
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_projector(path)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_parameter_that_our_file_lacks_or_has_too_much_is_named(
    tmp_path: Path, projector: FeatureProjector, change: str
) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector, path)
    metadata, tensors = projector_metadata(path), load_file(path)
    if change == "missing":
        name = "blocks.1.mlp.expand.bias"
        del tensors[name]
    else:
        name = "blocks.1.mlp.other"
        tensors[name] = torch.zeros(1)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(WeightsError, match=re.escape(name)):
        load_projector(path)


@pytest.mark.parametrize(
    "name", ["l1_proj.x_ref", "l2_proj.x_ref", "l2_proj.layers.0.mlp.se.fc1.bias"]
)
def test_parameter_that_a_published_file_lacks_is_named(
    tmp_path: Path, state: dict[str, Any], name: str
) -> None:
    del state[name]
    with pytest.raises(WeightsError, match=f"lacks {re.escape(name)}\\.$"):
        load_projector(write(tmp_path / "published.pth", state))


def test_level_that_a_published_file_lacks_is_named(tmp_path: Path, state: dict[str, Any]) -> None:
    third = {name.replace("l2_", "l3_"): tensor for name, tensor in state.items()}
    with pytest.raises(WeightsError, match=r"lacks l2_proj\.x_ref, .*l2_proj"):
        load_projector(write(tmp_path / "published.pth", third))


@pytest.mark.parametrize(
    "name",
    [
        "l1_proj.other",
        "l0_proj.x_ref",
        "l1_proj.layers.1.mlp.fc1.bias",
        "backbone.l1_proj.x_ref",
        3,
    ],
)
def test_parameter_that_no_projector_has_is_named(
    tmp_path: Path, state: dict[str, Any], name: Any
) -> None:
    state[name] = torch.zeros(1)
    with pytest.raises(WeightsError, match=re.escape(f"'{name}', which no projector has")):
        load_projector(write(tmp_path / "published.pth", state))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("l1_proj.x_ref", 1.5),
        ("l1_proj.x_ref", torch.tensor(1.5)),
        ("l2_proj.x_ref", torch.zeros(1, 4, 32)),
        ("l1_proj.layers.0.mlp.fc1.bias", torch.zeros(3)),
    ],
)
def test_published_parameter_of_another_shape_is_refused(
    tmp_path: Path, state: dict[str, Any], name: str, value: Any
) -> None:
    state[name] = value
    path = write(tmp_path / "published.pth", state)
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_projector(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"projectors": 3}, [1, 2], 0.5], ids=str)
def test_pytorch_file_without_projectors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no entry 'projectors'"):
        load_projector(path)


def test_published_file_of_no_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"lacks l1_proj\.x_ref"):
        load_projector(write(tmp_path / "published.pth", {}))


class Command:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, state: dict[str, Any], suffix: str, zipped: bool
) -> None:
    witness, path = tmp_path / "witness", tmp_path / f"published{suffix}"
    content = {"projectors": state, "img_auc": Command(f"touch '{witness}'")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=re.escape(str(path))) as caught:
        load_projector(path)
    assert not witness.exists()
    if suffix != ".safetensors":
        assert "could run any code" in str(caught.value)
        assert f"(it asks for {os.system.__module__}.system)" in str(caught.value)
        assert "weights_only" not in str(caught.value)
        assert "do those steps" not in str(caught.value)
    # The file does what it says where nobody refuses.
    torch.load(path.rename(tmp_path / "any.pt"), weights_only=False)
    assert witness.exists()


def test_failed_save_leaves_the_previous_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, projector: FeatureProjector
) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(projector, path)
    before = path.read_bytes()

    def half_written(target: Path, content: bytes) -> None:
        with target.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*No space left on device"):
        save_projector(projector, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
