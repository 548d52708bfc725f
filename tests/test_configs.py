"""Every YAML under conf/ is composed, and instantiated as far as this machine allows."""

import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, ListConfig, OmegaConf

from adpt.cli.check import check_options
from adpt.cli.entry import instantiate_all
from adpt.evaluation.specs import method_specs
from adpt.methods import Method
from adpt.pretraining import Pretraining
from adpt.pretraining.callbacks import DownstreamCheck
from adpt.pretraining.metrics_log import MetricsLog
from adpt.pretraining.reference_pool import ReferencePool
from drawn import draw_mvtec
from runs import CONF, TINY_TRAINING, composed
from small import SmallBackbone

FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))
PRIMARY = [name.removesuffix(".yaml") for name in FILES if "/" not in name]
# What other files of the group build upon; alone they name nothing to build.
BASES = {"data/base.yaml", "model/base.yaml", "trainer/base.yaml"}
# Read where `protocol=paper` is asked for, and no choice of a group; its lines are held against the
# options in downstream/test_protocol.py.
PROTOCOLS = {"protocols/paper.yaml"}
# Values that a file leaves to the user.
LEFT_TO_USER = {"backbone/timm.yaml": ["backbone.name=resnet10t"]}
# What a command needs besides.
NEEDED = {"publish": ["projector=p", "results=r", "repo=a/b", "license=mit"]}
# Arguments that come from elsewhere than the config: from the entries, or from what is built.
GIVEN = {
    "adpt.pretraining.Pretraining": {"backbone", "references"},
    "adpt.pretraining.closed_form.ClosedForm": {"backbone", "references"},
    "lightning.Trainer": {"logger", "callbacks"},
}


def groups(primary: str) -> list[str]:
    """The config groups that a primary config's defaults name."""
    content = OmegaConf.load(CONF / f"{primary}.yaml")
    entries = content.get("defaults", ListConfig([]))
    names = [str(next(iter(entry))) for entry in entries if OmegaConf.is_dict(entry)]
    return [name for name in names if not name.startswith("override ")]


def experiment_name(file: str) -> str:
    """What `+experiment=` is given: the file below experiment/, folders included."""
    return file.removeprefix("experiment/").removesuffix(".yaml")


@cache
def experiment_command(name: str) -> list[str]:
    """The words of the command in an experiment's header."""
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    commands = re.findall(r"^#\s+(python -m adpt\..*)$", text, re.MULTILINE)
    assert len(commands) == 1, f"conf/experiment/{name}.yaml: a header with one command"
    return shlex.split(commands[0])


def choices() -> Iterator[tuple[str, str]]:
    """(file, primary config it belongs to) for every file that can be chosen."""
    for primary in PRIMARY:
        yield f"{primary}.yaml", primary
        for group in groups(primary):
            for file in FILES:
                if file.startswith(f"{group}/") and file not in BASES:
                    yield file, primary
    for file in FILES:
        if file.startswith("experiment/"):
            module = experiment_command(experiment_name(file))[2]
            yield file, module.removeprefix("adpt.")
        if file.startswith("hparams_search/"):
            yield file, "train"


CHOICES = sorted(set(choices()))


def words_of(file: str) -> list[str]:
    """The words that choose a file."""
    group, _, name = file.removesuffix(".yaml").rpartition("/")
    if file == "hparams_search/optuna.yaml":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    if file.startswith("experiment/"):
        return [f"+experiment={experiment_name(file)}"]
    added = "+" if group == "hparams_search" else ""
    return [*([f"{added}{group}={name}"] if group else []), *LEFT_TO_USER.get(file, [])]


@pytest.fixture(scope="module", params=CHOICES, ids="-".join)
def choice(request: pytest.FixtureRequest) -> tuple[str, str, DictConfig]:
    """A choice, and what it composes to; tests read it alone."""
    file, primary = request.param
    config = composed(primary, *words_of(file))
    OmegaConf.set_struct(config, False)
    OmegaConf.set_readonly(config, True)
    return file, primary, config


def targets(node: Any, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every part of a config that names something to build, with its place."""
    if OmegaConf.is_dict(node):
        if "_target_" in node:
            yield path, node
        for key, value in node.items_ex(resolve=False):
            if OmegaConf.is_config(value):
                yield from targets(value, f"{path}.{key}".lstrip("."))


def accepted(target: Any) -> tuple[set[str], set[str]]:
    """All arguments that a target takes, with those behind **options; and which it needs itself."""
    takes: set[str] = set()
    needs: set[str] = set()
    classes = (
        [c for c in target.__mro__ if "__init__" in vars(c)] if inspect.isclass(target) else []
    )
    functions = [c.__init__ for c in classes] or [target]
    for function in functions:
        # Lightning's Trainer hides its signature behind a wrapper that keeps __wrapped__.
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        takes |= {p.name for p in named} - {"self"}
        if function is functions[0]:
            needs = {p.name for p in named if p.default is p.empty} - {"self"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return takes, needs


# ---- Composing ------------------------------------------------------------------------------


def test_every_file_is_one_of_the_choices() -> None:
    """A file in a folder that no primary config uses would be dead, or untested."""
    assert {file for file, _ in CHOICES} | BASES | PROTOCOLS == set(FILES)


def test_file_composes_and_every_reference_in_it_resolves(
    choice: tuple[str, str, DictConfig],
) -> None:
    file, primary, config = choice
    given = ("output_dir", "run_name", "title", "output")
    overrides = [
        f"{key}=somewhere"
        for key in config
        if key in given or OmegaConf.is_missing(config, str(key))
    ]
    config = composed(primary, *words_of(file), *overrides)
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert "defaults" not in str(resolved.keys())


def test_every_key_is_an_argument_of_what_it_configures(
    choice: tuple[str, str, DictConfig],
) -> None:
    file, _, config = choice
    for place, node in targets(config):
        target = get_object(node._target_)
        takes, needs = accepted(target)
        keys = {str(key) for key in node if not str(key).startswith("_")}
        if place.startswith("method."):
            # What replaces the method's options on pretrained features; see `method_specs`.
            keys = keys - {"pretrained"} | set(node.get("pretrained", {}))
        assert keys <= takes, f"{file}: {place} has {keys - takes}, which {node._target_} lacks"
        if not node.get("_partial_", False):
            given = GIVEN.get(node._target_, set())
            assert needs <= keys | given, f"{file}: {place} lacks {needs - keys - given}"


def test_every_key_is_read(choice: tuple[str, str, DictConfig]) -> None:
    file, primary, _ = choice
    check_options(composed(primary, *words_of(file), *NEEDED.get(primary, [])), primary)


@pytest.mark.parametrize("word", ["model=base", "trainer=base"])
def test_every_key_of_what_others_build_upon_is_read(word: str) -> None:
    check_options(composed("train", word), "train")


def test_the_check_of_keys_finds_a_wrong_and_a_missing_one() -> None:
    takes, needs = accepted(get_object("adpt.data.RealIAD"))
    assert {"root", "resolution", "batch_size", "on_bad_image"} <= takes
    assert "colour" not in takes
    assert needs == {"root"}


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_primary_config_has_its_entry(primary: str) -> None:
    module = importlib.import_module(f"adpt.{primary}")
    assert callable(module.main)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("experiment/")])
def test_the_header_of_an_experiment_gives_the_command_that_runs_it(file: str) -> None:
    name = experiment_name(file)
    words = experiment_command(name)
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2]) is not None
    assert f"+experiment={name}" in words[3:]
    # With all its words, whatever else it says; a sweep is asked for by -m, and else not.
    sweeps = OmegaConf.select(OmegaConf.load(CONF / file), "hydra.sweeper.params") is not None
    assert ("-m" in words[3:]) == sweeps
    composed(words[2].removeprefix("adpt."), *(word for word in words[3:] if word != "-m"))


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.startswith("experiment/ablation/")]
)
def test_an_ablation_changes_what_it_says_and_leaves_the_rest_to_the_user(file: str) -> None:
    chosen = ["backbone=dinov2_b", "data=visa", "output_dir=x"]
    plain = OmegaConf.to_container(composed("train", *chosen))
    name = experiment_name(file)
    changed = OmegaConf.to_container(composed("train", *chosen, f"+experiment={name}"))
    assert {key for key in plain if plain[key] != changed[key]} <= {"model", "run_name"}
    params = OmegaConf.select(OmegaConf.load(CONF / file), "hydra.sweeper.params") or {}
    assert (plain["model"] != changed["model"]) == (not params)
    for key, values in params.items():
        default = str(OmegaConf.select(composed("train"), key))
        assert default in values.split(","), "the published value is among those that are compared"
        for value in values.split(","):
            run = composed("train", *chosen, f"+experiment={name}", f"{key}={value}")
            assert str(OmegaConf.select(run, key)) == value
            assert f"{{{key}}}" in OmegaConf.to_container(run, resolve=False)["run_name"]


def test_an_ablation_joins_another_experiment() -> None:
    config = composed("train", "+experiment=[dinov2_b,ablation/no_residual]")
    assert config.backbone.name == "dinov2_b"
    assert "wandb" in config.logger
    assert not config.model.residual


def test_published_experiments_use_the_published_settings() -> None:
    for name in ("dinov2_b", "dinov2_l", "clip_b", "clip_l", "imagebind"):
        config = composed("train", f"+experiment={name}")
        assert config.backbone.name == name
        assert config.data._target_ == "adpt.data.RealIAD"
        assert (config.data.image_size, config.data.batch_size) == (224, 32)
        assert (config.trainer.max_epochs, config.trainer.precision) == (10, "bf16-mixed")
        assert (config.model.optimizer.lr, config.model.optimizer.weight_decay) == (1e-4, 5e-4)
        assert list(config.model.scheduler.milestones) == [7, 9]
        assert config.model.scheduler.gamma == 0.1
        assert list(config.references.shots) == [1, 4, 8]
        assert config.model.angle_loss.temperature == 0.15
        assert (config.model.norm_loss.radius, config.model.norm_loss.margin) == (0.4, 0.75)
        assert config.model.projector.num_references == 2048
        assert config.model.projector.num_heads == 16
        assert not config.model.scale_levels
        assert config.model.projector.block == "attention"
        assert config.model.residual
        assert not config.model.train_backbone
        assert (config.data.train_fraction, config.data.noise_ratio) == (1, 0)


def test_the_published_numbers_stand_in_one_file_that_the_backbones_name() -> None:
    stated = OmegaConf.load(CONF / "experiment" / "pretrain.yaml")
    assert stated.trainer.max_epochs == 10
    assert stated.model.optimizer.lr == 1e-4
    assert stated.data.batch_size == 32
    assert stated.model.angle_loss.temperature == 0.15
    assert (stated.model.norm_loss.radius, stated.model.norm_loss.margin) == (0.4, 0.75)
    assert list(stated.references.shots) == [1, 4, 8]
    for name in ("dinov2_b", "dinov2_l", "clip_b", "clip_l", "imagebind"):
        own = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
        assert own == {"defaults": ["pretrain", {"override /backbone": name}]}
        composed_alone = OmegaConf.to_container(composed("train", f"+experiment={name}"))
        words = ["+experiment=pretrain", f"backbone={name}"]
        assert OmegaConf.to_container(composed("train", *words)) == composed_alone


# ---- Building -------------------------------------------------------------------------------


def names(group: str) -> list[str]:
    files = [file for file in FILES if file.startswith(f"{group}/") and file not in BASES]
    return [Path(file).stem for file in files]


@pytest.fixture
def tiny(tmp_path: Path):
    """The training config at tiny size, with one choice more."""

    def compose(*overrides: str) -> DictConfig:
        named = [f"output_dir={tmp_path}", "run_name=tiny"]
        return composed("train", *TINY_TRAINING, *named, *overrides)

    return compose


def test_model_in_closed_form_is_built_with_nothing_to_descend(tmp_path: Path) -> None:
    words = [word for word in TINY_TRAINING if not word.startswith("model.")]
    config = composed("train", *words, "model=closed_form", f"output_dir={tmp_path}")
    backbone = SmallBackbone()
    references = instantiate(config.references)
    module = instantiate(config.model, backbone=backbone, references=references)
    assert isinstance(module, Pretraining)
    assert module.backbone is backbone
    assert module.references is references
    assert module.configure_optimizers() == []


@pytest.mark.parametrize("name", sorted(set(names("model")) - {"base", "closed_form"}))
def test_model_and_references_are_built(tiny, name: str) -> None:
    config = tiny(f"model={name}", "data=folder")
    references = instantiate(config.references)
    assert isinstance(references, ReferencePool)
    backbone = SmallBackbone()
    module = instantiate(config.model, backbone=backbone, references=references)
    assert isinstance(module, Pretraining)
    assert module.backbone is backbone
    assert module.references is references
    optimizers = module.configure_optimizers()
    assert optimizers["optimizer"].param_groups[0]["lr"] == config.model.optimizer.lr
    assert len(optimizers["optimizer"].param_groups[0]["params"]) == len(
        list(module.projector.parameters())
    )
    assert optimizers["lr_scheduler"]["scheduler"].optimizer is optimizers["optimizer"]


@pytest.mark.parametrize("name", names("references"))
def test_references_are_built(tiny, name: str) -> None:
    assert isinstance(instantiate(tiny(f"references={name}").references), ReferencePool)


@pytest.mark.parametrize("name", names("method"))
def test_methods_are_built_afresh_for_every_run(name: str) -> None:
    specs = method_specs(composed("evaluate", f"method={name}").method)
    assert len(specs) >= 1
    for spec in specs.values():
        for make in spec.make.values():
            first, second = make(), make()
            assert isinstance(first, Method)
            assert first is not second
            assert first.image_size == (224, 224)


def test_options_for_pretrained_features_replace_the_others_there_alone() -> None:
    spec = method_specs(composed("evaluate", "method=glass").method)["glass"]
    own, residual, pretrained = (spec.make[kind]() for kind in ("own", "residual", "pretrained"))
    assert own.noise_std == residual.noise_std == 0.015
    assert pretrained.noise_std == 0.005
    assert own.has_adaptor
    assert not pretrained.has_adaptor
    assert spec.changed["own"] == {}
    assert spec.changed["pretrained"] == {"noise_std": 0.005, "adaptor": False}


def test_methods_can_be_chosen_by_name() -> None:
    chosen = composed("evaluate", "method=[padim,patchcore]").method
    assert list(chosen) == ["padim", "patchcore"]


@pytest.mark.parametrize("name", names("trainer"))
def test_trainer_is_built_where_its_device_is_there(tiny, name: str) -> None:
    config = tiny(f"trainer={name}").trainer
    assert config.accelerator == name
    if name == "gpu":
        # Without a GPU here, the same settings on the CPU.
        config.accelerator, config.precision = "cpu", "bf16-mixed"
    trainer = instantiate(config, logger=False)
    assert isinstance(trainer, lightning.Trainer)
    assert trainer.max_epochs == 1
    assert trainer.precision == config.precision


@pytest.mark.parametrize("name", names("strategy"))
def test_strategy_is_built_on_the_cpu(tiny, name: str) -> None:
    devices = [] if name == "single" else ["trainer.devices=2"]
    config = tiny(f"strategy={name}", "trainer.accelerator=cpu", *devices).trainer
    trainer = instantiate(config, logger=False)
    assert trainer.num_devices == (1 if name == "single" else 2)
    multi = type(trainer.strategy).__name__ == "DDPStrategy"
    assert multi == (name != "single")


def test_ddp_strategies_use_all_devices_of_the_gpu_trainer() -> None:
    for name in ("ddp", "ddp_spawn"):
        config = composed("train", f"strategy={name}").trainer
        assert (config.accelerator, config.devices, config.strategy) == ("gpu", -1, name)


@pytest.mark.parametrize("name", names("logger"))
def test_loggers_are_built_and_csv_is_always_one(
    tiny, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    offline = ["logger.wandb.mode=offline"] if name == "wandb" else []
    loggers = instantiate_all(tiny(f"logger={name}", *offline).logger)
    kinds = [type(logger) for logger in loggers]
    assert kinds == [MetricsLog, *([WandbLogger] if name == "wandb" else [])]


@pytest.mark.parametrize("name", names("callbacks"))
def test_callbacks_are_built(tiny, name: str, tmp_path: Path) -> None:
    config = tiny(f"callbacks={name}")
    built = instantiate_all(config.callbacks)
    kinds = [type(callback).__name__ for callback in built]
    assert kinds[:3] == ["LastCheckpoint", "LearningRateMonitor", "ImagesPerSecond"]
    if name == "held_out_check":
        assert isinstance(built[-1], DownstreamCheck)
        assert built[-1].data is None
    if name == "downstream_check":
        assert isinstance(built[-1], DownstreamCheck)
        assert built[-1].data.set_name == "mvtec"
        assert list(built[-1].methods) == ["feature_norm", "patchcore"]


def test_the_set_of_the_downstream_check_can_be_chosen(tiny, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "own")
    config = tiny(
        "callbacks=downstream_check",
        "data@callbacks.downstream_check.data=folder",
        f"callbacks.downstream_check.data.root={root}",
    )
    check = instantiate(config.callbacks.downstream_check)
    check.data.setup()
    assert check.data.classes == ["bottle"]


@pytest.fixture(autouse=True)
def _hydra_as_before() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = None
    yield
    HydraConfig.instance().cfg = before
    GlobalHydra.instance().clear()
