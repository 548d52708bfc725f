"""The table of what each scale takes: its formulas against what PyTorch counts, and its pages."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from adpt.projector import FeatureProjector
from adpt.residual import residual_features

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "scaling"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling_table", FOLDER / "table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling_table"] = module
    spec.loader.exec_module(module)
    return module


def counted(work: object) -> float:
    with FlopCounterMode(display=False) as counter:
        work()  # type: ignore[operator]
    return counter.get_total_flops()


def test_a_transformer_is_counted_as_pytorch_does(table: ModuleType) -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
        image = torch.zeros(1, 3, 224, 224)
    backbone = table.Transformer(12, 192, 16)
    with torch.no_grad():
        found = counted(lambda: network(image))
    assert backbone.flop == pytest.approx(found, rel=0.01)
    parameters = sum(value.numel() for value in network.parameters())
    assert backbone.parameters == pytest.approx(parameters, rel=0.02)


@pytest.mark.parametrize("width", [768, 1024, 1280])
def test_a_projector_is_counted_as_pytorch_does(table: ModuleType, width: int) -> None:
    with torch.device("meta"):
        projector = FeatureProjector([width] * 4)
        levels = [torch.zeros(2, width, 16, 16) for _ in range(4)]
    found = counted(lambda: projector(levels))
    assert table.projector_flop(width, 256, 2) == pytest.approx(found, rel=0.01)
    parameters = sum(value.numel() for value in projector.parameters())
    assert table.projector_parameters(width) == pytest.approx(parameters, rel=0.01)


def test_matching_is_counted_as_pytorch_does(table: ModuleType) -> None:
    levels = [torch.rand(3, 64, 8, 8) for _ in range(4)]
    references = [torch.rand(3, 2 * 64, 64) for _ in range(4)]
    found = counted(lambda: residual_features(levels, references))
    assert 3 * table.matching_flop(64, 64, 2) == pytest.approx(found, rel=0.05)


def test_the_pages_show_what_the_script_prints() -> None:
    script = [sys.executable, str(FOLDER / "table.py")]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed.count("clip_l") == 2
    for page in (FOLDER / "README.md", FOLDER.parents[1] / "docs" / "cluster.md"):
        assert printed in page.read_text()
