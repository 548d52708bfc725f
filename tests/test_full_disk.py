"""A full disk: what is to be written names itself, and what was there before is intact.

No disk is filled: the process may not write files beyond a size, which fails in the same places.
"""

import logging
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

import adpt
from adpt.errors import UserError
from adpt.evaluation import FeatureCache, encode_class, features_of
from adpt.results import Record, append_records, read_records
from adpt.running.checkpoints import LastCheckpoint, WholeCheckpoints
from adpt.running.whole_files import replacing
from adpt.weights import save_projector
from attempts import attempt
from drawn import draw_folder
from runs import fitted, folder_data, pretraining
from small import SmallBackbone

SMALL = 3000


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond `SMALL` bytes for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", ("key",))


def record(seed: int) -> Record:
    return Record(
        dataset="folder",
        class_name="key",
        method="padim",
        features="own",
        backbone="efficientnet_lite0",
        metrics={"image_auroc": 0.5},
        protocol="clean",
        seed=seed,
    )


def a_projector(path: Path, images: Path) -> None:
    save_projector(pretraining().projector, path)


def a_checkpoint(path: Path, images: Path) -> None:
    fitted(
        folder_data(images),
        callbacks=[LastCheckpoint(path.parent)],
        enable_checkpointing=True,
        plugins=[WholeCheckpoints()],
    )


def a_model(path: Path, images: Path) -> None:
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    normal = images / "key" / "train" / "good"
    adpt.Inspector.fit(normal, image_size=48, backbone=backbone, device="cpu").save(path)


def many_records(path: Path, images: Path) -> None:
    append_records(path, [record(seed) for seed in range(20)])


WRITERS = {
    "projector.safetensors": a_projector,
    "last.ckpt": a_checkpoint,
    "model.safetensors": a_model,
    "results.jsonl": many_records,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_file_is_named_and_the_former_one_intact(
    name: str, images: Path, tmp_path: Path
) -> None:
    write: Callable[[Path, Path], None] = WRITERS[name]
    path = tmp_path / "out" / name
    write(path, images)
    before = path.read_bytes()
    with full_disk(), pytest.raises(UserError) as told:
        write(path, images)
    message = str(told.value)
    assert message.startswith(f"Cannot write {path}: ")
    assert "File too large" in message
    assert "\n" not in message
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_records_fit_again_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [record(0)])
    with full_disk(), pytest.raises(UserError):
        append_records(path, [record(seed) for seed in range(1, 20)])
    append_records(path, [record(1)])
    assert [found.seed for found in read_records(path)] == [0, 1]


@pytest.mark.parametrize("full", ["own", "residual"])
def test_features_that_cannot_be_cached_are_held_in_memory(
    full: str, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    data, backbone = folder_data(images), SmallBackbone()
    data.setup()
    cache = FeatureCache(tmp_path / "cache")

    def converted(kept: FeatureCache | None, full: str | None) -> list[torch.Tensor]:
        with full_disk() if full == "own" else nullcontext():
            found = encode_class(
                data, "key", backbone, shots=2, seed=0, device=torch.device("cpu"), cache=kept
            )
        # References are known by content, not by place, in memory too.
        assert (str(images) in found.references.name) == (kept is None)
        with full_disk() if full == "residual" else nullcontext():
            train, test = features_of(found, "residual", None, 6, kept)
        return [*train.levels, *test.levels]

    expected, found = converted(None, None), converted(cache, full)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert f"Cannot write to the cache {cache.folder}" in caplog.text
    assert "held in memory" in caplog.text
    assert not list(cache.folder.rglob("*.part"))


def test_what_a_killed_process_left_in_the_cache_makes_room(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, max_gb=1e-5)
    left = tmp_path / "space" / "00" / ".0.features.abc.part"
    with replacing(left) as temporary:
        temporary.write_bytes(b"0" * 9000)
    assert cache.make_room(5000)
    assert not left.exists()


def test_a_table_on_a_full_disk_ends_at_once_and_goes_on_later(tmp_path: Path) -> None:
    images = draw_folder(tmp_path / "own", ("key", "lid", "nut"))
    run = tmp_path / "run"
    table = ["data=folder", f"data.root={images}", "features=[own]"]
    table += ["method=[feature_norm,padim]", "cache=null"]
    assert attempt("evaluate", run, [*table, "data.classes=[key]"]).code == 0
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    ended = attempt("evaluate", run, table, None, signal.SIGKILL, SMALL)
    assert ended.code == 1
    assert "Traceback" not in ended.output
    assert ended.output.count("Cannot write") == 1
    assert f"adpt: Cannot write {run / 'details'}" in ended.output
    assert f"Go on with the same command and hydra.run.dir={run}" in ended.output
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert attempt("evaluate", run, table).code == 0
    assert len(read_records(run)) == 6


def test_a_run_on_a_full_disk_ends_with_one_message(images: Path, tmp_path: Path) -> None:
    chosen = ["data=folder", f"data.root={images}", "ckpt_path=last"]
    assert attempt("train", tmp_path / "run", chosen).code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    longer = [*chosen, "trainer.max_epochs=2"]
    ended = attempt("train", tmp_path / "run", longer, None, signal.SIGKILL, 20_000)
    assert ended.code == 1
    projector = tmp_path / "run" / "projector.safetensors"
    assert f"adpt: Cannot write {projector}: " in ended.output
    assert "Traceback" not in ended.output
    after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    before.pop(tmp_path / "run" / "metrics.csv")
    after.pop(tmp_path / "run" / "metrics.csv")  # Small enough: it has the steps that were taken.
    assert after == before
    assert attempt("train", tmp_path / "run", longer).code == 0
