"""Keys that nothing reads: one message before any work, wherever they come from."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from adpt.cli.check import check_options
from adpt.cli.keys import arguments, targets_in
from adpt.cli.origins import references, where
from adpt.errors import UserError
from drawn import draw_folder
from runs import CONF, composed, run_all

# ---- What is read: test_configs.py has all shipped files -----------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "train +hparams_search=held_out data.held_out=[a]",
        "train data=mixed +data@data.sets.visa=visa +data@data.sets.own=folder"
        " data.sets.own.root=/x",
        "train callbacks=downstream_check data@callbacks.downstream_check.data=visa",
        "train +trainer.fast_dev_run=true +trainer.val_check_interval=1 callbacks.progress=null",
        "train +backbone.mean=[0,0,0] logger=wandb model.norm_loss=null ~callbacks.throughput",
        "train +callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping"
        " +callbacks.early.monitor=loss/total",
        "evaluate cache=null +method.cflow.epochs=4 +method.cflow.pretrained.epochs=2",
        "evaluate +tag=a run_name=x_${tag} +roots.own=/data data=folder data.root=${roots.own}",
        "evaluate +chosen=visa title=${oc.select:chosen,none}",
        "evaluate +mine.method._target_=adpt.methods.PaDiM +method.mine=${mine.method}",
        "predict data.resize=256 method=padim +method.cflow.epochs=4",
    ],
)
def test_what_something_reads_is_accepted(line: str) -> None:
    primary, *words = line.split()
    check_options(composed(primary, *words), primary)


# ---- What nothing reads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate +shotts=4", r"shotts=4: nothing reads it; did you mean shots\?"),
        ("evaluate +shotts=null", r"shotts=null: nothing reads it; did you mean shots\?"),
        ("evaluate +cache.maxgb=3", r"cache\.maxgb=3: .*FeatureCache has .* cache\.max_gb\?"),
        ("evaluate +defects.draw.textur=a", r"defects\.draw\.textur=a: .* defects\.draw\.textures"),
        ("evaluate +defects.refreshh=1", r"defects\.refreshh=1: nothing .* defects\.refresh\?"),
        ("evaluate +data.imagesize=1", r"data\.imagesize=1: adpt\.data\.MVTec .* data\.image_size"),
        ("evaluate data=visa +data.splitt=1", r"data\.splitt=1: .* data\.split\?"),
        ("evaluate +backbone.levelz=1", r"backbone\.levelz=1: .* backbone\.levels\?"),
        ("evaluate +method.padim.k=1", r"method\.padim\.k=1: .* there are epsilon, image_size\."),
        ("evaluate +method.cflow.epoch=4", r"method\.cflow\.epoch=4: .* method\.cflow\.epochs\?"),
        ("evaluate +method.padimm.epsilon=1", r"method\.padimm: .* method\.padim\?"),
        (
            "evaluate method=glass +method.glass.pretrained.adapter=1",
            r"method\.glass\.pretrained\.adapter=1: .* method\.glass\.pretrained\.adaptor\?",
        ),
        ("evaluate +logger.wandb.x=1", r"logger\.wandb\.x=1: .*wandb_logger has no such option"),
        ("evaluate +coreset_ratio=1", r"coreset_ratio=1: .* method\.patchcore\.coreset_ratio\?"),
        ("evaluate +method.k=5", r"method\.k=5: nothing reads it; there are anomaly_dino, cflow"),
        ("evaluate +foo={}", r"foo: nothing reads it\."),
        ("evaluate +heat_maps=0", r"heat_maps=0: .* heatmaps\?"),
        (
            "train +trainer.max_epochss=1",
            r"trainer\.max_epochss=1: lightning\.Trainer .*max_epochs",
        ),
        ("train +trainer.plugins.0.x=1", r"trainer\.plugins\.0\.x=1: .*WholeCheckpoints has no"),
        ("train +callbacks.checkpoint.minute=1", r"callbacks\.checkpoint\.minute=1: .*\.minutes\?"),
        ("train +callbacks.progres.leave=1", r"callbacks\.progres: .* callbacks\.progress\?"),
        (
            "train callbacks.progress=false",
            r"callbacks\.progress=false: it is switched off by null",
        ),
        ("train +callback.progress=null", r"callback: nothing reads it; did you mean callbacks\?"),
        ("train +model.projector.heads=1", r"model\.projector\.heads=1: .*FeatureProjector has"),
        ("train +references.shot=1", r"references\.shot=1: .* references\.shots\?"),
        (
            "train callbacks=held_out_check"
            " +callbacks.held_out_check.methods.patchcore.coreset_ratio=1",
            r"callbacks\.held_out_check\.methods\.patchcore: no _target_ says",
        ),
        (
            "train data=mixed +data@data.sets.visa=visa +data.sets.visa.rooot=/x",
            r"data\.sets\.visa\.rooot=/x: .* data\.sets\.visa\.root\?",
        ),
        (
            "train data=mixed +data@data.sets.visa=visa +data.sets.own.root=/x",
            r"data\.sets\.own: no _target_ says",
        ),
        ("predict +data.image_sizes=1", r"data\.image_sizes=1: nothing reads it; .*image_size\?"),
        ("predict +inspektor=a", r"inspektor=a: nothing reads it; did you mean inspector\?"),
        ("doctor +publishd=false", r"publishd=false: .* published\?"),
        ("report +metrik=[a]", r"metrik=\[a\]: .* metrics\?"),
        ("publish projector=p results=r repo=a/b license=m +dryrun=1", r"dryrun=1: .* dry_run\?"),
        ("train backbone._target_=nowhere.Net", r"backbone: Error loading 'nowhere\.Net': .*PATH"),
    ],
)
def test_a_key_that_nothing_reads_is_named_with_the_nearest(line: str, said: str) -> None:
    primary, *words = line.split()
    with pytest.raises(UserError, match=said) as caught:
        check_options(composed(primary, *words), primary)
    assert len(str(caught.value).splitlines()) == 1


def test_all_of_them_are_in_one_message() -> None:
    words = ["+shotts=4", "+data.heat_maps=0", "+logger.wandb.x=1", "data.seed=nowhere"]
    with pytest.raises(UserError) as caught:
        check_options(composed("evaluate", *words), "evaluate")
    assert sorted(line.partition("=")[0] for line in str(caught.value).splitlines()) == [
        "data.heat_maps", "data.seed", "logger.wandb.x", "shotts",
    ]  # fmt: skip


# ---- From files of one's own --------------------------------------------------------------------

FILES = {
    "mine.py": """
        from adpt.data import Folder

        class Line3(Folder):
            pass

        class Line4(Folder):
            def __init__(self, line, **options):
                super().__init__(**options)
        """,
    "conf/experiment/wrong.yaml": """
        # @package _global_
        defaults:
          - override /data: line3
        shotts: 2
        callback:
          progress: null
        trainer:
          max_epochss: 3
        """,
    "conf/experiment/bare.yaml": "shots: 2",
    "conf/experiment/chosen.yaml": """
        # @package _global_
        data: visa
        """,
    "conf/data/line3.yaml": """
        defaults: [base, _self_]
        _target_: mine.Line3
        root: {root}
        heat_maps: 0
        """,
    "conf/data/line4.yaml": """
        defaults: [base, _self_]
        _target_: mine.Line4
        root: {root}
        line: 4
        """,
    "conf/augment/strong.yaml": "strength: 3",
    "conf/callbacks/bare.yaml": "_target_: adpt.pretraining.callbacks.ImagesPerSecond",
    "conf/backbone/bare.yaml": "name: efficientnet_lite0",
}

COMMANDS: dict[str, list[str]] = {
    "train --config-dir conf +experiment=wrong +augment=strong": [
        r"adpt: data\.heat_maps=0 \(conf/data/line3\.yaml\): mine\.Line3 has no such option",
        r"\ntrainer\.max_epochss=3 \(conf/experiment/wrong\.yaml\): .* trainer\.max_epochs\?",
        r"\nshotts=2 \(conf/experiment/wrong\.yaml\): nothing reads it; did you mean",
        r"\ncallback \(conf/experiment/wrong\.yaml\): .* callbacks\?",
        r"\naugment \(conf/augment/strong\.yaml\): .*@package _global_",
    ],
    "evaluate --config-dir conf data=line4 +shotts=4 +data.sizes=3": [
        # What a class of one's own hands on, it may take.
        r"adpt: shotts=4 \(command line\): nothing reads it; did you mean shots\?\n$",
    ],
    "evaluate --config-dir conf +experiment=bare": [
        r"experiment \(conf/experiment/bare\.yaml\): .*begins with '# @package _global_'",
    ],
    "evaluate --config-dir conf +experiment=chosen": [
        r"data=visa \(conf/experiment/chosen\.yaml\): a group takes .* 'override /data: visa'",
    ],
    "train --config-dir conf callbacks=bare data=folder": [
        r"callbacks\._target_=\S+ \(conf/callbacks/bare\.yaml\): .*@package callbacks\.<name>",
    ],
    "evaluate --config-dir conf backbone=bare data=folder": [
        r"backbone \(conf/backbone/bare\.yaml\): no _target_ says what is made of it",
    ],
    "evaluate -m data=folder +shotts=1,2 hydra.sweep.dir=sweep": [
        r"2 of the sweep's jobs failed:\n  0_x: shotts=1 \(command line\): .*\n  1_x: shotts=2",
    ],
    "report +metrik=a": [r"metrik=a \(command line\): nothing reads it; did you mean metrics\?"],
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("own")
    root = draw_folder(folder / "set", ("key",))
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        path.write_text("\n".join(line[indent:] for line in lines).replace("{root}", str(root)))
    commands = [line.split() for line in COMMANDS]
    for words in commands:
        if words[0] in ("train", "evaluate"):
            words.append("run_name=x")
    found = dict(zip(COMMANDS, run_all(commands, folder), strict=True))
    return {"found": found, "folder": folder}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_ends_with_one_message_before_any_work(line: str, outcomes) -> None:
    code, said = outcomes["found"][line]
    assert code == 1, said
    for expected in COMMANDS[line]:
        assert re.search(expected, said), said
    assert "Traceback" not in said
    made = chain(
        *(outcomes["folder"].rglob(f"*.{kind}") for kind in ("jsonl", "safetensors", "csv"))
    )
    assert not list(made)


# ---- Parts --------------------------------------------------------------------------------------


def test_a_class_takes_what_its_bases_take_where_it_hands_options_on() -> None:
    from adpt.data import VisA

    taken = arguments(VisA)
    assert taken is not None
    assert {"root", "split", "image_size", "num_workers"} <= taken.keys()
    assert taken["split"] is str
    assert taken["num_workers"] is int
    assert "self" not in taken
    assert arguments(lambda a, *b, c=1: None) == {"a": Any, "c": Any}
    assert arguments(lambda **anything: None) is None


def test_parts_are_found_by_their_names() -> None:
    assert targets_in(CONF, "method")["glass"] == "adpt.methods.Glass"
    callbacks = targets_in(CONF, "callbacks")
    assert callbacks["held_out_check"] == "adpt.pretraining.callbacks.DownstreamCheck"
    assert targets_in(CONF, "nowhere") == {}


def test_a_command_without_a_file_of_its_own_is_not_checked() -> None:
    check_options(OmegaConf.create({"shotts": 1}), "no_such_command")


@pytest.fixture(autouse=True)
def _hydra_as_before() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = None
    yield
    HydraConfig.instance().cfg = before


def test_what_refers_to_its_neighbours_reads_these() -> None:
    config = {"a": {"b": "${.c}", "d": {"e": "${..f}", "g": ["${oc.select:h.i,null}"]}}}
    assert [*references(config)] == [("a", "c"), ("a", "f"), ("h", "i")]


def test_of_several_places_that_give_a_key_the_last_is_named() -> None:
    files = [("base.yaml", (), {"a": {"b": 1}}), ("own.yaml", ("a",), {"b": 2}),
             ("command line", ("a", "c"), None)]  # fmt: skip
    assert where(("a", "b"), files) == " (own.yaml)"
    assert where(("a", "c"), files) == where(("a",), files) == " (command line)"
    assert where(("a", "b"), files[:1]) == " (base.yaml)"
