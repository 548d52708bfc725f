"""Imports inside the package go down only: the table below is the picture of the house."""

import ast
from pathlib import Path

import pytest

import adpt

LAYERS = [
    # 0: what needs nothing of ours
    {
        "paths",
        "losses",
        "projector",
        "projector_blocks",
        "residual",
        "metrics",
        "results",
        "errors",
        "files",
        "names",
        "progress",
        "details",
        "embedding",
        "chunking",
        "interruption",
        "nearest",
        "sources",
        "tensor_file",
    },
    # 1: what reads, writes and draws
    {
        "data",
        "backbones",
        "contents",
        "hub",
        "weights",
        "plots",
        "page",
        "checkpoints",
        "keys",
        "metrics_log",
        "values",
    },
    # 2: the mathematics of training and of scoring; the examination of data sets; W&B
    {"references", "methods", "pretraining", "downstream", "examination", "card", "tracking"},
    # 3: pictures of scored images, what happens beside training, and a table's cells
    {"panels", "callbacks", "cells", "evaluation", "objective"},
    # 4: objects from config, the jobs of a sweep, and the inspection of one's own product
    {"wiring", "sweeps", "inspection"},
    # 5: the entries, imported by nobody
    {"train", "evaluate", "predict", "doctor", "report", "publish", "demo", "anomalib"},
]

# (module, what it imports from its own layer); between any two others of a layer nothing goes.
BESIDE = {
    ("files", "errors"),
    ("files", "names"),
    ("paths", "errors"),
    ("projector", "projector_blocks"),
    ("residual", "chunking"),
    ("residual", "nearest"),
    ("nearest", "chunking"),
    ("weights", "hub"),
    ("keys", "values"),
    ("metrics_log", "checkpoints"),
    ("results", "errors"),
    ("results", "files"),
    ("results", "names"),
    ("details", "errors"),
    ("details", "files"),
    ("embedding", "errors"),
    ("embedding", "files"),
    ("tensor_file", "errors"),
    ("tensor_file", "files"),
    ("pretraining", "references"),
    ("downstream", "references"),
    ("downstream", "methods"),
    ("callbacks", "panels"),
    ("evaluation", "cells"),
    ("evaluation", "panels"),
    ("wiring", "sweeps"),
    ("inspection", "wiring"),
}

# What the package itself offers by name, and imports only when it is asked for.
OFFERED = {"inspection"}

LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}


def sources(root: Path) -> dict[str, str]:
    """Dotted name below the package, and source, of every module; the package itself is ''."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imported(source: str) -> set[str]:
    """Modules and packages directly below adpt that a source imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.append("relative")
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    below = {name.split(".")[1] for name in names if name.startswith("adpt.")}
    return below | ({"(relative)"} if "relative" in names else set())


def faults(modules: dict[str, str]) -> list[str]:
    """What in these sources goes against the table, a sentence each."""
    found = []
    for name, source in modules.items():
        own = name.split(".")[0]
        if own and own not in LAYER_OF:
            found.append(f"adpt.{own} is in no layer: give it one in tests/test_layers.py.")
            continue
        for other in sorted(imported(source) - {own}):
            if other == "(relative)":
                found.append(f"adpt.{name} imports relatively: write the module's whole name.")
            elif other.startswith("__"):
                continue
            elif other not in LAYER_OF:
                found.append(f"adpt.{name} imports adpt.{other}, which is in no layer.")
            elif not own and other in OFFERED:
                continue
            elif not own:
                found.append(f"adpt itself imports adpt.{other}: it must import nothing of ours.")
            elif LAYER_OF[other] > LAYER_OF[own]:
                found.append(f"adpt.{name} imports adpt.{other}, which lies above it.")
            elif LAYER_OF[other] == LAYER_OF[own] and (own, other) not in BESIDE:
                found.append(f"adpt.{name} imports adpt.{other}, which lies beside it.")
    return found


def test_imports_go_down_only() -> None:
    found = faults(sources(Path(adpt.__file__).parent))
    assert not found, "\n".join(found)


def test_no_module_is_in_two_layers() -> None:
    assert sum(map(len, LAYERS)) == len(LAYER_OF)


def test_exceptions_are_within_one_layer_and_in_one_direction() -> None:
    for own, other in BESIDE:
        assert LAYER_OF[own] == LAYER_OF[other]
        assert (other, own) not in BESIDE


def test_walk_finds_modules_in_packages(tmp_path: Path) -> None:
    (tmp_path / "data" / "procedural").mkdir(parents=True)
    for name in ("__init__", "paths", "data/__init__", "data/procedural/board"):
        (tmp_path / f"{name}.py").write_text(f"# {name}")
    assert sources(tmp_path) == {
        "": "# __init__",
        "paths": "# paths",
        "data": "# data/__init__",
        "data.procedural.board": "# data/procedural/board",
    }


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("losses.angle", "from adpt.data import Batch", "adpt.data, which lies above it"),
        ("losses.angle", "import adpt.weights", "adpt.weights, which lies above it"),
        ("methods.base", "from adpt import callbacks", "adpt.callbacks, which lies above it"),
        ("callbacks", "def f():\n    import adpt.wiring", "adpt.wiring, which lies above it"),
        ("data.base", "from adpt.backbones.timm import f", "adpt.backbones, which lies beside it"),
        ("report", "from adpt.train import main", "adpt.train, which lies beside it"),
        ("errors", "from adpt.files import f", "adpt.files, which lies beside it"),
        ("data.base", "from .sample import Batch", "imports relatively"),
        ("gadgets", "", "adpt.gadgets is in no layer: give it one in tests/test_layers.py"),
        ("train", "from adpt.gadgets import f", "adpt.gadgets, which is in no layer"),
        ("", "from adpt.losses import AngleContrastiveLoss", "adpt itself imports adpt.losses"),
    ],
)
def test_import_against_the_table_is_found(name: str, source: str, fault: str) -> None:
    assert [fault in found for found in faults({name: source})] == [True]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("train", "from adpt.wiring import callbacks\nfrom adpt.losses import angle"),
        ("weights", "from adpt.projector import FeatureProjector\nimport torch, adptx.train"),
        ("data.mvtec", "from adpt.data.base import AnomalyDataModule\nfrom adpt import data"),
        ("files", "from adpt.errors import UserError"),
        ("evaluate", "import adpt\nfrom adpt import __version__"),
        ("", "from importlib.metadata import version"),
        ("", "from adpt.inspection import Inspector"),
    ],
)
def test_import_with_the_table_is_accepted(name: str, source: str) -> None:
    assert faults({name: source}) == []
