"""The feature cache benchmark at a small size."""

from pathlib import Path

import torch
from parts import cache as part

CPU = torch.device("cpu")


def test_batches_are_what_was_written_in_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(part, "LEVELS", [(3, 4, 4), (5, 2, 2)])
    monkeypatch.setattr(part, "IMAGES", 7)
    part.fill(str(tmp_path))
    everything = part.features(str(tmp_path), 7)
    batches = list(everything.batches(3, CPU))
    assert [len(levels[0]) for levels in batches] == [3, 3, 1]
    for number, level in enumerate(everything.levels):
        assert torch.equal(torch.cat([levels[number] for levels in batches]), level)
    assert len({float(level.sum()) for level in everything.levels[0]}) == 7
