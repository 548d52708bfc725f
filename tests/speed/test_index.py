"""The index benchmark at a small size: the tree it draws, and that its changes are noticed."""

import time
from pathlib import Path

from parts import index as part

from adpt.data import RealIAD, index


def test_tree_is_listed_alike_by_folder_and_by_list(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(part, "CLASSES", part.CLASSES[:2])
    monkeypatch.setattr(part, "SOUND", 3)
    monkeypatch.setattr(part, "DEFECTIVE", 3)
    files = part.draw(tmp_path / "set")
    assert files == 2 * (3 * 5 + 3 * 5 + 3 * 3 + 1)
    by_folder, by_list = RealIAD(tmp_path / "set"), RealIAD(tmp_path / "set", split="realiad_jsons")
    by_folder.setup()
    by_list.setup()
    assert len(by_folder.samples) == 2 * 6 * 5
    assert {(s.image, s.mask) for s in by_list.samples} == {
        (s.image, s.mask) for s in by_folder.samples
    }

    monkeypatch.setattr(index, "SETTLED", float("-inf"))
    monkeypatch.setattr(part, "setup", setup)
    setup(tmp_path / "set", "")
    part.check_changes(tmp_path / "set", len(by_folder.samples))


def setup(root: Path, split: str) -> tuple[float, int]:
    time.sleep(0.02)  # File systems count time in steps.
    data = RealIAD(root, split=split or None)
    data.setup()
    return 0.0, len(data.samples)
