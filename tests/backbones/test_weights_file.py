"""Weights files: found, read without running anything, and refused with a reason."""

import os
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

import warm
from adpt.backbones import build_backbone, weights_file
from adpt.backbones.recipes import Recipe
from adpt.backbones.timm import build_timm
from adpt.backbones.weights_file import read_state_dict
from adpt.errors import WeightsError

SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
CLIP = Recipe("vit_base_patch16_clip_quickgelu_224", 2, model_args=SMALL)


class Attack:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def in_openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm's CLIP in the names and shapes OpenAI published."""
    swaps = {
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "blocks.": "transformer.resblocks.",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
    }
    renamed = {"logit_scale": torch.zeros(())}
    for key, value in state.items():
        if key.startswith(("head", "norm.")):
            continue
        theirs = key
        for ours, published in swaps.items():
            theirs = theirs.replace(ours, published)
        renamed[f"visual.{theirs}"] = value
    renamed["visual.class_embedding"] = renamed.pop("visual.cls_token")[0, 0]
    renamed["visual.positional_embedding"] = renamed.pop("visual.pos_embed")[0]
    return renamed


@pytest.mark.parametrize("ending", ["safetensors", "pth", "pt"])
def test_files_of_either_kind_are_read(ending: str, tmp_path: Path) -> None:
    state = {"a": torch.rand(2, 3), "b": torch.rand(4)}
    file = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save({"state_dict": state, "epoch": 3}, file)
    read = read_state_dict(file)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_a_file_in_the_old_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "old.pth"
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    assert torch.equal(read_state_dict(file)["a"], torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    file, trace = tmp_path / "attack.pth", tmp_path / "trace"
    torch.save({"a": Attack(trace)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"attack\.pth .*asks for \w+\.mkdir.*run any code"):
        read_state_dict(file)
    assert not trace.exists()


def test_a_torchscript_archive_is_refused_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "clip.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(file)
    with pytest.raises(WeightsError, match=r"TorchScript archive.*torch\.jit\.load"):
        read_state_dict(file)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_damaged_file_is_named(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"damaged.{ending}"
    file.write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match=rf"damaged\.{ending}"):
        read_state_dict(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth: no file is there"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="a folder is there"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("content", [{"a": 3}, {}, [torch.zeros(1)]])
def test_a_file_without_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(WeightsError, match="state dict"):
        read_state_dict(file)


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "resnet.pth"
    torch.save(timm.create_model("resnet18").state_dict(), file)
    with pytest.raises(WeightsError, match=r"missing: cls_token.*more; \d+ unexpected: .*bn1"):
        build_timm("small", CLIP, weights=file)


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path: Path) -> None:
    file = tmp_path / "narrow.pth"
    torch.save(timm.create_model(CLIP.model, **{**SMALL, "embed_dim": 16}).state_dict(), file)
    with pytest.raises(WeightsError, match=r"\(1, 1, 16\) instead of \(1, 1, 32\)"):
        build_timm("small", CLIP, weights=file)


def test_weights_of_a_network_with_registers_are_not_used_without(tmp_path: Path) -> None:
    file = tmp_path / "registers.pth"
    state = timm.create_model(CLIP.model, **SMALL).state_dict()
    torch.save({**state, "reg_token": torch.zeros(1, 4, 32)}, file)
    with pytest.raises(WeightsError, match="1 unexpected: reg_token"):
        build_timm("small", CLIP, weights=file)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_openai_names_and_half_precision_are_understood(dtype: torch.dtype, tmp_path: Path) -> None:
    network = timm.create_model(CLIP.model, **SMALL)
    state = {key: value.to(dtype) for key, value in network.state_dict().items()}
    for name, content in (("timm", state), ("openai", in_openai_names(state))):
        torch.save(content, tmp_path / f"{name}.pth")
        backbone = build_timm("small", CLIP, weights=tmp_path / f"{name}.pth")
        for key, value in backbone.network.state_dict().items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, state[key].float())


def test_cached_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("resnet18")
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)

    def cached(repository: str, filename: str, **_options: object) -> str | None:
        known = (repository, filename) == ("timm/resnet18.a1_in1k", "model.safetensors")
        return str(file) if known else None

    def request(*_args: object, **_options: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.setattr(weights_file, "try_to_load_from_cache", cached)
    monkeypatch.setattr(weights_file, "get_hf_file_metadata", request)
    monkeypatch.setattr(weights_file, "hf_hub_download", request)
    backbone = build_backbone("resnet18", image_size=64)
    torch.testing.assert_close(backbone.network.conv1.weight, network.conv1.weight)


def test_without_network_one_message_comes_soon(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from adpt.backbones import build_backbone\n"
        "from adpt.errors import WeightsError\n"
        "start = time.monotonic()\n"
        "try:\n"
        "    build_backbone('clip_b')\n"
        "except WeightsError as error:\n"
        "    print(time.monotonic() - start)\n"
        "    print(error)\n"
    )
    # Nothing listens at this address, so the connection is refused as without network.
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    result = warm.run(
        [sys.executable, "-c", script],
        lean=True,
        env={**environment, **away},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, message = result.stdout.split("\n", maxsplit=1)
    assert float(seconds) < 10
    assert "hf download timm/vit_base_patch16_clip_224.openai model.safetensors" in message
    assert "backbone.weights=" in message
    assert "Traceback" not in result.stderr
    assert "Retry" not in result.stderr
