"""Loaders: order, processes, views, and files that cannot be read."""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from adpt.data import Folder
from adpt.data.sampling import EpochSampler, draw_seed
from adpt.data.views import PhotometricViews
from adpt.errors import BadImageError, UserError
from drawn import draw_folder, draw_mvtec


def folder(root: Path, **options) -> Folder:
    data = Folder(root, **{"image_size": 32, "batch_size": 4, "num_workers": 0, **options})
    data.setup()
    return data


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Three images of twelve per class cannot be read."""
    root = draw_mvtec(tmp_path / "own", ("bottle", "key"))
    (root / "key" / "train" / "good" / "001.png").write_bytes(b"")
    (root / "key" / "test" / "good" / "002.png").write_text("no image")
    image = root / "key" / "test" / "scratch" / "000.png"
    image.write_bytes(image.read_bytes()[:300])
    return root


# ---- Files that cannot be read --------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_pretraining_goes_on_without_them_and_counts(damaged, workers, caplog) -> None:
    data = folder(damaged, num_workers=workers)
    loader = data.train_dataloader()
    batches = list(loader)
    assert sum(len(batch) for batch in batches) == 21
    skipped = [path for batch in batches for path in batch.skipped]
    assert sorted(Path(path).parent.name for path in skipped) == ["good", "good", "scratch"]
    assert caplog.text.count("(class 'key') cannot be read") == 3
    list(loader)
    assert caplog.text.count("(class 'key') cannot be read") == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_stops_with_one_clean_line(damaged: Path, workers: int) -> None:
    data = folder(damaged, num_workers=workers)
    with pytest.raises(BadImageError) as caught:
        list(data.loader(data.select("train", class_name="key")))
    message = str(caught.value)
    assert "key/train/good/001.png (class 'key') cannot be read" in message
    assert "\n" not in message


def test_config_decides_over_the_defaults(damaged: Path) -> None:
    stop = folder(damaged, on_bad_image="raise")
    with pytest.raises(BadImageError, match="class 'key'"):
        list(stop.train_dataloader())
    go_on = folder(damaged, on_bad_image="skip")
    batches = list(go_on.loader(go_on.select("test")))
    assert sum(len(batch) for batch in batches) == 10
    assert len(go_on.read(go_on.select("test")).skipped) == 2


def test_reading_directly_stops_too(damaged: Path) -> None:
    data = folder(damaged)
    with pytest.raises(BadImageError, match=r"001\.png"):
        data.read(data.select("train", class_name="key"))


def test_batch_of_nothing_readable_has_a_shape(damaged: Path) -> None:
    for image in (damaged / "key" / "test" / "good").iterdir():
        image.write_bytes(b"")
    data = folder(damaged, on_bad_image="skip")
    batch = data.read(data.select("test", 0, "key"))
    assert len(batch) == 0
    assert batch.image.shape == (0, 3, 32, 32)
    assert batch.mask.shape == (0, 32, 32)
    assert len(batch.skipped) == len(batch.faults) == 3


def test_unreadable_mask_is_named(mvtec_root: Path) -> None:
    mask = mvtec_root / "bottle" / "ground_truth" / "scratch" / "000_mask.png"
    mask.write_bytes(b"")
    data = folder(mvtec_root)
    with pytest.raises(BadImageError, match=r"000_mask\.png \(class 'bottle'\)"):
        data.read(data.select("test", 1, "bottle"))


def test_a_mask_that_changed_its_size_since_it_was_listed_is_named(mvtec_root: Path) -> None:
    data = folder(mvtec_root)
    mask = mvtec_root / "bottle" / "ground_truth" / "scratch" / "000_mask.png"
    Image.new("L", (20, 30), 255).save(mask)
    with pytest.raises(BadImageError, match=r"000_mask\.png is 20x30 pixels, but its image"):
        data.read(data.select("test", 1, "bottle"))


# ---- Loaders --------------------------------------------------------------------------------


def test_loader_keeps_the_order_given(mvtec_root: Path) -> None:
    data = folder(mvtec_root, num_workers=2)
    samples = data.select("test")[::-1]
    paths = [path for batch in data.loader(samples) for path in batch.path]
    assert paths == [str(sample.image) for sample in samples]


def test_loader_of_no_images_is_empty(mvtec_root: Path) -> None:
    data = folder(mvtec_root)
    assert list(data.loader([])) == []


def test_pretraining_batches_do_not_depend_on_workers_and_change_with_epoch_and_seed(
    mvtec_root: Path,
) -> None:
    def epoch(workers: int, number: int, seed: int = 0) -> list:
        loader = folder(mvtec_root, num_workers=workers, seed=seed).train_dataloader()
        loader.sampler.set_epoch(number)
        return list(loader)

    one, two = epoch(0, 3), epoch(2, 3)
    assert [b.path for b in one] == [b.path for b in two]
    assert all(torch.equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert one[0].image.shape == (4, 2, 3, 32, 32)
    assert [b.path for b in one] != [b.path for b in epoch(0, 4)]
    assert [b.path for b in one] != [b.path for b in epoch(0, 3, seed=1)]


def test_loading_leaves_the_global_random_state_alone(mvtec_root: Path) -> None:
    data = folder(mvtec_root)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(data.train_dataloader())
    list(data.loader(data.select("test")))
    assert torch.equal(before, torch.get_rng_state())


def test_references_are_read_as_they_are(mvtec_root: Path) -> None:
    """The views change colours; references and test images must be the picture itself."""
    data = folder(mvtec_root, image_size=48)
    batch = data.read(data.select("train")[:1])
    with Image.open(batch.path[0]) as picture:
        assert bytes(batch.image[0].permute(1, 2, 0).contiguous().numpy()) == picture.tobytes()


# ---- Views ----------------------------------------------------------------------------------


def test_views_depend_on_the_seed_alone() -> None:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    views = PhotometricViews()
    torch.manual_seed(1)
    first = views(image, 7)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, views(image, 7))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, views(image, 8))


def test_views_differ_from_each_other_and_keep_everything_in_place() -> None:
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    spot = ((rows - 12).abs() < 5) & ((columns - 33).abs() < 5)
    image = torch.where(spot, 220, 60).expand(3, -1, -1).to(torch.uint8)
    differing = 0
    for seed in range(20):
        pair = PhotometricViews()(image, seed)
        assert pair.shape == (2, 3, 48, 48)
        assert pair.dtype == torch.uint8
        differing += not torch.equal(pair[0], pair[1])
        for view in pair:
            grey = view.float().mean(0)
            bright = grey > (grey.min() + grey.max()) / 2
            assert (bright & spot).sum() / (bright | spot).sum() > 0.8
    assert differing >= 18


# ---- Sampling -------------------------------------------------------------------------------


def batches(length: int, size: int, world: int, rank: int, epoch: int = 2, seed: int = 5) -> list:
    """The batches a process's loader forms of its share."""
    sampler = EpochSampler(length, size, seed, rank, world)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    assert {number for number, _ in keys} == {epoch}
    own = size // world
    return [[i for _, i in keys[start : start + own]] for start in range(0, len(keys), own)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("length", [30, 31, 33, 36, 40])
def test_processes_share_the_single_process_batches(world: int, length: int) -> None:
    whole = batches(length, 6, 1, 0)
    shares = [batches(length, 6, world, rank) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    united = [list(chain(*parts)) for parts in zip(*shares, strict=True)]
    rest = length % 6
    assert united == (whole[:-1] if 0 < rest < world else whole)
    assert Counter(chain(*whole)) == Counter(range(length))


def test_order_is_the_seeds_and_the_epochs() -> None:
    assert batches(30, 6, 1, 0) == batches(30, 6, 1, 0)
    assert batches(30, 6, 1, 0, epoch=3) != batches(30, 6, 1, 0)
    assert batches(30, 6, 1, 0, seed=6) != batches(30, 6, 1, 0)


def test_batch_that_cannot_be_shared_evenly() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size=32 .* multiple of 3"):
        EpochSampler(100, 32, 0, 0, 3)


def test_seeds_of_different_draws_differ() -> None:
    drawn = {draw_seed(run, epoch, image) for run in range(4) for epoch in range(4)
             for image in range(50)}  # fmt: skip
    assert len(drawn) == 800
    assert all(0 <= seed < 2**63 for seed in drawn)


def test_batches_go_to_the_device_without_waiting(tmp_path: Path) -> None:
    asked: list[tuple[str, bool]] = []

    class Recorded:
        def to(self, device: torch.device, non_blocking: bool = False) -> "Recorded":
            asked.append((device.type, non_blocking))
            return self

    data = Folder(draw_folder(tmp_path / "own", ("key",)))
    batch: Any = Recorded()
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0) is batch
    assert asked == [("meta", True)]
