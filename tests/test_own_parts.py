"""Losses and projectors of one's own: their names in the log, and whose code a file may run."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from adpt.errors import UserError, WeightsError
from adpt.evaluation.encoding import LoadedProjector
from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss, PublishedNormLoss, terms_of
from adpt.projector import FeatureProjector
from adpt.weights import find_projector, load_projector, save_projector
from adpt.weights.projector_file import filled_projector

OWN = """
from adpt.projector import ProjectorBlock
from torch import nn


class Doubling(ProjectorBlock):
    def __init__(self, channels, num_heads, num_references):
        super().__init__()
        self.gain = nn.Parameter(nn.init.ones_(nn.Linear(1, channels).bias.detach()) * FACTOR)

    def forward(self, tokens, references=None):
        return tokens * self.gain


not_a_block = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that is not imported yet; its name."""
    (tmp_path / "own_blocks.py").write_text(OWN.replace("FACTOR", "2"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_blocks", raising=False)
    return "own_blocks"


class InfoNCELoss(nn.Module):
    """Named by its class."""


class Named(nn.Module):
    """Named by itself."""

    term = "mine"


@pytest.mark.parametrize(
    ("angle", "norm", "names"),
    [
        (AngleContrastiveLoss(), NormContrastiveLoss(), {"angle": "angle", "norm": "norm"}),
        (None, PublishedNormLoss(), {"norm": "norm"}),
        (InfoNCELoss(), Named(), {"angle": "info_nce", "norm": "mine"}),
        (Named(), Named(), {"angle": "mine_angle", "norm": "mine_norm"}),
        (NormContrastiveLoss(), None, {"angle": "norm"}),
    ],
)
def test_a_loss_is_logged_under_its_own_name(
    angle: nn.Module | None, norm: nn.Module | None, names: dict[str, str]
) -> None:
    assert terms_of(angle=angle, norm=norm) == names


def test_a_block_of_ones_own_is_made_saved_and_read_by_whoever_names_it(
    own: str, tmp_path: Path
) -> None:
    projector = FeatureProjector([3, 4], block="own_blocks.Doubling")
    levels = [torch.rand(2, width, 5, 5) for width in (3, 4)]
    assert all(
        torch.equal(out, 2 * level) for out, level in zip(projector(levels), levels, strict=True)
    )
    path = tmp_path / "projector.safetensors"
    save_projector(projector, path)
    again = load_projector(path, block="own_blocks.Doubling")
    assert torch.equal(again(levels)[0], 2 * levels[0])


def test_no_code_is_run_because_a_file_names_it(own: str, tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    projector = FeatureProjector([3], block="own_blocks.Doubling")
    save_projector(projector, path)
    del sys.modules["own_blocks"]
    for block in (None, "own_blocks.Other"):
        with pytest.raises(WeightsError, match=r"made with the block own_blocks\.Doubling") as told:
            load_projector(path, block=block)
        assert "projector_block=own_blocks.Doubling" in str(told.value)
        assert "whole projector" not in str(told.value)
    with pytest.raises(WeightsError, match="no code is run"):
        filled_projector(projector.options, projector.state_dict(), path)
    assert "own_blocks" not in sys.modules


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("own_blocks.Missing", "cannot be imported"),
        ("missing_module.Block", "cannot be imported"),
        ("own_blocks.not_a_block", "derive from adpt.projector.ProjectorBlock"),
        ("torch.nn.Linear", "derive from"),
    ],
)
def test_what_is_no_block_is_refused(own: str, block: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureProjector([3], block=block)


def test_the_source_of_a_block_decides_over_its_features(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "projector.safetensors"
    save_projector(FeatureProjector([3], block="own_blocks.Doubling"), path)

    def fingerprint() -> str:
        sys.modules.pop("own_blocks", None)
        loaded = load_projector(path, block="own_blocks.Doubling")
        return LoadedProjector(loaded, find_projector(path)).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    # Another length: a file that is changed within a second keeps its compiled form else.
    (tmp_path / "own_blocks.py").write_text(OWN.replace("FACTOR", "2.0") + "\n# Otherwise.\n")
    assert fingerprint() != first


def test_a_block_must_keep_the_shape_of_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = OWN.replace("FACTOR", "2").replace("tokens * self.gain", "(tokens * self.gain)[..., :2]")
    (tmp_path / "narrow_blocks.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    projector = FeatureProjector([3], block="narrow_blocks.Doubling")
    with pytest.raises(ValueError, match=r"narrow_blocks\.Doubling.*\(2, 25, 2\).*\(2, 25, 3\)"):
        projector([torch.rand(2, 3, 5, 5)])


def test_a_projector_that_went_astray_is_not_written(tmp_path: Path) -> None:
    projector = FeatureProjector([4], num_heads=1, num_references=2, block="linear")
    with torch.no_grad():
        next(projector.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=r"not finite \(blocks\.0\..*metrics\.csv"):
        save_projector(projector, tmp_path / "projector.safetensors")
    assert not list(tmp_path.iterdir())
