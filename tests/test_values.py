"""Values of a wrong kind: every command ends with one message that names the option."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from adpt.cli import command_line
from adpt.cli.check import check_options
from adpt.cli.command_line import check_words, hydras_words
from adpt.cli.entry import entry
from adpt.cli.options import Names
from adpt.cli.types import Text, fits
from adpt.cli.values import differing, names, shown
from adpt.errors import UserError
from adpt.results import append_records
from drawn import draw_folder
from recorded import a_record
from runs import CONF, TINY, TINY_EVALUATION, TINY_TRAINING, run_all

OWN = ["data=folder", "data.root={root}"]
BASE = {
    "train": [*TINY_TRAINING, *OWN],
    "evaluate": [*TINY_EVALUATION, *OWN, "method=feature_norm"],
    "predict": ["fit={root}/key/train/good", "inspector={root}/x.adpt", "device=cpu", *TINY[:3]],
    "report": [],
    "doctor": OWN,
    "publish": ["projector=p", "repo=a/b", "license=mit", "results=.", "dry_run=true"],
}

MISTAKES = {
    # What is of another type than the declaration or a signature says
    "train trainer.max_epochs=abc callbacks.checkpoint.minutes=x model.optimizer.lr=abc"
    " model.scheduler.milestones=ab references.pool_size=x seed=true": [
        r"adpt: seed=true \(command line\): a whole number of at least 0 and at most 4294967295 is"
        r" wanted, such as 0 \(the default\)\.\n",
        r"\ntrainer\.max_epochs=abc \(command line\): a whole number or null is wanted\.",
        r"callbacks\.checkpoint\.minutes=x \(.*\): a number is wanted\.",
        r"model\.optimizer\.lr=abc \(.*\): a number or .* is wanted\.",
        r"model\.scheduler\.milestones=ab \(.*\): a list of whole numbers is wanted\.",
        r"references\.pool_size=x \(.*\): a whole number or null is wanted\.",
    ],
    "train trainer.max_epochs=null": [r"trainer\.max_epochs=null: a number is wanted"],
    "train callbacks.learning_rate.logging_interval=day": [
        r"logging_interval=day \(.*\): one of step, epoch or null is wanted\."
    ],
    "evaluate shots=abc heatmaps=abc memory_gb=x few_shot=1": [
        r"shots=abc \(.*\): a whole number of at least 1 is wanted, such as 8 \(the default\)\.",
        r"heatmaps=abc \(.*\): a whole number of at least 0",
        r"memory_gb=x \(.*\): a number of at least 0",
        r"few_shot=1 \(.*\): true or false is wanted, such as false \(the default\)\.",
    ],
    "evaluate -m shots=x,y hydra.sweep.dir={out}/sweep": [
        r"2 of the sweep's jobs failed:\n  0_tiny: shots=x \(.*\): a whole .*\n  1_tiny: shots=y \("
    ],
    "predict quantile=abc shots=null": [
        r"shots=null \(.*\): a whole number of at least 1",
        r"quantile=abc \(.*\): a number above 0 and at most 1 or null is wanted\.",
    ],
    "doctor workers=x": [r"workers=x \(.*\): a whole number of at least 1 is wanted, such as 8 \("],
    # What the files leave open
    "train data.image_size=7": [r"data\.image_size=7 is too small: 16 pixels"],
    "train projector=[]": [r"projector=\[\] \(.*\): text or null is wanted\."],
    "train +model.optimizer.foo=1": [
        r"adpt: model\.optimizer\.foo=1 \(command line\): torch\.optim\.Adam has no such option"
    ],
    "train model.optimizer.lr=-1": [r"model\.optimizer: Invalid learning rate: -1"],
    "train model.scheduler.gamma=0.1 model.scheduler._target_=torch.optim.Foo": [
        r"model\.scheduler: Error loading 'torch\.optim\.Foo'"
    ],
    "evaluate features=3": [r"features=\['3'\]: choose some of own"],
    "evaluate tsne=bottle": [r"tsne=\['bottle'\]: bottle is no class in use; these are key"],
    "evaluate projector=[]": [r"projector=\[\] \(.*\): text or null is wanted\."],
    "evaluate aligned=x": [r"aligned=x \(.*\): a whole number of at least 1 or null is wanted"],
    "predict quantile=2": [r"quantile=2 \(.*\): a number above 0 and at most 1 or null is"],
    "report title=null": [r"title=null \(.*\): text is wanted, such as Own"],
    "report results=null": [r"results=null \(.*\): text is wanted, such as out"],
    "report results={out}/recorded methods=3": [r"methods=\[3\]: these results are of padim"],
    "doctor data.root=null": [r"data\.root=null \(.*\): text is wanted\."],
    "publish projector=null": [r"projector=null \(.*\): text is wanted\."],
    "publish repo=3": [r"repo=3 \(.*\): text is wanted; .*'repo=\"3\"'"],
    "publish license=1": [r"license=1 \(.*\): text is wanted"],
    # What is refused before a set is looked at, or a network built
    "evaluate method=patchcore method.patchcore.coreset_ratio=7 data.root=/nowhere": [
        r"adpt: method\.patchcore: coreset_ratio is 7: give a share above 0"
    ],
    "evaluate method=glass +method.glass.pretrained.epochs=0 features=own data.root=/nowhere": [
        r"adpt: method\.glass: epochs is 0"
    ],
    "evaluate method=[padim,cflow_quick] method.cflow.epochs=0 data.root=/nowhere": [
        r"adpt: method\.cflow: epochs is 0"
    ],
    "evaluate method=uniad method.uniad.num_heads=3 data.root=/nowhere": [r"adpt: method\.uniad: "],
    "train callbacks=downstream_check data.root=/nowhere"
    " callbacks.downstream_check.methods.patchcore.coreset_ratio=7": [
        r"adpt: methods\.patchcore of a check: coreset_ratio is 7"
    ],
    "train backbone=imagebind data.root=/nowhere": [r"adpt: imagebind needs its published weights"],
    "evaluate backbone=mobilenetv2 data.root=/nowhere": [r"adpt: mobilenetv2 takes TensorFlow's"],
    "evaluate backbone=timm backbone.name=resnt18 data.root=/nowhere": [
        r"adpt: backbone\.name=resnt18 is neither a preset nor a model of timm"
    ],
    "evaluate backbone=timm backbone.name=resnet18 backbone.weights=no.pth data.root=/nowhere": [
        r"adpt: backbone\.weights=no\.pth: no file is there"
    ],
    "train backbone=timm backbone.name=resnet18 backbone.weights={out}/page.pth"
    " data.root=/nowhere": [
        r"page\.pth cannot be read as tensors alone: it is neither a file that"
    ],
    "evaluate projector=no.safetensors data.root=/nowhere": [r"adpt: .*no\.safetensors"],
    "evaluate device=cuda:77 data.root=/nowhere": [
        r"adpt: device=cuda:77 cannot be used here: PyTorch finds no such device on this machine\."
    ],
    "predict device=toaster": [
        r"adpt: device=toaster cannot be used here: it is none of auto, cpu"
    ],
    "train trainer.accelerator=tpu": [r"adpt: trainer\.accelerator=tpu needs accelerator tpu, and"],
    "train trainer.accelerator=gqu": [r"adpt: trainer\.accelerator=gqu: choose one of auto, cpu"],
    # What Hydra would end in a trace
    "predict method=null": [r"method=null: a group takes a file of its own, here one of .*padim"],
    "train hydra.run.dir=/proc/nope": [r"hydra\.run\.dir=/proc/nope cannot be used: No such file"],
    "train -m hydra.sweep.dir=/proc/nope": [r"hydra\.sweep\.dir=/proc/nope cannot be used"],
}
"""A command's words, and all that it says."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("mistakes")
    root = draw_folder(folder / "own", ("key",))
    append_records(folder / "recorded" / "results.jsonl", [a_record()])
    (folder / "page.pth").write_text("<html>Not found</html>")
    commands = []
    for line in MISTAKES:
        module, *words = line.split()
        keys = {word.partition("=")[0] for word in words}
        base = [word for word in BASE[module] if word.partition("=")[0] not in keys]
        named = ["run_name=tiny"] if module in ("train", "evaluate") else []
        flags = [word for word in words if word == "-m"]
        rest = [word for word in words if word != "-m"]
        filled = [w.format(root=root, out=folder) for w in (*base, *named, *rest)]
        commands.append([module, *flags, *filled])
    return dict(zip(MISTAKES, run_all(commands, folder), strict=True))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_wrong_value_ends_with_one_message(
    line: str, outcomes: dict[str, tuple[int, str]]
) -> None:
    code, said = outcomes[line]
    assert code == 1
    for expected in MISTAKES[line]:
        assert re.search(expected, said), said
    assert "Traceback" not in said
    assert "-error.txt" not in said
    assert "Fitting" not in said


# ---- Against what is declared -------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., DictConfig]]:
    """Composes a config as in a Hydra run of its own."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def composed(primary: str, *words: str) -> DictConfig:
        config = compose(primary, list(words), return_hydra_config=True)
        config.hydra.mode, config.hydra.runtime.output_dir = "RUN", "x"
        HydraConfig.instance().set_config(config)
        return compose(primary, list(words))

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield composed


@pytest.mark.parametrize(
    "line",
    [
        "train trainer.max_epochs=2 trainer.limit_train_batches=null trainer.devices=[0,1]"
        " trainer.deterministic=warn references.pool_size=null references.memory_gb=0.5 seed=3"
        " model.optimizer.lr=1 model.norm_loss=null callbacks.progress=null run_name=3"
        " data=realiad data.resolution=raw data.image_size=[64,96] backbone.image_size=64"
        " backbone=timm backbone.name=resnet18 backbone.levels=[1,2]",
        "train +experiment=demo backbone.levels=2 trainer.devices=auto logger=wandb run_name=3"
        " data=mixed +data@data.sets.visa=visa data.sets.visa.train_fraction=1",
        "evaluate method=[padim,patchcore] method.patchcore.num_levels=2 cache=null aligned=4"
        " tsne=bottle features=own recorded=null seed=4 shots=${seed} heatmaps=${oc.env:NOWHERE}",
        "evaluate data=folder data.root=/x data.classes=3 tsne=[a,1] memory_gb=0 checks=0",
        "predict fit=x heatmap_size=null backbone_weights=w.safetensors data.resize=256",
    ],
)
def test_what_the_options_are_for_is_accepted(line: str, run: Callable[..., DictConfig]) -> None:
    primary, *words = line.split()
    check_options(run(primary, *words), primary)


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        (
            "train +experiment=demo_adpretrain data.batch_size=x data.seed=x trainer.max_epochs=[1]"
            " backbone.levels=a references.shots=[1,x] +model.projector.num_head=3",
            [
                "backbone.levels=a: a whole number, a list of whole numbers or null is wanted.",
                "data.batch_size=x: a whole number is wanted.",
                "data.seed=x: a whole number is wanted.",
                "model.projector.num_head=3: adpt.projector.FeatureProjector has no such option;"
                " did you mean model.projector.num_heads?",
                "references.shots=[1,x]: a list of whole numbers is wanted.",
                "trainer.max_epochs=[1]: a whole number or null is wanted.",
            ],
        ),
        (
            "evaluate shots=${title} method=[cflow_quick] method.cflow.epochs=x title=A"
            " seed=-1 tsne=[[a]] features=true protocol=clear defects.refresh=2 defects.draw=3",
            [
                "defects.draw=3: a group takes a file of its own: defects.draw=3 on the command"
                " line, or 'override /defects.draw: 3' in the defaults of a file.",
                "defects.refresh=2: a number of at least 0 and at most 1 is wanted, such as 0.1"
                " (the default).",
                "features=true: text, a list of names or null is wanted.",
                "method.cflow.epochs=x: a whole number is wanted.",
                "protocol=clear: one of clean, paper is wanted, such as clean (the default).",
                "seed=-1: a whole number of at least 0 and at most 4294967295 is wanted, such as 0"
                " (the default).",
                "shots=A: a whole number of at least 1 is wanted, such as 8 (the default).",
                "tsne=[[a]]: text, a list of names or null is wanted, such as [] (the default).",
            ],
        ),
        (
            "predict fit=good images=new drift.window=4 drift.above=0 drift.below=nan",
            [
                "drift.above=0: a number above 0 is wanted, such as 3.0 (the default).",
                "drift.below=nan: a number above 0 is wanted, such as 5.0 (the default).",
                "drift.window=4: a whole number of at least 5 is wanted, such as 30 (the default).",
            ],
        ),
        (
            "train seed=4294967296",
            [
                "seed=4294967296: a whole number of at least 0 and at most 4294967295 is wanted,"
                " such as 0 (the default).",
            ],
        ),
        (
            "doctor published=yes_please json=",
            [
                "json=: text or null is wanted.",
                "published=yes_please: true or false is wanted, such as true (the default).",
            ],
        ),
    ],
)
def test_a_value_of_another_type_is_refused(
    line: str, faults: list[str], run: Callable[..., DictConfig]
) -> None:
    primary, *words = line.split()
    with pytest.raises(UserError) as caught:
        check_options(run(primary, *words), primary)
    assert sorted(str(caught.value).replace(" (command line)", "").splitlines()) == faults


# ---- Words and names ----------------------------------------------------------------------------


def test_a_plugin_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"hparams_search=optuna needs .*'adpt\[search\]'"):
        check_words(["-m", "+hparams_search=optuna"])
    monkeypatch.setattr(command_line, "find_spec", lambda name: name)
    check_words(["-m", "+hparams_search=optuna", "hydra/launcher=submitit_slurm"])


def test_only_groups_must_not_be_null() -> None:
    check_words(["callbacks.progress=null", "projector=null", "data=mvtec", "--cfg", "job"])
    with pytest.raises(UserError, match=r"\+experiment=null: .* table1"):
        check_words(["+experiment=null"])


@pytest.mark.parametrize("word", ["", "=", "=null", "+=3", "~", "++=a", " =3", "@a=3", "/=3"])
def test_a_word_names_an_option(word: str) -> None:
    shown = re.escape(word) or "''"
    with pytest.raises(UserError, match=rf"^{shown} names no option: give"):
        check_words([word])
    check_words(["~projector", "-m", "--info=all", "+a=", "title="])


@pytest.mark.parametrize("word", ["method=1", "+logger=true", "metric=[aupimo,1]", "data=a,-.5e3"])
def test_a_group_is_set_to_no_number(word: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(word)}: a group takes a file of its own"):
        check_words([word])
    check_words(["metrics=1", "shots=1", "method=a1", "metric=[aupro_05,1x]", "cache=true"])


def test_metrics_are_chosen_by_name_where_they_are_a_group() -> None:
    for word in ("metrics=1", "metrics=[1]", "metrics=nan", "train_data=2"):
        with pytest.raises(UserError, match=rf"^{re.escape(word)}: a group takes .* one of \w"):
            hydras_words([word])
    assert hydras_words(["metrics=null", "metrics=mad", "train_data=visa", "metrics.mad=null"]) == [
        "metric=[]", "metric=mad", "data@train_data=visa", "metric.mad=null",
    ]  # fmt: skip


def test_one_name_is_a_list_of_one() -> None:
    assert names("bottle") == ["bottle"]
    assert names(OmegaConf.create(["a", 1])) == ["a", "1"]
    assert names(3) == ["3"]
    assert names(None) is None
    for wrong in ({"a": 1}, [["a"]], [None], True):
        assert not fits(wrong, Names | None)


def test_text_is_text() -> None:
    assert fits("x", Text)
    assert fits(None, Text | None)
    for wrong in ("", None, 1, [1], True):
        assert not fits(wrong, Text)


def test_values_are_shown_as_they_are_written() -> None:
    assert shown([None, True, 1.5, "a", [1]]) == "[null,true,1.5,a,[1]]"


# ---- Errors that are nobody's mistake -----------------------------------------------------------


@entry
def failing(config: DictConfig) -> None:
    raise ValueError("wrong\nand more") from KeyError("deep")


@pytest.fixture
def at(run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Puts a Hydra run into a folder."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def put(folder: Path) -> None:
        config = compose("doctor", return_hydra_config=True)
        config.hydra.mode, config.hydra.job.name = "RUN", "doctor"
        with open_dict(config):
            config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)

    return put


def test_any_other_error_ends_with_one_line_and_a_file(
    at: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at(tmp_path)
    with pytest.raises(SystemExit) as left:
        failing(OmegaConf.create())
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("\nadpt: KeyError: 'deep'\n")
    assert f"The trace lies in {tmp_path / 'doctor-error.txt'};" in said
    assert "Traceback" not in said
    trace = (tmp_path / "doctor-error.txt").read_text()
    assert trace.startswith("KeyError: 'deep'\n")
    assert "in failing" in trace
    assert "ValueError: wrong\nand more" in trace


def test_the_trace_is_shown_where_it_cannot_be_kept_or_is_asked_for(
    at: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="wrong"):
        failing(OmegaConf.create())
    at(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="wrong"):
        failing(OmegaConf.create())
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_told_by_kind_too_and_hashes_are_not_shown() -> None:
    before = {"a": 1.0, "b": (1, 2), "c": "x" * 64, "d": "x" * 64}
    now = {"a": 1, "b": [1, 2], "c": "y" * 64, "e": "x" * 64}
    assert differing(before, now) == [
        "a: 1.0 → 1", "c changed", "d: there → not there", "e: not there → there",
    ]  # fmt: skip
