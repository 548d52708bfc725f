"""The adapter for anomalib, in processes of their own: anomalib changes timm wherever it is."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import warm
from adpt.projector import FeatureProjector
from adpt.weights import save_projector

EXAMPLE = Path(__file__).resolve().parents[1] / "experiments" / "anomalib" / "run.py"

needs_anomalib = pytest.mark.skipif(
    find_spec("anomalib") is None, reason="anomalib is not installed: pip install 'adpt[anomalib]'"
)

PARITY = """
import sys
import torch
from adpt.anomalib import ResidualExtractor
from adpt.backbones import build_backbone
from adpt.evaluation import Features, FixedReferences
from adpt.methods.feature_sets import InMemory
from adpt.weights import load_projector

backbone = build_backbone("efficientnet_lite0", levels=[2, 3])
torch.manual_seed(1)
images = torch.rand(5, 3, 48, 48)
names = [f"image {number}" for number in range(5)]
levels = backbone(images)
known = Features(InMemory(levels), torch.zeros(5, 48, 48), torch.zeros(5), names, [])
# The first and the third image of the batch are themselves references.
chosen = [0, 2, 4]
batch = [level[:4] for level in levels]
for path in [None, *sys.argv[1:]]:
    projector = load_projector(path) if path else None
    references = FixedReferences(known, [names[row] for row in chosen], torch.device("cpu"))
    expected = references.convert(batch, names[:4], projector)
    extractor = ResidualExtractor(backbone, projector, images[chosen], num_levels=2)
    found = extractor(images[:4])
    assert list(found) == extractor.layers == ["level0", "level1"]
    assert [level.shape[1] for level in found.values()] == extractor.out_dims == [40, 112]
    for level, values in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(level, values)
    last = ResidualExtractor(backbone, projector, images[chosen], num_levels=1)(images[:4])
    assert list(last) == ["level1"]
    assert torch.equal(last["level1"], found["level1"])
"""


@pytest.fixture
def projectors(tmp_path: Path) -> dict[str, Path]:
    """A projector that scales by the references, one that attends to them, one of own features."""
    torch.manual_seed(0)
    made = {}
    for name, options in {
        "scaled": {"scale_by_references": True},
        "cross": {"block": "cross_attention"},
        "own": {"block": "mlp", "on_residuals": False},
    }.items():
        projector = FeatureProjector((40, 112), num_heads=4, num_references=3, **options)
        made[name] = tmp_path / f"{name}.safetensors"
        save_projector(projector, made[name], {"backbone": "efficientnet_lite0"})
    return made


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return warm.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )


@needs_anomalib
def test_features_are_those_of_an_evaluation(tmp_path: Path, projectors: dict[str, Path]) -> None:
    done = python("-c", PARITY, *map(str, projectors.values()), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_anomalib
def test_example_fits_and_tests_patchcore(
    tmp_path: Path, mvtec_root: Path, projectors: dict[str, Path]
) -> None:
    arguments = [str(mvtec_root), "bottle", "--backbone=efficientnet_lite0", "--levels", "2", "3"]
    arguments += [f"--projector={projectors['scaled']}", "--image-size=48", "--shots=3"]
    done = python(str(EXAMPLE), *arguments, f"--output={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split() for line in done.stdout.splitlines() if line.startswith("image_"))
    assert 0 <= float(printed["image_AUROC"]) <= 1


WRONG_REFERENCES = """
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock
import torch

# What is refused is refused before anomalib has any part in it.
for name in ("anomalib", "anomalib.data", "anomalib.data.utils", "anomalib.pre_processing"):
    sys.modules[name] = MagicMock()
sys.modules["anomalib.models"] = SimpleNamespace(Patchcore=torch.nn.Module)
from adpt.anomalib import ResidualPatchcore
from adpt.errors import UserError

for references in ([], ["one.png"], "photos/good", Path("photos/good")):
    try:
        ResidualPatchcore(references=references)
    except UserError as error:
        print(error)
"""


def test_references_that_are_no_list_of_images_are_refused(tmp_path: Path) -> None:
    done = python("-c", WRONG_REFERENCES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "references has 0 images",
        "references has 1 images",
        "references='photos/good' is one path",
        "references='photos/good' is one path",
    ]


def test_without_anomalib_the_error_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['anomalib'] = None; import adpt.anomalib"
    done = python("-c", script, cwd=tmp_path)
    assert done.returncode == 1
    assert "adpt.anomalib needs anomalib: pip install 'adpt[anomalib]'" in done.stderr
