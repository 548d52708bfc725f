"""The source that results come from, as hashes: adpt's own, and that of classes from outside it."""

import ast
import hashlib
import importlib.util
import marshal
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]

DECIDES_NOTHING = (
    # What checks, says or shows.
    "cli", "data/examination", "doctor.py", "errors.py", "evaluation/panels.py", "page",
    "publish.py", "report.py", "results", "running", "tracking",
    # What trains projectors, which are known by their tensors, or inspects one's own product.
    "anomalib.py", "inspection", "predict.py", "pretraining", "serve.py", "serving", "train.py",
)  # fmt: skip
"""Rooms and modules of adpt without influence on the result of an evaluation."""

MAKES_FEATURES = ("backbones", "data", "evaluation/features.py",
                  "evaluation/feature_views.py", "evaluation/matching.py",
                  "evaluation/converting.py", "nearest.py", "projector", "residual.py",
                  "windows.py")  # fmt: skip
"""Rooms and modules of adpt that features come out of, from the image file on."""


@cache
def own_code(parts: tuple[str, ...] | None = None) -> str:
    """SHA-256 of adpt's own source, in hex.

    Args:
        parts: Rooms and modules; None for all but `DECIDES_NOTHING`.
    """
    chosen = frozenset(map(Path, parts or DECIDES_NOTHING))
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if chosen.isdisjoint((place, *place.parents)) != bool(parts):
            digest.update(f"{place.as_posix()};".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def targets(config: Any) -> list[str]:
    """Every class or function that a config names as `_target_`, sorted, each once."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            if "_target_" in node:
                yield str(node["_target_"])
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for value in node:
                yield from walk(value)

    return sorted(set(walk(config)))


def source_of(target: type | str) -> str | None:
    """SHA-256 of the source that a class or function comes from, in hex; None for adpt's own.

    To the source belong its module and whatever that imports, itself or through others, and is
    neither Python's nor an installed package's: a module of one's own and its helpers beside it.
    Modules that are found only while the code runs are not seen.

    Args:
        target: The class or function, or its dotted name as a config gives it.
    """
    if isinstance(target, str):
        from hydra.utils import get_object

        # To look for a module goes through every folder of sys.path.
        named = None if _is_own(target) else _module_of(target)
        target = get_object(target)
    else:
        named = None
    home = getattr(target, "__module__", None)
    waiting = [name for name in (named, home) if name and not _is_own(name)]
    if not waiting:
        return None
    files: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is not None and name not in files:
            files[name] = path
            # What an installed package imports in turn comes and goes with its version.
            if _is_local(path):
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                found = _imports(package, path.read_bytes())
                waiting += [n for n in found if not _is_own(n) and _is_local(_file(n))]
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name};".encode())
        digest.update(path.read_bytes())
    if home not in files:  # Typed at a prompt, for instance.
        for name, value in sorted(vars(target).items()):
            if code := getattr(value, "__code__", None):
                digest.update(f"{name};".encode() + marshal.dumps(code, 2))
    return digest.hexdigest()


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == "adpt"


def _module_of(target: str) -> str | None:
    """The longest part of a dotted name that is a module."""
    parts = target.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if _spec(name) is not None), None)


def _spec(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__spec__", None) is not None:
        return module.__spec__
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _file(name: str) -> Path | None:
    """The file of a module: its source, or what stands in for it; None where there is none."""
    if name == "__main__":
        main = getattr(sys.modules[name], "__file__", None)
        return Path(main) if main else None
    spec = _spec(name)
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


@cache
def _is_local(path: Path | None) -> bool:
    """True if a module's file lies neither in Python's library nor among installed packages."""
    if path is None or path.suffix != ".py":
        return False
    places = {sysconfig.get_path(which) for which in ("stdlib", "platstdlib", "purelib", "platlib")}
    resolved = path.resolve()
    if "site-packages" in resolved.parts or "dist-packages" in resolved.parts:
        return False
    return not any(resolved.is_relative_to(Path(place).resolve()) for place in places if place)


@lru_cache(maxsize=256)
def _imports(package: str, source: bytes) -> tuple[str, ...]:
    """Names of the modules that a module of a package may import, and of those they lie in."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            found = [str(start), *(f"{start}.{alias.name}" for alias in node.names)]
        else:
            continue
        for one in found:
            parts = one.split(".")
            names |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return tuple(sorted(names))
