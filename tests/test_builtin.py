"""The projector that is installed with adpt."""

import sys
from pathlib import Path

import pytest
import torch

import warm
from adpt.backbones import build_backbone
from adpt.errors import WeightsError
from adpt.weights import find_projector, load_matching_projector
from small import SmallBackbone

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "unseen_products"


def test_builtin_projector_fits_the_backbone_that_is_installed() -> None:
    found = find_projector("builtin")
    assert found.protocol == "clean"
    assert found.path.stat().st_size < 6e6
    backbone = build_backbone("efficientnet_lite0")
    projector = load_matching_projector(found, backbone, torch.device("cpu"))
    assert projector is not None
    assert projector.scale_by_references
    assert projector.scale.dtype == torch.float32
    assert "config" not in found.metadata  # It would name places.


def test_builtin_projector_refuses_other_levels() -> None:
    with pytest.raises(WeightsError, match="builtin was trained on levels of widths"):
        load_matching_projector("builtin", SmallBackbone(), torch.device("cpu"))


def test_model_card_is_what_the_measured_rows_say() -> None:
    shown = "import runpy; print(runpy.run_path('card.py')['card'](), end='')"
    words = [sys.executable, "-c", shown]
    done = warm.run(words, cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    installed = find_projector("builtin")
    assert done.stdout == installed.path.with_suffix(".md").read_text(encoding="utf-8")
    assert installed.sha256 in done.stdout
