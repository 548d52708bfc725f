"""References: which images become one, and what is drawn for whom."""

import logging
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.data import Folder, RealIAD, Sample
from adpt.data.references import choose_references
from adpt.errors import UserError
from adpt.pretraining.reference_pool import ReferencePool
from drawn import draw_folder
from runs import folder_data

SHOTS = (1, 4, 8)


class Encoder:
    """Gives every picture a feature of its own, and counts the pictures."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.images += len(images)
        values = images.double().flatten(1)
        number = (values * torch.arange(1, values.shape[1] + 1)).sum(1)
        return [number.view(-1, 1, 1, 1).expand(-1, 1, 1, 2), number.view(-1, 1, 1, 1)]


def ready(data: Folder, **options) -> tuple[ReferencePool, Encoder]:
    data.setup()
    pool, encoder = ReferencePool(**options), Encoder()
    pool.setup(data, encoder)
    pool.redraw(0)
    return pool, encoder


def sample_of(data: Folder) -> dict[float, Sample]:
    """The sample behind each feature that `Encoder` makes."""
    batch = data.read(data.samples)
    return dict(zip(Encoder()(batch.image)[1].flatten().tolist(), data.samples, strict=True))


def paths(data: Folder) -> list[str]:
    return [str(sample.image) for sample in data.pretraining_samples()]


@pytest.fixture(params=[4, 100, None], ids=["pool", "pool of all", "fresh"])
def pool_size(request: pytest.FixtureRequest) -> int | None:
    return request.param


# ---- For pretraining ------------------------------------------------------------------------


def test_a_reference_is_another_normal_image_of_the_same_class(
    folder_root: Path, pool_size: int | None
) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, pool_size=pool_size, shots=SHOTS)
    sample = sample_of(data)
    for shots in SHOTS:
        drawn = pool.draw(paths(data), shots)[1]
        assert drawn.shape == (24, shots, 1)
        for own, references in zip(data.pretraining_samples(), drawn, strict=True):
            found = [sample[value] for value in references.flatten().tolist()]
            assert {reference.label for reference in found} == {0}
            assert {reference.class_name for reference in found} == {own.class_name}
            assert own not in found
    assert len({tuple(row.flatten().tolist()) for row in drawn}) > 6


def test_a_reference_is_seen_by_the_same_camera(realiad_root: Path, pool_size: int | None) -> None:
    data = RealIAD(realiad_root, image_size=32, batch_size=8, num_workers=0)
    pool, _ = ready(data, pool_size=pool_size, shots=(1, 2))
    sample = sample_of(data)
    drawn = pool.draw(paths(data), 2)[1]
    for own, references in zip(data.pretraining_samples(), drawn, strict=True):
        found = [sample[value] for value in references.flatten().tolist()]
        groups = {(reference.class_name, reference.view) for reference in found}
        assert groups == {(own.class_name, own.view)}


def test_references_of_an_image_are_distinct_while_there_are_enough(folder_root: Path) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, pool_size=None, shots=SHOTS)
    drawn = pool.draw(paths(data), 8)[1].squeeze(-1)
    assert {len(set(row.tolist())) for row in drawn} == {8}


def test_every_level_holds_the_tokens_of_the_same_images(
    folder_root: Path, pool_size: int | None
) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, pool_size=pool_size)
    wide, narrow = pool.draw(paths(data)[:5], 4)
    assert wide.shape == (5, 8, 1)
    assert torch.equal(wide.squeeze(-1), narrow.squeeze(-1).repeat_interleave(2, 1))


def test_draws_depend_on_the_image_and_not_on_its_batch(
    folder_root: Path, pool_size: int | None
) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, pool_size=pool_size)
    together = pool.draw(paths(data), 4)[1]
    backwards = pool.draw(paths(data)[::-1], 4)[1].flip(0)
    alone = torch.cat([pool.draw([path], 4)[1] for path in paths(data)])
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)


def test_fewer_shots_are_the_first_of_more(folder_root: Path) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, pool_size=None)
    assert torch.equal(pool.draw(paths(data), 4)[1], pool.draw(paths(data), 8)[1][:, :4])


def test_same_seed_and_epoch_draw_the_same_and_others_do_not(
    folder_root: Path, pool_size: int | None
) -> None:
    def drawn(seed: int, epoch: int) -> Tensor:
        data = folder_data(folder_root)
        pool, _ = ready(data, pool_size=pool_size, seed=seed)
        pool.redraw(epoch)
        return pool.draw(paths(data), 4)[1]

    assert torch.equal(drawn(0, 1), drawn(0, 1))
    assert not torch.equal(drawn(0, 1), drawn(0, 2))
    assert not torch.equal(drawn(0, 1), drawn(1, 1))


def test_shots_are_of_the_configured_set_and_all_occur(folder_root: Path) -> None:
    data = folder_data(folder_root)
    pool, _ = ready(data, shots=SHOTS)
    first = [pool.draw_shots(step) for step in range(300)]
    counted = Counter(first)
    assert set(counted) == set(SHOTS)
    assert min(counted.values()) > 60
    assert first == [pool.draw_shots(step) for step in range(300)]
    pool.redraw(1)
    assert first != [pool.draw_shots(step) for step in range(300)]


def test_the_pool_is_another_in_every_epoch_and_encoded_once_in_it(folder_root: Path) -> None:
    data = folder_data(folder_root)
    pool, encoder = ready(data, pool_size=4, shots=(1, 2))
    everyone = paths(data)
    pools = []
    for epoch in range(1, 4):
        before = encoder.images
        pool.redraw(epoch)
        assert encoder.images - before == 2 * 4
        pools.append(set(pool.draw(everyone, 8)[1].flatten().tolist()))
        pool.draw(everyone, 2)
        pool.redraw(epoch)  # as training does, whose first pool has served the centres
        assert encoder.images - before == 2 * 4
    assert [len(members) for members in pools] == [8, 8, 8]
    assert pools[0] != pools[1] != pools[2]


def test_without_a_pool_fresh_images_are_encoded_at_every_step(folder_root: Path) -> None:
    data = folder_data(folder_root)
    pool, encoder = ready(data, pool_size=None)
    encoder.images = 0
    pool.draw(paths(data)[:3], 2)
    first = encoder.images
    pool.draw(paths(data)[:3], 2)
    assert 0 < first <= 6
    assert encoder.images == 2 * first


def test_fresh_references_are_those_that_a_pool_of_all_images_offers(folder_root: Path) -> None:
    """With as many shots as there are others, both must hand out the very same features."""
    data = folder_data(folder_root)
    offered = []
    for pool_size in (100, None):
        pool, _ = ready(data, pool_size=pool_size)
        normal = [str(s.image) for s in data.pretraining_samples() if s.label == 0]
        offered.append(pool.draw(normal, 8)[1].squeeze(-1).sort(1).values)
    assert torch.equal(*offered)


def test_an_empty_batch_has_no_references(folder_root: Path, pool_size: int | None) -> None:
    pool, _ = ready(folder_data(folder_root), pool_size=pool_size)
    assert [tuple(level.shape) for level in pool.draw([], 4)] == [(0, 8, 1), (0, 4, 1)]


# ---- Files that cannot be read --------------------------------------------------------------


@pytest.fixture
def damaged_root(tmp_path: Path) -> Path:
    """One product with 6 + 3 normal images, 3 of which cannot be read."""
    root = draw_folder(tmp_path / "damaged", ("key",))
    for number in range(3):
        (root / "key" / "train" / "good" / f"{number:03d}.png").write_bytes(b"")
    return root


@pytest.mark.parametrize("pool_size", [100, None], ids=["pool of all", "fresh"])
def test_unreadable_references_are_left_out_with_a_warning(
    damaged_root: Path, pool_size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    data = folder_data(damaged_root)
    pool, _ = ready(data, pool_size=pool_size)
    readable = [path for path in paths(data) if Path(path).stat().st_size]
    drawn = pool.draw(readable, 4)[1]
    assert (drawn != 0).all()
    one = pool.draw(readable, 1)[1]
    assert torch.equal(one, drawn[:, :1])
    assert caplog.text.count("000.png (class 'key') cannot be read") == 1
    warned = [record for record in caplog.records if "are left out" in record.getMessage()]
    assert warned
    assert all(record.levelno == logging.WARNING for record in warned)


def test_no_readable_reference_is_a_clear_error(damaged_root: Path) -> None:
    for image in damaged_root.glob("key/*/good/*.png"):
        image.write_bytes(b"")
    data = folder_data(damaged_root)
    for pool_size in (100, None):
        with pytest.raises(UserError, match="No readable normal image of class 'key'"):
            ready(data, pool_size=pool_size)[0].draw(paths(data)[-1:], 1)


def test_on_bad_image_raise_stops_at_an_unreadable_reference(damaged_root: Path) -> None:
    with pytest.raises(UserError, match=r"key/train/good/00\d\.png"):
        ready(folder_data(damaged_root, on_bad_image="raise"), pool_size=100)


@pytest.mark.parametrize("pool_size", [2, 4])
def test_processes_share_the_encoding_and_agree_on_its_shape(
    damaged_root: Path, pool_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a process that has no image to encode must take part with tensors of that shape."""
    reduced: dict[int, list[Tensor]] = {}
    encoded = {}
    for rank in range(3):
        tensors = reduced.setdefault(rank, [])
        monkeypatch.setattr(
            "adpt.pretraining.reference_pool.distributed.all_reduce", tensors.append
        )
        pool, encoder = ready(folder_data(damaged_root), pool_size=pool_size, shots=(1,), seed=4)
        encoder.images = 0
        pool.redraw(1, rank, 3)
        encoded[rank] = encoder.images
    shapes = [[(tensor.shape, tensor.dtype) for tensor in tensors] for tensors in reduced.values()]
    assert len(shapes[0]) == 3
    assert shapes[0] == shapes[1] == shapes[2]
    found = torch.stack([tensors[-1] for tensors in reduced.values()])
    assert found.sum(0).max() == 1
    assert found.shape == (3, pool_size)


# ---- Memory and settings --------------------------------------------------------------------

ONE = 3 * 8 / 1e9
"""GB of an image that `Encoder` encoded: three numbers of 8 bytes."""


@pytest.mark.parametrize(("holds", "kept"), [(2 * 9, 9), (2 * 4, 4), (2 * 5.9, 5)])
def test_the_pool_shrinks_to_the_memory_limit(
    folder_root: Path, holds: float, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = folder_data(folder_root)
    pool, encoder = ready(data, pool_size=9, shots=(1, 2), memory_gb=(holds + 1e-3) * ONE)
    assert pool.pool_size == kept
    assert ("to stay within references.memory_gb" in caplog.text) == (kept < 9)
    encoder.images = 0
    pool.redraw(1)
    assert encoder.images == 2 * kept


def test_a_limit_below_the_smallest_useful_pool_is_refused(folder_root: Path) -> None:
    with pytest.raises(UserError, match=r"memory_gb=.* holds 2 images .* 3 are needed .* GB"):
        ready(folder_data(folder_root), pool_size=9, shots=(1, 2), memory_gb=4.1 * ONE)


def test_fresh_references_need_no_memory(folder_root: Path) -> None:
    pool, _ = ready(folder_data(folder_root), pool_size=None, memory_gb=0)
    assert pool.pool_size is None


def test_a_class_with_a_single_normal_image_is_refused(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",), train=1, good=0)
    with pytest.raises(UserError, match=r"Class 'key' has 1 normal images; .* at least 2"):
        ready(folder_data(root))


@pytest.mark.parametrize("options", [{"shots": []}, {"shots": [0, 4]}, {"pool_size": 1}], ids=str)
def test_settings_without_sense_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match=r"references\."):
        ReferencePool(**options)


# ---- Downstream -----------------------------------------------------------------------------


def test_k_shot_references_are_decided_by_the_seed(folder_root: Path) -> None:
    data = folder_data(folder_root)
    data.setup()
    samples = data.select("train", class_name="key")
    for shots in (1, 2, 4, 6):
        chosen = choose_references(samples, shots, seed=3)
        assert len(set(chosen)) == shots
        assert chosen == choose_references(samples, shots, seed=3)
        assert chosen == [sample for sample in samples if sample in chosen]
    few = [set(choose_references(samples, 2, seed)) for seed in range(8)]
    assert len({frozenset(chosen) for chosen in few}) > 3
    assert choose_references(samples, 100, seed=0) == samples


@pytest.mark.parametrize("shots", [0, -2])
def test_no_shots_are_refused(folder_root: Path, shots: int) -> None:
    data = folder_data(folder_root)
    data.setup()
    with pytest.raises(UserError, match=f"shots={shots}: .* at least 1"):
        choose_references(data.select("train"), shots, seed=0)
