"""The origin of a result: versions, config, commit, command, machine and time."""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from adpt.results.words import plural
from adpt.version import __version__

_PACKAGES = ("torch", "torchvision", "timm", "lightning")
_OURS = ("src", "conf", "pyproject.toml")
"""Parts of a checkout that decide over results; a changed README makes none of them doubtful."""

_NO_OPTIONS = ("seed", "classes", "run_name", "data_dir", "output_dir", "logger", "callbacks")


def provenance(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Describe the run that is going on.

    Args:
        config: Its config, an OmegaConf node or a plain mapping.

    Returns:
        `versions` (adpt, Python and the packages that compute), `config_sha256` (of the resolved
        config as sorted JSON), `commit` (see `checkout_commit`), `command` (as to type again),
        `hardware` in words and `created`, in ISO 8601 and UTC.
    """
    return {
        "versions": {
            "adpt": __version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
        "config_sha256": config_sha256(config),
        "commit": checkout_commit(Path(__file__).resolve().parents[3]),
        "command": _command(),
        "hardware": _hardware(),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def pretraining_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The `seed` that a projector was pretrained with, and a hash of all other `options`.

    Neither classes and places nor what looks on count among these: projectors of one experiment
    differ in nothing else. Empty where the projector's file holds no config that can be read: a
    file may come from anywhere.

    Args:
        metadata: What the file says of itself.
    """
    try:
        config = json.loads(metadata.get("config", ""))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    return {"seed": config.get("seed"), "options": _sha256(_options(config))}


def config_sha256(config: DictConfig | Mapping[str, Any]) -> str:
    """SHA-256, as 64 hex digits, of a config with its interpolations resolved; order is no matter.

    Args:
        config: An OmegaConf node or a plain mapping.
    """
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return _sha256(OmegaConf.to_container(node, resolve=True))


def _sha256(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def checkout_commit(root: Path) -> str | None:
    """The commit of a checkout, with `-dirty` where its code or config was changed since.

    Args:
        root: Root of the checkout.

    Returns:
        40 hex digits and the suffix; None where `root` is no root of a checkout, as for a wheel.
    """
    # Only a `.git` of our own: an environment may lie inside somebody else's repository.
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *_OURS)
    if not commit or changes is None:
        return None
    return f"{commit}-dirty" if changes else commit


def _options(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _options(value) for k, value in config.items() if k not in _NO_OPTIONS}
    return [_options(value) for value in config] if isinstance(config, list) else config


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    # Inside a hook, variables such as GIT_DIR would point elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [git, "-C", str(root), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return shlex.join(["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])


def _hardware() -> str:
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    gpus = [f"{names.count(name)} × {name}" for name in dict.fromkeys(names)]
    return ", ".join([*gpus, f"{_processor()}, {os.cpu_count()} cores"])


def computing_on(device: torch.device) -> str:
    """The device in words: a GPU by its name, and threads of a processor."""
    cpu = f"{plural(torch.get_num_threads(), 'thread')} of {_processor()}"
    return f"{torch.cuda.get_device_name(device)}, {cpu}" if device.type == "cuda" else cpu


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
