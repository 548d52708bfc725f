"""The commands as a user types them, in processes of their own."""

import json
import re
import sys
from pathlib import Path
from subprocess import run
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from adpt.cli import entry
from adpt.weights import load_projector, projector_metadata
from drawn import draw_folder
from runs import TINY, TINY_TRAINING, command, rows


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "own", ("key",))


def own(root: Path) -> list[str]:
    return ["data=folder", f"data.root={root}"]


SMALL = "backbone=efficientnet_lite0"


# ---- Mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("train", ["colour=blue"], r"adpt: colour=blue: there is no option colour\."),
        (
            "predict",
            ["backbone=embedded"],
            r"adpt: backbone=embedded: .* no more",
        ),
        (
            "train",
            ["-m", "backbone=clip_l,embedded"],
            r"adpt: backbone=clip_l,embedded: .* no more",
        ),
        ("train", ["backbone=clip_xl"], r"adpt: backbone=clip_xl: .* did you mean clip_l\?"),
        ("train", ["data=folder", "data.root=nowhere"], r"adpt: There is no folder nowhere\."),
        (
            "train",
            ["data=folder", "data.root={root}", SMALL, "~trainer.accelerator"],
            r"adpt: ~trainer\.accelerator takes out what this command needs",
        ),
        ("train", ["~callbacks"], r"adpt: ~callbacks takes out what this command needs"),
        ("evaluate", ["data=folder", "data.root={root}", "data.classes=[kay]"], "known are key"),
        (
            "evaluate",
            ["data=folder", "data.root={root}", SMALL, "projector=none.safetensors"],
            r"adpt: There is no projector file .*none\.safetensors",
        ),
        (
            "train",
            ["-m", "strategy=ddp", "backbone=efficientnet_lite0,clip_l"],
            r"adpt: A multirun with strategy=ddp .* Use strategy=ddp_spawn",
        ),
        pytest.param(
            "train",
            ["data=folder", "data.root={root}", SMALL],
            r"Add trainer=cpu\.",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ("evaluate", ["data=folder", "data.root={root}", "data.speed=9"], r"adpt: data\.speed=9: "),
    ],
)
def test_a_mistake_ends_with_one_clear_message(
    module: str, arguments: list[str], said: str, root: Path, tmp_path: Path
) -> None:
    done = command(module, *(word.format(root=root) for word in arguments), cwd=tmp_path)
    assert done.returncode != 0
    assert len(re.findall(said, done.stderr)) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "InstantiationException" not in done.stderr


# ---- Help -----------------------------------------------------------------------------------


MODULES = ("train", "evaluate", "predict", "report", "doctor", "publish")
HELP = [(module, option) for module in MODULES for option in ("--help", "--cfg=job")]
SCRIPT = """
import contextlib, importlib, io, json, sys
for module, option in json.loads(sys.argv[1]):
    sys.argv = [module, *option.split("=")]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            importlib.import_module(f"adpt.{module}").main()
        except SystemExit as left:
            assert not left.code, left.code
    print(json.dumps([said.getvalue(), "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """What each command says, and whether PyTorch was there then: all of them in one process."""
    folder = tmp_path_factory.mktemp("helped")
    words = [sys.executable, "-c", SCRIPT, json.dumps(HELP)]
    done = run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return dict(zip(HELP, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("data.folder.root", "~data/folder"),
        ("data.folders", None),
        ("logger", "~logger=csv"),
        ("logger.tags", "~logger=csv"),
        ("trainer.accelerator", "~trainer.accelerator=cpu"),
        ("trainer", None),
    ],
)
def test_the_word_that_takes_a_key_out_is_named(
    key: str, word: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["trainer=cpu", "+logger.tags=[a]", "~log", "~data/folder", "~logger=csv",
             "~trainer.accelerator=cpu"]  # fmt: skip
    overrides = SimpleNamespace(overrides=SimpleNamespace(task=words))
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: overrides)
    assert entry._taken_out(key) == word


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("option", ["--help", "--cfg=job"])
def test_help_and_config_come_without_importing_torch(module: str, option: str, helped) -> None:
    said, with_torch = helped[module, option]
    assert not with_torch
    expected = {"--help": "Configuration groups", "--cfg=job": "hydra:runtime"}[option]
    assert said
    assert expected in said or module not in ("train", "evaluate", "predict")


# ---- Programs -------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "found"), [([], True), (["-P"], False)])
def test_programs_find_modules_in_the_current_folder(
    flags: list[str], found: bool, tmp_path: Path
) -> None:
    # As those that pip writes, in a folder of their own; `-P` asks Python to be safe.
    program = tmp_path / "bin" / "adpt-all"
    program.parent.mkdir()
    program.write_text(
        f"import importlib.util, sys\nfor module in {MODULES}:\n"
        "    before = list(sys.path)\n"
        "    sys.argv = [module, '--cfg=job']\n"
        "    importlib.import_module(f'adpt.{module}').main()\n"
        "    spec = importlib.util.find_spec('mine')\n"
        "    print('\\nMINE', module, spec and spec.origin)\n"
        "    sys.path[:] = before\n"
    )
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.py").touch()
    words = [sys.executable, *flags, str(program)]
    done = run(words, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for module in MODULES:
        assert f"\nMINE {module} {here / 'mine.py' if found else None}\n" in done.stdout


# ---- Runs -----------------------------------------------------------------------------------


def test_a_sweep_makes_a_folder_for_each_job(root: Path, tmp_path: Path) -> None:
    tiny = [word for word in TINY_TRAINING if not word.startswith("backbone")]
    # Nobody is logged in to W&B: both jobs go on offline, each as a run of its own.
    done = command(
        "train", "-m", *tiny, *own(root), SMALL, "backbone.levels=[2,3],[3]",
        "logger=wandb", cwd=tmp_path, HOME=str(tmp_path / "home"), NETRC=None,
        WANDB_API_KEY=None, WANDB_MODE=None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    runs = list(tmp_path.glob("outputs/sweep/*/*/wandb/offline-run-*"))
    named = ["0_efficientnet_lite0", "1_efficientnet_lite0"]
    assert sorted(path.parents[1].name for path in runs) == named
    found = tmp_path.glob("outputs/sweep/*/*/projector.safetensors")
    folders = sorted(path.parent for path in found)
    assert [folder.name for folder in folders] == named
    assert folders[0].parent == folders[1].parent
    channels = [load_projector(folder / "projector.safetensors").channels for folder in folders]
    assert channels == [(40, 112), (112,)]
    assert all((folder / "metrics.csv").is_file() for folder in folders)


@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        ([], True),
        (["callbacks.progress=null"], False),
        (["trainer.enable_progress_bar=false"], False),
    ],
)
def test_only_the_callback_draws_a_bar(
    words: list[str], drawn: bool, root: Path, tmp_path: Path
) -> None:
    off = ("trainer.enable_progress_bar", "callbacks.progress")
    tiny = [word for word in TINY_TRAINING if not word.startswith(off)]
    done = command("train", *tiny, *own(root), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("Epoch 0" in done.stdout + done.stderr) == drawn


@pytest.mark.slow
def test_a_run_on_two_processes_is_the_run_on_one(root: Path, tmp_path: Path) -> None:
    learned = []
    for processes in ("single", "ddp_cpu"):
        done = command(
            "train",
            *TINY_TRAINING,
            *own(root),
            f"strategy={processes}",
            # Adam divides by a gradient's size, so rounding would show where it should be 0.
            "model.optimizer._target_=torch.optim.SGD",
            "model.optimizer.lr=0.01",
            f"output_dir={tmp_path / processes}",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        path = tmp_path / processes / "projector.safetensors"
        learned.append(load_projector(path).state_dict())
        assert len([r for r in rows(path.parent / "metrics.csv") if r["loss/total"]]) == 2
    assert '"devices": 2' in projector_metadata(path)["config"]
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_sweep_of_spawned_processes(root: Path, tmp_path: Path) -> None:
    done = command(
        "train", "-m", *TINY_TRAINING, *own(root), "strategy=ddp_spawn", "trainer.devices=2",
        "seed=0,1", cwd=tmp_path, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/sweep/*/*/projector.safetensors"))) == 2


def test_an_evaluation_from_the_command_line(root: Path, tmp_path: Path) -> None:
    done = command(
        "evaluate", *TINY, *own(root), "shots=2", "heatmaps=1", "method=[feature_norm]",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "evaluate" / "folder_efficientnet_lite0").iterdir()
    found = {path.name for path in folder.iterdir()}
    assert {"results.jsonl", "results.csv", "heatmaps", "report.html"} <= found
    assert "image AUROC" in done.stdout
    assert done.stderr.count("Traceback") == 0
