"""The projector that is installed with adpt."""

import pytest
import torch

from adpt.backbones import build_backbone
from adpt.errors import WeightsError
from adpt.weights import find_projector, load_matching_projector
from small import SmallBackbone


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
