"""`trainer.precision=auto`: what it stands for, and that measuring leaves no trace."""

import json
import logging
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from safetensors import safe_open
from torch import Tensor, nn

from adpt.errors import UserError
from adpt.pretraining import trainer_precision
from adpt.pretraining.trainer_precision import chosen_precision, step_seconds, with_precision
from adpt.projector import FeatureProjector, ProjectorBlock, blocks
from adpt.train import train
from drawn import draw_folder
from runs import composed, pretraining, published_pretraining, run_task, training

SIZE = (48, 48)


class Counting(ProjectorBlock):
    """A block that keeps count, draws at random, uses references and not all that it may learn."""

    needs_references = True

    def __init__(self, channels: int, *_: int) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(channels, channels), nn.BatchNorm1d(channels)
        self.dropped = nn.Dropout(0.5)
        self.unused = nn.Parameter(torch.ones(1))

    def forward(self, tokens: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is not None
        assert references.shape[::2] == tokens.shape[::2]
        return self.dropped(self.linear(self.seen(tokens.mT).mT))


def asked(*overrides: str) -> DictConfig:
    return composed("train", "trainer=cpu", "trainer.precision=auto", *overrides).trainer


def finds(monkeypatch: pytest.MonkeyPatch, exact: float, short: float) -> list[tuple[int, int]]:
    """Let measurements find these seconds; the sizes of what they were to measure."""
    sizes = []

    def measured(_: object, size: tuple[int, int]) -> tuple[float, float]:
        sizes.append(tuple(size))
        return exact, short

    monkeypatch.setattr(trainer_precision, "step_seconds", measured)
    return sizes


def config_of(folder: Path) -> dict:
    with safe_open(folder / "projector.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])


@pytest.mark.parametrize(
    ("exact", "short", "chosen"),
    [(1.0, 0.5, "bf16-mixed"), (1.0, 0.95, "32-true"), (1.0, 3.0, "32-true")],
)
def test_the_quicker_one_is_chosen_and_said(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    exact: float,
    short: float,
    chosen: str,
) -> None:
    finds(monkeypatch, exact, short)
    with caplog.at_level(logging.INFO):
        assert chosen_precision(asked(), pretraining(), SIZE, None) == chosen
    (told,) = caplog.messages
    assert told.startswith(f"trainer.precision={chosen} was chosen by measurement")
    assert f"{exact:.3g} s in float32 and {short:.3g} s in bfloat16" in told


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", 32])
def test_what_is_said_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, precision: str | int
) -> None:
    monkeypatch.setattr(trainer_precision, "step_seconds", None)
    words = ("trainer=cpu", f"trainer.precision={precision}", "trainer.devices=2")
    config = composed("train", *words)
    assert with_precision(config, pretraining(), SIZE, None) is config
    assert config.trainer.precision == precision


def test_several_processes_are_told_to_choose() -> None:
    for words in ("trainer.devices=2", "trainer.num_nodes=2", "trainer.devices=[0,1]"):
        with pytest.raises(UserError, match=r"choose trainer\.precision=32-true or bf16-mixed"):
            chosen_precision(asked(words), pretraining(), SIZE, None)


def test_one_process_may_be_said_in_several_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, 1.0, 0.5)
    for words in ("trainer.devices=auto", "trainer.devices=[3]", "~trainer.devices"):
        trainer = asked(words, "~trainer.num_nodes")
        assert chosen_precision(trainer, pretraining(), SIZE, None) == "bf16-mixed"


def test_weights_that_are_rounded_by_themselves_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_precision, "step_seconds", None)
    assert chosen_precision(asked(), published_pretraining(), SIZE, None) == "32-true"


def test_a_gpu_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_precision, "step_seconds", None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for accelerator in ("gpu", "auto"):
        trainer = asked(f"trainer.accelerator={accelerator}")
        assert chosen_precision(trainer, pretraining(), SIZE, None) == "bf16-mixed"


@pytest.mark.parametrize(("accelerator", "there"), [("cpu", True), ("auto", False)])
def test_a_cpu_is_measured_beside_a_gpu_or_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, there: bool
) -> None:
    finds(monkeypatch, 0.5, 1.0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    trainer = asked(f"trainer.accelerator={accelerator}")
    assert chosen_precision(trainer, pretraining(), SIZE, None) == "32-true"


@pytest.mark.parametrize("train_backbone", [False, True])
def test_measuring_changes_nothing(monkeypatch: pytest.MonkeyPatch, train_backbone: bool) -> None:
    monkeypatch.setitem(blocks.BLOCKS, "counting", Counting)
    module = pretraining(
        projector=lambda channels, on_residuals: FeatureProjector(
            channels, block="counting", scale_by_references=True, on_residuals=on_residuals
        ),
        train_backbone=train_backbone,
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    drawn = torch.get_rng_state()
    seconds = step_seconds(module, SIZE)
    assert min(seconds) > 0
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [part.training for part in module.modules()] == modes
    assert all(one.grad is None for one in module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_turn_that_warms_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, takes = [0.0], iter([90.0, 1.0, 2.0, 4.0, 30.0, 6.0, 3.0, 60.0])

    def forward_and_backward(*_: object) -> None:
        clock[0] += next(takes)

    monkeypatch.setattr(trainer_precision, "_forward_and_backward", forward_and_backward)
    monkeypatch.setattr(trainer_precision.time, "perf_counter", lambda: clock[0])
    assert step_seconds(pretraining(), SIZE) == (3.0, 6.0)
    assert next(takes, None) is None


def test_both_precisions_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    types = []

    def noted(tokens: Tensor, *_: Tensor) -> Tensor:
        found = tokens @ tokens.mT @ tokens
        types.append(found.dtype)
        return (tokens + found) * parameter

    module = pretraining()
    parameter = next(module.projector.parameters()).sum() * 0
    for block in module.projector.blocks:
        monkeypatch.setattr(block, "forward", noted)
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: None)
    step_seconds(module, SIZE)
    assert set(types) == {torch.float32, torch.bfloat16}


def test_a_run_says_in_its_file_and_resumes_in_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = draw_folder(tmp_path / "own", ("key",))

    def run(folder: str, *words: str) -> dict:
        of_data = ("data=folder", f"data.root={root}", "data.image_size=[48,64]")
        config = training(tmp_path / folder, *of_data, *words)
        run_task(train, config)
        return config_of(tmp_path / folder)

    sizes = finds(monkeypatch, 1.0, 0.5)
    assert run("run", "trainer.precision=auto")["trainer"]["precision"] == "bf16-mixed"
    assert sizes == [(48, 64)]
    finds(monkeypatch, 0.5, 1.0)
    again = ("trainer.precision=auto", "trainer.max_epochs=2", "ckpt_path=last")
    assert run("run", *again)["trainer"]["precision"] == "bf16-mixed"
    assert run("other", "trainer.precision=auto")["trainer"]["precision"] == "32-true"
    whole = ("trainer.precision=bf16-mixed", "trainer.max_epochs=2")
    run("whole", *whole)
    with (
        safe_open(tmp_path / "run/projector.safetensors", "pt") as resumed,
        safe_open(tmp_path / "whole/projector.safetensors", "pt") as uninterrupted,
    ):
        for name in uninterrupted.keys():  # noqa: SIM118 - of a safetensors file.
            assert torch.equal(resumed.get_tensor(name), uninterrupted.get_tensor(name)), name


def test_a_trainer_of_ones_own_may_leave_the_precision_to_lightning(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "own", ("key",))
    words = ("data=folder", f"data.root={root}", "~trainer.precision")
    run_task(train, training(tmp_path / "run", *words))
    assert "precision" not in config_of(tmp_path / "run")["trainer"]


def test_what_takes_no_bfloat16_is_trained_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exact_alone(tokens: Tensor, *_: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise NotImplementedError("own kernel: no bfloat16")
        return tokens * parameter

    module = pretraining()
    parameter = next(module.projector.parameters()).sum()
    for block in module.projector.blocks:
        monkeypatch.setattr(block, "forward", exact_alone)
    assert chosen_precision(asked(), module, SIZE, None) == "32-true"
    assert caplog.messages[-1].endswith("cannot be measured: own kernel: no bfloat16")
    assert module.projector.training


def test_the_config_that_was_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, 1.0, 0.5)
    config = composed("train", "trainer=cpu", "trainer.precision=auto")
    settled = with_precision(config, pretraining(), SIZE, None)
    assert (config.trainer.precision, settled.trainer.precision) == ("auto", "bf16-mixed")
