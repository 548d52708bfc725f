"""Rows in a file read like a tensor's, and a bank chosen from a file is the one from memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adpt.errors import UserError
from adpt.methods import PatchCore, stacked
from adpt.methods.coreset import greedy_coreset, project
from adpt.methods.left_out import left_out_patches
from adpt.methods.stacked import FileRows


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filed(rows: Tensor) -> FileRows:
    found = FileRows(rows.shape[1])
    for part in rows.split(77):
        found.append(part)
    return found


def clustered(count: int, width: int) -> Tensor:
    """Points near few directions, as patches are."""
    few = normal(width, 40, seed=1) / 40**0.5
    return normal(count, 40) @ few.T + 0.05 * normal(count, width, seed=2) + 3


def test_rows_of_a_file_read_like_a_tensors() -> None:
    rows = normal(300, 5)
    found = filed(rows)
    assert (len(found), found.shape, found.device) == (300, rows.shape, rows.device)
    several = (slice(None), slice(3, 90), slice(290, 999), slice(5, 3))
    for wanted in (*several, torch.tensor([7, 0, 299, 7])):
        assert torch.equal(found[wanted], rows[wanted])
    assert torch.equal(found[torch.zeros(0, dtype=torch.int64)], rows[:0])
    assert torch.equal(torch.cat(list(found.split(64))), rows)
    torch.testing.assert_close(found.mean(0), rows.mean(0))


def test_rows_are_written_below_the_others_after_some_were_read() -> None:
    rows = normal(20, 3)
    found = FileRows(3)
    for part in rows.split(8):
        found.append(part)
        assert torch.equal(found[:2], rows[:2])
    assert torch.equal(found[:], rows)


class Sluggish:
    """A file of which a call takes or gives a few bytes, as the system does beyond 2 GB."""

    def __init__(self, file: Any) -> None:
        self.file, self.seek = file, file.seek

    def write(self, left: memoryview) -> int:
        return int(self.file.write(left[:7]))

    def readinto(self, left: memoryview) -> int:
        return int(self.file.readinto(left[:7]))


def test_what_the_system_leaves_of_a_call_is_written_and_read_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = normal(20, 3)
    found = FileRows(3)
    monkeypatch.setattr(found, "_file", Sluggish(found._file))
    found.append(rows[:9])
    found.append(rows[9:])
    assert torch.equal(found[:], rows)
    assert torch.equal(found[torch.tensor([19, 4])], rows[[19, 4]])


def test_a_file_that_was_cut_short_is_told() -> None:
    found = filed(normal(20, 3))
    found._file.truncate(100)
    with pytest.raises(OSError, match="cut short"):
        found[:]


class Elsewhere(Tensor):
    """Rows that say they lie on an accelerator."""

    device = torch.device("cuda")


def test_parts_of_an_accelerator_stay_there() -> None:
    rows = normal(30, 5)
    found = stacked.stacked(part.as_subclass(Elsewhere) for part in rows.split(7))
    assert isinstance(found, Elsewhere)
    assert torch.equal(found.as_subclass(Tensor), rows)


def test_a_full_disk_says_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(stacked.tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(UserError, match=r"No space left.*Set TMPDIR"):
            FileRows(3).append(normal(2, 3))


def test_no_folder_for_a_file_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked.tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"no temporary file .*No such file.* Set TMPDIR"):
        FileRows(3)


@pytest.mark.parametrize("limit", [0, 4 * 5 * 10, 4 * 5 * 29, 4 * 5 * 30, 2**20])
def test_parts_are_stacked_in_their_order(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(stacked, "HELD_BYTES", limit)
    rows = normal(30, 5)
    found = stacked.stacked(iter(rows.split(7)))
    assert isinstance(found, FileRows) == (limit < rows.nbytes)
    assert torch.equal(found[:], rows)


@pytest.mark.parametrize("width", [16, 600])
@pytest.mark.parametrize("starts", [1, 10])
def test_picks_from_a_file_are_those_from_memory(width: int, starts: int) -> None:
    points = clustered(5000, width)

    def picks(of: Any) -> list[int]:
        return greedy_coreset(of, 300, torch.Generator().manual_seed(0), starts).tolist()

    assert picks(filed(points)) == picks(points)


def test_projections_of_a_file_are_those_from_memory() -> None:
    points = normal(3000, 40)
    ours, expected = (
        project(of, 8, torch.Generator().manual_seed(0)) for of in (filed(points), points)
    )
    torch.testing.assert_close(ours, expected)


def test_left_out_distances_from_a_file_are_those_from_memory() -> None:
    patches = clustered(40 * 60, 600)
    bank = patches[greedy_coreset(patches, 200, torch.Generator().manual_seed(0))]
    expected = left_out_patches(patches, 40, bank)
    assert torch.equal(left_out_patches(filed(patches), 40, bank), expected)


@pytest.mark.parametrize("options", [{}, {"coreset_ratio": 1.0}, {"projection_dim": 16}])
def test_a_bank_of_many_patches_is_that_of_memory(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    levels = [normal(12, 9, 8, 8), normal(12, 7, 4, 4, seed=1)]
    batches = [[level[start : start + 5] for level in levels] for start in (0, 5, 10)]

    def fitted() -> tuple[Tensor, Tensor]:
        method = PatchCore(16, **{"embedding_dim": 64, **options})
        method.fit(batches)
        return method.bank, method.left_out_scores(batches).maps

    expected = fitted()
    monkeypatch.setattr(stacked, "HELD_BYTES", 10_000)
    for ours, theirs in zip(fitted(), expected, strict=True):
        assert torch.equal(ours, theirs)
