"""Checkpoints: when they are written, going on within an epoch, and the table of metrics."""

from pathlib import Path

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins.io import CheckpointIO

from adpt.backbones import build_backbone
from adpt.data.sampling import EpochSampler
from adpt.errors import UserError
from adpt.pretraining import Pretraining
from adpt.pretraining.metrics_log import MetricsLog
from adpt.pretraining.reference_pool import ReferencePool
from adpt.running.checkpoints import LastCheckpoint, WholeCheckpoints, find_checkpoint, steps_of
from adpt.train import train
from drawn import draw_folder
from runs import fitted, folder_data, pretraining, rows, run_task, state, training


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    """Four steps of 3 images an epoch."""
    return draw_folder(tmp_path / "own", ("key",))


class Saves(Callback):
    """Notes after which steps `last.ckpt` was written."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps = path, list[int]()

    def note(self) -> None:
        if self.path.exists() and steps_of(self.path) not in self.steps:
            self.steps.append(steps_of(self.path))

    def on_train_batch_start(self, *_: object) -> None:
        self.note()

    def on_train_end(self, *_: object) -> None:
        self.note()


def run(root: Path, folder: Path, module: Pretraining | None = None, **options) -> list[int]:
    saves = Saves(folder / "last.ckpt")
    minutes = options.pop("minutes", 15)
    every = options.pop("every_n_epochs", 1)
    fitted(
        folder_data(root, batch_size=3),
        module,
        enable_checkpointing=True,
        callbacks=[saves, LastCheckpoint(folder, every, minutes)],
        plugins=[WholeCheckpoints()],
        **options,
    )
    return saves.steps


def test_the_state_is_saved_when_an_epoch_ends_and_within_long_ones(
    key_root: Path, tmp_path: Path
) -> None:
    assert run(key_root, tmp_path / "1", max_epochs=3) == [4, 8, 12]
    assert run(key_root, tmp_path / "2", max_epochs=3, every_n_epochs=2) == [8, 12]
    assert run(key_root, tmp_path / "3", max_epochs=2, minutes=0) == [1, 2, 3, 4, 5, 6, 7, 8]
    # Not while gradients are still being gathered.
    gathering = {"max_epochs": 2, "minutes": 0, "accumulate_grad_batches": 2}
    assert run(key_root, tmp_path / "4", **gathering) == [1, 2, 3, 4]


@pytest.mark.parametrize(("pool_size", "steps"), [(4, [4]), (None, [1, 2, 3, 4])])
def test_a_backbone_that_learns_has_a_pool_of_its_epoch(
    key_root: Path, tmp_path: Path, pool_size: int | None, steps: list[int]
) -> None:
    module = pretraining(
        references=ReferencePool(pool_size=pool_size, shots=(1, 2)),
        backbone=build_backbone("resnet10t", levels=[1, 2], image_size=48, pretrained=False),
        train_backbone=True,
    )
    assert run(key_root, tmp_path / "run", module, minutes=0) == steps


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7])
def test_a_run_goes_on_from_every_step_to_the_same_result(
    key_root: Path, tmp_path: Path, step: int
) -> None:
    class Keep(CheckpointIO):
        """Keeps the checkpoint of one step alone."""

        def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
            if checkpoint["global_step"] == step:
                torch.save(checkpoint, tmp_path / "kept.ckpt")

        def load_checkpoint(self, path, map_location=None, weights_only=None):
            return torch.load(path, weights_only=True)

        def remove_checkpoint(self, path) -> None:
            raise AssertionError

    def learned(seed: int, ckpt_path: Path | None = None) -> dict[str, torch.Tensor]:
        module, _ = fitted(
            folder_data(key_root, batch_size=3),
            pretraining(seed, references=ReferencePool(pool_size=4, shots=(1, 2))),
            max_epochs=2,
            ckpt_path=ckpt_path,
            enable_checkpointing=True,
            callbacks=[LastCheckpoint(tmp_path, minutes=0)],
            plugins=[Keep()],
        )
        return state(module)

    whole = learned(0)
    resumed = learned(7, tmp_path / "kept.ckpt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_sampler_leaves_out_what_was_used_of_the_interrupted_epoch_alone() -> None:
    def epoch(number: int, *begun: int) -> list[tuple[int, int]]:
        sampler = EpochSampler(10, 4, rank=1, world_size=2)
        if begun:
            sampler.resume(*begun)
        sampler.set_epoch(number)
        return list(sampler)

    assert len(epoch(1)) == 5
    assert epoch(1, 1, 2) == epoch(1)[4:]
    assert epoch(1, 1, 3) == []
    assert epoch(2, 1, 2) == epoch(2)


# ---- Where to go on from --------------------------------------------------------------------


def test_a_checkpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    there = tmp_path / "last.ckpt"
    assert find_checkpoint("last", tmp_path) is None
    torch.save({"state_dict": {}, "loops": {}}, there)
    assert find_checkpoint(str(there), tmp_path / "other") == there
    assert find_checkpoint("last", tmp_path) == there
    assert find_checkpoint(None, tmp_path) is None
    with pytest.raises(UserError, match=r"ckpt_path=.*other\.ckpt: there is no such file"):
        find_checkpoint(str(tmp_path / "other.ckpt"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", {"weights": 1}])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "last.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match="no checkpoint"):
        find_checkpoint("last", tmp_path)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, witness = tmp_path / "last.ckpt", tmp_path / "witness"
    torch.save({"state_dict": {}, "loops": {}, "more": Harmful(witness)}, path)
    with pytest.raises(UserError, match=r"ckpt_path is no checkpoint: .*last\.ckpt is refused"):
        find_checkpoint("last", tmp_path)
    assert not witness.exists()


def test_a_training_goes_on_from_tensors_alone(
    key_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    load = torch.load

    def noting(*args: object, **options: object) -> object:
        asked.append(options.get("weights_only"))
        return load(*args, **options)

    words = ["data=folder", f"data.root={key_root}", "ckpt_path=last"]
    run_task(train, training(tmp_path / "run", *words))
    monkeypatch.setattr(torch, "load", noting)
    run_task(train, training(tmp_path / "run", *words, "trainer.max_epochs=2"))
    assert len(asked) >= 2  # We look at it, and Lightning reads it.
    assert set(asked) == {True}


# ---- The table of metrics -------------------------------------------------------------------


def test_metrics_make_a_row_a_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run")
    log.log_metrics({"loss": torch.tensor(0.5)}, 10)
    log.log_metrics({"loss": 1.0}, 0)
    log.log_metrics({"rate": 0.1}, 10)
    log.log_metrics({"rate": 0.2}, 10)
    log.finalize("success")
    assert rows(tmp_path / "run" / "metrics.csv") == [
        {"step": "0", "loss": "1.0", "rate": ""},
        {"step": "10", "loss": "0.5", "rate": "0.2"},
    ]


def test_a_resumed_run_takes_the_rows_up_to_its_checkpoint_over(tmp_path: Path) -> None:
    former = MetricsLog(tmp_path / "former")
    for step in range(6):
        former.log_metrics({"loss": step / 2}, step)
    former.save()
    last = tmp_path / "former" / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}, "loops": {}, "global_step": 2}, last)
    for folder, wanted in (("new", str(last)), ("former", "last")):
        log = MetricsLog(tmp_path / folder, wanted)
        log.log_metrics({"loss": 9.0}, 4)
        log.save()
        found = [row["loss"] for row in rows(tmp_path / folder / "metrics.csv")]
        assert found == ["0.0", "0.5", "1.0", "9.0"]
    # A run that goes on from nothing has a table of its own.
    afresh = MetricsLog(tmp_path / "former")
    afresh.log_metrics({"loss": 7.0}, 0)
    afresh.save()
    assert len(rows(tmp_path / "former" / "metrics.csv")) == 1
