"""From config to objects, and from errors to messages."""

import re
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf

from adpt.cli.entry import check_multirun, entry, instantiate_all, user_message
from adpt.errors import DataError, UserError, WeightsError
from adpt.evaluation.specs import method_specs
from adpt.projector import FeatureProjector
from adpt.running.devices import check_accelerator, choose_device
from adpt.weights import load_matching_projector, save_projector
from runs import CONF, composed
from small import SmallBackbone

CPU = torch.device("cpu")

# ---- Errors ---------------------------------------------------------------------------------


@entry
def task(config) -> None:
    raise config.error


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def test_a_users_mistake_ends_an_entry_with_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    error = chained(RuntimeError("somewhere deep"), DataError("no folder /x"))
    config = OmegaConf.create({"error": error}, flags={"allow_objects": True})
    with pytest.raises(SystemExit) as caught:
        task(config)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "\nadpt: no folder /x\n"


def test_any_other_error_keeps_its_trace() -> None:
    config = OmegaConf.create({"error": RuntimeError("a bug")}, flags={"allow_objects": True})
    with pytest.raises(RuntimeError, match="a bug"):
        task(config)


def test_the_trace_comes_where_hydra_is_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    config = OmegaConf.create({"error": DataError("no folder")}, flags={"allow_objects": True})
    with pytest.raises(DataError):
        task(config)


def test_a_missing_gpu_is_told_with_what_to_do() -> None:
    # What Lightning raises for accelerator=gpu, and for a GPU that is not there.
    for text in ("No supported gpu backend found!", "`CUDAAccelerator` can not run on your system"):
        message = user_message(chained(ValueError("outer"), MisconfigurationException(text)))
        assert message == f"{text}\nWithout a GPU, add trainer=cpu."
    assert user_message(MisconfigurationException("max_epochs is odd")) == "max_epochs is odd"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+data.colour=blue"], "data: .*unexpected keyword argument 'colour'"),
        (["data.batch_size=many"], r"data\.batch_size=many must be a whole number"),
        (["data.image_size=0"], r"data\.image_size is a positive number of pixels"),
        (["data=mixed"], r"\+data@data\.sets\.visa=visa"),
    ],
)
def test_what_a_constructor_refuses_is_named_by_its_place(overrides: list, said: str) -> None:
    config = composed("evaluate", "data=folder", *overrides)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        instantiate(config.data)
    message = user_message(caught.value)
    assert message is not None
    assert re.search(said, message)
    assert "Error in call to target" not in message


def test_a_value_left_to_the_user_is_asked_for() -> None:
    config = composed("evaluate", "backbone=timm")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        instantiate(config.backbone)
    message = user_message(caught.value)
    assert message is not None
    assert "backbone.name" in message
    assert "\n" not in message


def test_errors_of_the_program_are_no_users_mistakes() -> None:
    assert user_message(RuntimeError("shape mismatch")) is None
    assert user_message(ValueError("wrong")) is None


# ---- Objects --------------------------------------------------------------------------------


def test_entries_of_a_group_are_built_in_order_and_null_is_off() -> None:
    configs = OmegaConf.create(
        {
            "second": {"_target_": "fractions.Fraction", "numerator": 2},
            "off": None,
            "settings": {"numerator": 5},
            "first": {"_target_": "fractions.Fraction", "numerator": 1},
        }
    )
    assert instantiate_all(configs) == [2, 1]
    assert instantiate_all(None) == []


def multirun(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", return_hydra_config=True, overrides=[f"hydra.mode={mode}"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(config)


def test_a_sweep_under_ddp_is_refused_and_told_what_to_do(monkeypatch) -> None:
    multirun(monkeypatch, "MULTIRUN")
    with pytest.raises(UserError, match="strategy=ddp_spawn"):
        check_multirun("ddp")
    for strategy in ("auto", "ddp_spawn"):
        check_multirun(strategy)


def test_a_single_run_may_use_ddp(monkeypatch) -> None:
    check_multirun("ddp")
    multirun(monkeypatch, "RUN")
    check_multirun("ddp")


def test_device_names() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:999", "toaster", "meta", "MPS", "-1"):
        with pytest.raises(UserError, match=f"device={name} cannot be used here: .* device=cpu"):
            choose_device(name)


@pytest.mark.parametrize("name", ["mps", "cuda"])
def test_a_device_that_is_not_there_is_told_in_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args, device: torch.device) -> None:
        raise NotImplementedError(f"Could not run 'aten::empty' on {device}. " + "Details. " * 50)

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(UserError) as caught:
        choose_device(name)
    assert str(caught.value) == (
        f"device={name} cannot be used here: PyTorch finds no such device on this machine. Use"
        " device=cpu."
    )


def test_accelerators_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(kind, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps", "tpu"):
        with pytest.raises(UserError, match=f"{name} needs .* none here. Add trainer=cpu"):
            check_accelerator(name)
    with pytest.raises(UserError, match="=gqu: choose one of auto, cpu, cuda, gpu, mps, tpu"):
        check_accelerator("gqu")
    for name in ("auto", "cpu"):
        check_accelerator(name)
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    check_accelerator("gpu")
    check_accelerator("mps")


# ---- Methods ---------------------------------------------------------------------------------


def test_methods_are_made_once_without_a_trace_in_random_numbers() -> None:
    config = composed("evaluate", "method=all", "data.image_size=48")
    torch.manual_seed(3)
    specs = method_specs(config.method)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)
    assert len(specs) == 6


def test_what_makes_no_method_is_refused() -> None:
    config = OmegaConf.create({"odd": {"_target_": "fractions.Fraction", "_partial_": True}})
    with pytest.raises(UserError, match=r"method\.odd: Fraction is no adpt\.methods\.Method"):
        method_specs(config)


# ---- Projector and backbone -----------------------------------------------------------------


@pytest.fixture
def projector_file(tmp_path: Path) -> Path:
    path = tmp_path / "projector.safetensors"
    projector = FeatureProjector((40, 112), num_heads=4, num_references=8)
    save_projector(projector, path, {"backbone": "efficientnet_lite0"})
    return path


def test_a_projector_of_this_backbone_is_loaded_ready_to_use(projector_file: Path) -> None:
    projector = load_matching_projector(str(projector_file), SmallBackbone(), CPU)
    assert projector is not None
    assert projector.channels == (40, 112)
    assert not projector.training
    assert load_matching_projector(None, SmallBackbone(), CPU) is None


@pytest.mark.parametrize("other", ["levels", "name"])
def test_a_projector_of_another_backbone_is_refused(projector_file: Path, other: str) -> None:
    options = {"levels": {"levels": (1, 2, 3, 4)}, "name": {"name": "other"}}[other]
    backbone = SmallBackbone(**options)
    with pytest.raises(WeightsError, match=r"trained on levels of widths \(40, 112\) of backbone"):
        load_matching_projector(str(projector_file), backbone, CPU)


def test_a_projector_of_other_levels_of_the_same_widths_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    trained_on, other = SmallBackbone(), SmallBackbone()
    other.indices = (0, 2)
    save_projector(
        FeatureProjector((40, 112), num_heads=4, num_references=8),
        path,
        {"backbone": "efficientnet_lite0", "backbone_sha256": trained_on.fingerprint},
    )
    assert load_matching_projector(str(path), trained_on, CPU) is not None
    with pytest.raises(WeightsError, match="other levels, options or weights"):
        load_matching_projector(str(path), other, CPU)


def test_a_missing_projector_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"There is no projector file .*none\.safetensors"):
        load_matching_projector(str(tmp_path / "none.safetensors"), SmallBackbone(), CPU)


@pytest.fixture(autouse=True)
def _hydra_as_before() -> object:
    before = HydraConfig.instance().cfg
    yield
    HydraConfig.instance().cfg = before


def test_options_of_a_method_that_is_not_chosen_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = composed("evaluate", "method=feature_norm", "+method.patchcore.coreset_ratio=0.02")
    assert list(method_specs(config.method)) == ["feature_norm"]
    assert "method.patchcore has options but is not chosen" in caplog.text
