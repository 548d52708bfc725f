"""The GPU's table is printed on a CPU too, so that the script is there when a GPU is."""

import gpu
import pytest
import torch


@pytest.mark.slow
@pytest.mark.parametrize("way", ["eager", "bf16 weights", "math attention"])
def test_a_row_is_measured(way: str) -> None:
    row = gpu.row("vit_tiny_patch16_224", way, torch.device("cpu"), 2, 1, 1e12)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["vit_tiny_patch16_224", way]
    assert 0 < int(cells[4].removesuffix("%")) <= 150


def test_a_way_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(gpu, "sides", failing)
    monkeypatch.setattr(gpu, "build_backbone", lambda *_, **__: torch.nn.Identity())
    row = gpu.row("tiny", "compiled", torch.device("cpu"), 2, 1, 1e12)
    assert row == "| tiny | compiled | failed: no such kernel |"
