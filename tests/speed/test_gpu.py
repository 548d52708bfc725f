"""The GPU's table is printed on a CPU too, so that the script is there when a GPU is."""

from argparse import Namespace

import gpu
import gpu_commands
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


@pytest.mark.slow
def test_whole_commands_are_measured() -> None:
    asked = Namespace(
        network="vit_tiny_patch16_224", device="cpu", images=4, steps=4, rendered=(8, 4, 4)
    )
    rows = [line.strip("| ").split(" | ") for line in gpu_commands.lines(asked)]
    found = {cells[0]: cells[1:] for cells in rows if len(cells) > 1 and "---" not in cells[0]}
    for precision in ("bf16-mixed", "32-true"):
        rate, hours = map(float, found[precision][:2])
        assert hours == pytest.approx(1_510_500 / rate / 3600, rel=0.2)
    assert "needs an NVIDIA GPU" in found["tf32"][0]
    assert found["float32"][-1] == "0.00 / 0.00 / 0.00 points"
    assert found["bfloat16"][-1] != found["float32"][-1]
    assert {"`fit=`, cpu", "`images=`, cpu"} <= found.keys()
