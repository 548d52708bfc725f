"""Imports inside the package go down only: the table below is the picture of the house."""

import ast
from pathlib import Path

import pytest
from hydra.utils import get_class

import adpt

FLOORS = [
    # 0: the mathematics, and what needs nothing
    {"errors", "losses", "metrics", "nearest", "projector", "version"},
    # 1: residual features; where windows lie; what keeps a run going
    {"residual", "running", "windows"},
    # 2: what comes in: images, networks, options
    {"backbones", "cli", "data"},
    # 3: what runs on features, what weights and results are kept in
    {"methods", "results", "weights"},
    # 4: what is shown
    {"page"},
    # 5: tables of results, and W&B
    {"evaluation", "tracking"},
    # 6: pretraining, and the inspection of one's own product
    {"inspection", "pretraining"},
    # 7: inspectors over HTTP
    {"serving"},
    # 8: the entries, imported by nobody
    {"anomalib", "doctor", "evaluate", "predict", "publish", "report", "serve", "train"},
]

# What the package itself offers by name, and imports only when it is asked for.
OFFERED = {"inspection", "version"}

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


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
        if own and own not in FLOOR_OF:
            found.append(f"adpt.{own} is on no floor: give it one in tests/test_layers.py.")
            continue
        for other in sorted(imported(source) - {own}):
            if other == "(relative)":
                found.append(f"adpt.{name} imports relatively: write the module's whole name.")
            elif other not in FLOOR_OF:
                found.append(f"adpt.{name} imports adpt.{other}, which is on no floor.")
            elif not own and other not in OFFERED:
                found.append(f"adpt itself imports adpt.{other}: it must import nothing of ours.")
            elif own and FLOOR_OF[other] > FLOOR_OF[own]:
                found.append(f"adpt.{name} imports adpt.{other}, which lies above it.")
            elif own and FLOOR_OF[other] == FLOOR_OF[own]:
                found.append(f"adpt.{name} imports adpt.{other}, which lies beside it.")
    return found


def test_imports_go_down_only() -> None:
    found = faults(sources(Path(adpt.__file__).parent))
    assert not found, "\n".join(found)


def test_no_room_is_on_two_floors() -> None:
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


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
        ("methods.base", "from adpt import pretraining", "adpt.pretraining, which lies above it"),
        ("data.base", "def f():\n    import adpt.page.svg", "adpt.page, which lies above it"),
        ("data.base", "from adpt.backbones.timm import f", "adpt.backbones, which lies beside it"),
        ("report", "from adpt.train import main", "adpt.train, which lies beside it"),
        ("errors", "from adpt.losses import angle", "adpt.losses, which lies beside it"),
        ("data.base", "from .sample import Batch", "imports relatively"),
        ("gadgets", "", "adpt.gadgets is on no floor: give it one in tests/test_layers.py"),
        ("train", "from adpt.gadgets import f", "adpt.gadgets, which is on no floor"),
        ("train", "from adpt import __version__", "adpt.__version__, which is on no floor"),
        ("", "from adpt.losses import AngleContrastiveLoss", "adpt itself imports adpt.losses"),
    ],
)
def test_import_against_the_table_is_found(name: str, source: str, fault: str) -> None:
    assert [fault in found for found in faults({name: source})] == [True]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("train", "from adpt.cli.entry import callbacks\nfrom adpt.losses import angle"),
        ("weights", "from adpt.projector import FeatureProjector\nimport torch, adptx.train"),
        ("data.mvtec", "from adpt.data.base import AnomalyDataModule\nfrom adpt import data"),
        ("running.whole_files", "from adpt.errors import UserError"),
        ("evaluate", "from adpt.version import __version__"),
        ("", "from importlib.metadata import version"),
        ("", "from adpt.inspection import Inspector"),
        ("", "from adpt.version import __version__"),
    ],
)
def test_import_with_the_table_is_accepted(name: str, source: str) -> None:
    assert faults({name: source}) == []


@pytest.mark.parametrize(
    "name",
    [
        "adpt.downstream.FeatureCache", "adpt.callbacks.DownstreamCheck",
        "adpt.callbacks.ImagesPerSecond", "adpt.checkpoints.LastCheckpoint",
        "adpt.checkpoints.WholeCheckpoints", "adpt.metrics_log.MetricsLog",
        "adpt.pretraining.Pretraining", "adpt.pretraining.references.ReferencePool",
        "adpt.references.ReferencePool",
        "adpt.sweeps.FailedJobs", "adpt.sweeps.OutputFolder",
    ],
)  # fmt: skip
def test_targets_that_config_files_named_before_are_found(name: str) -> None:
    assert get_class(name).__name__ == name.rpartition(".")[2]


# What several modules are each asked for: a command's start, a section of the page, a format's
# escapes, a network's weights.
ASKED_OF_SEVERAL = {"main", "section", "escape", "to_timm"}


def test_a_public_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for module, source in sources(Path(adpt.__file__).parent).items():
        defined = (ast.FunctionDef, ast.ClassDef)
        names = {node.name for node in ast.parse(source).body if isinstance(node, defined)}
        for name in names:
            places.setdefault(name, []).append(module)
    twice = {name: found for name, found in places.items() if len(found) > 1 and name[0] != "_"}
    assert twice.keys() == ASKED_OF_SEVERAL, twice
