"""What a cluster does to runs: jobs in a queue, queued again, and processes started by torchrun."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adpt.results import read_records
from drawn import draw_folder
from runs import TINY_EVALUATION, TINY_TRAINING, command

submitit = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None,
    reason="hydra-submitit-launcher is not installed (pip install 'adpt[slurm]')",
)
LAUNCHER = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
LONG = ["trainer.limit_train_batches=1.0", "model.optimizer.lr=0.01", "data.batch_size=3"]


@pytest.fixture
def chosen(tmp_path: Path) -> list[str]:
    return ["data=folder", f"data.root={draw_folder(tmp_path / 'own', ('key',))}", "run_name=tiny"]


def started(*words: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_same_projector(found: Path, expected: Path) -> None:
    first, second = (load_file(path / "projector.safetensors") for path in (found, expected))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- Jobs in a queue ------------------------------------------------------------------------


@submitit
def test_the_jobs_of_a_sweep_run_through_submitit(chosen: list[str], tmp_path: Path) -> None:
    done = command(
        "evaluate", "-m", *TINY_EVALUATION, *chosen, *LAUNCHER, "method=feature_norm",
        "heatmaps=0", "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = [tmp_path / "sweep" / name for name in ("0_tiny", "1_tiny")]
    assert [read_records(job)[0].seed for job in jobs] == [0, 1]
    # Each in a process of submitit's, which keeps what the job said.
    assert len(list((tmp_path / "sweep" / ".submitit").glob("*/*_log.out"))) == 2


@submitit
@pytest.mark.slow
def test_a_job_that_is_queued_again_goes_on_where_it_was(chosen: list[str], tmp_path: Path) -> None:
    words = [*TINY_TRAINING, *chosen, *LONG, "trainer.max_epochs=60", "ckpt_path=last"]
    whole = command("train", *words, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    sweep = started(
        "adpt.train", "-m", *words, *LAUNCHER, "seed=0", "hydra.sweep.dir=sweep", cwd=tmp_path
    )
    job = tmp_path / "sweep" / "0_tiny"
    wait_until((job / "checkpoints" / "last.ckpt").exists, sweep)
    (log,) = (tmp_path / "sweep" / ".submitit").glob("*/*_log.out")
    controller = log.parent.name
    (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(task), signal.SIGUSR2)  # As Slurm sends it before time is up.
    said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    assert "Caught signal SIGUSR2" in log.read_text() + log.with_suffix(".err").read_text()
    assert_same_projector(job, tmp_path / "whole")


# ---- Several processes ----------------------------------------------------------------------


@pytest.mark.slow
def test_torchrun_starts_the_processes_and_they_stop_and_go_on_together(
    chosen: list[str], tmp_path: Path
) -> None:
    words = ["-m", "adpt.train", *TINY_TRAINING, *chosen, *LONG, "data.batch_size=4"]
    words += ["strategy=ddp_cpu", "trainer.max_epochs=40", "ckpt_path=last", "data.num_workers=1"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", *words]
    whole = started(*torchrun, "hydra.run.dir=whole", cwd=tmp_path)
    said, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, said
    assert "Starting with 2 processes" in said
    stopped = started(*torchrun, "hydra.run.dir=stopped", cwd=tmp_path)
    folder = tmp_path / "stopped"
    wait_until((folder / "checkpoints" / "last.ckpt").exists, stopped)
    stopped.send_signal(signal.SIGTERM)
    said, _ = stopped.communicate(timeout=60)
    assert said.count("adpt: Stopped by SIGTERM. Go on with") == 2
    again = started(*torchrun, "hydra.run.dir=stopped", cwd=tmp_path)
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert_same_projector(folder, tmp_path / "whole")
