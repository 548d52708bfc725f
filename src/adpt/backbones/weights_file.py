"""Find a file of pretrained weights, here or on the Hugging Face hub, and read it safely.

The cache is asked before the hub, for a backbone is known by its tensors (`Backbone.fingerprint`);
projectors are known by commit and file, and go the other way round: `weights/hub.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
)
from torch import Tensor

from adpt.errors import WeightsError
from adpt.running.unpickling import load_tensors

StateDict = dict[str, Tensor]

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_CONNECT_SECONDS = 5.0


def find_on_hub(repository: str, filename: str | None, name: str) -> Path:
    """Path of a model's weights, from the local Hugging Face cache or downloaded into it.

    The cache is asked first and without a request, so what was downloaded once works offline.
    The hub is asked once before a download: its client would retry for half a minute.

    Args:
        repository: Repository on the hub, e.g. `timm/resnet18.a1_in1k`; `@revision` may follow.
        filename: The file in it; None for the names that timm uses.
        name: What the backbone is called, for messages.

    Raises:
        WeightsError: The weights are not in the cache and cannot be downloaded.
    """
    repository, _, revision = repository.partition("@")
    filenames = (filename,) if filename else _HUB_FILES
    at = revision or None
    for candidate in filenames:
        cached = try_to_load_from_cache(repository, candidate, revision=at)
        if isinstance(cached, str):
            return Path(cached)
    for candidate in filenames:
        try:
            url = hf_hub_url(repository, candidate, revision=at)
            get_hf_file_metadata(url, timeout=_CONNECT_SECONDS)
            return Path(hf_hub_download(repository, candidate, revision=at))
        # The client's own errors, requests' and httpx's share no base class.
        except Exception as error:
            absent = isinstance(error, EntryNotFoundError)
            if absent and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise WeightsError(_no_download(name, repository, candidate, error)) from error
    raise WeightsError(
        f"https://huggingface.co/{repository} holds none of {', '.join(filenames)}, so {name} has "
        "no weights there; give a local file as backbone.weights=<path>."
    )


def _no_download(name: str, repository: str, filename: str, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"The weights of {name} are in https://huggingface.co/{repository}, which asks for an "
            "account: accept its terms there and run `hf auth login`, or download "
            f"{filename} by hand and set backbone.weights=<path of that file>."
        )
    trouble = "did not give them" if isinstance(error, HfHubHTTPError) else "cannot be reached"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"The weights of {name} are not on this machine and the Hugging Face hub {trouble} "
        f"({reason}). On a machine with network run\n"
        f"    hf download {repository} {filename} --local-dir weights/{name}\n"
        "(`huggingface-cli download` before huggingface_hub 1.0), copy the file here and set\n"
        f"    backbone.weights=<folder>/weights/{name}/{filename}"
    )


def check_file(path: Path) -> None:
    """Look whether there is a file of weights, by its first bytes.

    Raises:
        WeightsError: There is no such file, or it is of another kind.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise WeightsError(
            f"backbone.weights={path}: {found} is there. Give the path of one .safetensors, .pth, "
            ".pt or .bin file."
        )
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt"):
                return
        except Exception as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    with path.open("rb") as file:
        start = file.read(2)
    # A zip archive or a pickle: what `torch.save` writes now, and wrote before.
    if start != b"PK" and not start.startswith(b"\x80"):
        raise WeightsError(
            f"{path} cannot be read as tensors alone: it is neither a file that `torch.save` wrote"
            " nor named .safetensors. It is damaged, cut short or something else."
        )


def read_state_dict(path: Path) -> StateDict:
    """Tensors of a weights file, by name; nothing in the file is run.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote: a state dict, or a dict that
            holds one as `state_dict` or `model`.

    Raises:
        WeightsError: There is no such file, it is damaged, or it holds more than tensors.
    """
    check_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else load_tensors(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict but a {type(content).__name__}.")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(
            f"{path} is no state dict: {first_few(others)} are not tensors. Save the network's "
            "`state_dict()` alone."
        )
    return {str(key): value for key, value in content.items()}


def first_few(keys: list[str], at_most: int = 4) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(keys) - at_most} more" if len(keys) > at_most else ""
    return ", ".join(keys[:at_most]) + more


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
