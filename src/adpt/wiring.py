"""From a composed config to objects, and from an error to one clear message."""

import functools
import inspect
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf

from adpt.errors import SweepError, UserError, WeightsError
from adpt.interruption import Stopped, stopping
from adpt.keys import check_keys
from adpt.names import printable, printable_text
from adpt.sweeps import failure_file, job_number
from adpt.values import check_kinds, check_words

if TYPE_CHECKING:
    import torch

    from adpt.backbones import Backbone
    from adpt.cells import MethodSpec
    from adpt.pretraining import Pretraining
    from adpt.projector import FeatureProjector
    from adpt.weights import ProjectorFile

log = logging.getLogger(__name__)

T = TypeVar("T")


def command(main: Callable[..., T]) -> Callable[..., T]:
    """Make a command end with one message where Hydra would end with a trace, before it starts.

    Modules in the current folder are found, as `python -m` finds them for a module.
    """

    @functools.wraps(main)
    def run(*config: DictConfig) -> T:
        folder = str(Path.cwd())
        if not sys.flags.safe_path and folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            check_utf8(sys.argv[1:])
            check_words(sys.argv[1:])
        except UserError as error:
            print(f"\nadpt: {error}", file=sys.stderr)
            sys.exit(1)
        return main(*config)

    return run


def entry(task: Callable[[DictConfig], T]) -> Callable[[DictConfig], T | None]:
    """Make an entry print a user's mistake as one message and exit with 1, without a trace.

    SIGTERM and Ctrl-C end it with a message too, and with 143 and 130, as a shell has it. The trace
    of any other error goes into a file of the run's folder. With HYDRA_FULL_ERROR=1 the trace comes
    instead, as Hydra has it for its own errors; so does it outside of a Hydra run, for errors that
    are no user's. In a sweep a job that fails leaves its message in a file for `sweeps.FailedJobs`,
    and the next one goes on.
    """

    @functools.wraps(task)
    def run(config: DictConfig) -> T | None:
        failed = failure_file()
        if failed:
            failed.unlink(missing_ok=True)
        try:
            for handler in logging.getLogger().handlers:
                handler.addFilter(harmless)
            with stopping():
                check_keys(config, task.__name__)
                check_kinds(config)
                return task(config)
        except Stopped as stopped:
            print(f"\nadpt: {stopped}", file=sys.stderr)
            sys.exit(stopped.exit_code)
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            message = user_message(error) or keep_trace(error)
            if message is None:
                raise
            message = printable_text(message)
            print(f"\nadpt: {message}", file=sys.stderr)
            if not failed or isinstance(error, SweepError):
                sys.exit(1)
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(message, encoding="utf-8")
            return None

    return run


def check_utf8(words: Sequence[str]) -> None:
    """Refuse words that are no UTF-8: Hydra keeps them in files that are.

    Raises:
        UserError: There is one.
    """
    for word in words:
        if word != word.encode(errors="ignore").decode():
            raise UserError(
                f"{printable(word)} holds bytes that are no UTF-8: rename the file or folder, or"
                " name it by a pattern, with ? in place of such a letter."
            )


def harmless(record: logging.LogRecord) -> bool:
    """Make a log's line one that every terminal and file takes, whatever names stand in it."""
    record.msg, record.args = printable_text(record.getMessage()), ()
    return True


def user_message(error: BaseException) -> str | None:
    """The message of the user error behind an exception, None where it is not a user's mistake."""
    from hydra.errors import InstantiationException
    from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        if isinstance(cause, UserError):
            return str(cause)
        if type(cause).__name__ == "MisconfigurationException":
            return f"{cause}\nWithout a GPU, add trainer=cpu." if _is_of_gpu(cause) else str(cause)
        if isinstance(cause, MissingMandatoryValue | InterpolationKeyError):
            return f"The config is not complete: {str(cause).splitlines()[0]}"
        cause = cause.__cause__ or cause.__context__
    for outer in chain:
        # A constructor refused what the config gives: an option it doesn't have, a wrong value.
        if isinstance(outer, InstantiationException) and isinstance(
            outer.__cause__, TypeError | ValueError | ImportError
        ):
            where = re.search(r"full_key: (.+)", str(outer))
            return f"{where[1] if where else 'The config'}: {outer.__cause__}"
    return None


def keep_trace(error: BaseException) -> str | None:
    """Write an error's trace into the folder of the Hydra run, and say so in a message.

    Returns:
        The message; None where there is no such run, or the file cannot be written.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    run = HydraConfig.get()
    path = Path(run.runtime.output_dir) / f"{run.job.name}-error.txt"
    try:
        trace = printable_text("".join(traceback.format_exception(error)))
        path.write_text(trace, encoding="utf-8")
    except OSError:
        return None
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or ["no message"]
    # An error in a process of its own comes as the text of its trace, the message last.
    line = lines[-1] if "Traceback (most recent call last):" in lines else lines[0]
    return (
        f"{type(error).__name__}: {line}\nA value of the command may be wrong, or adpt itself. The"
        f" trace lies in {path}; HYDRA_FULL_ERROR=1 shows it here."
    )


def _is_of_gpu(error: BaseException) -> bool:
    return any(word in str(error).lower() for word in ("gpu", "cuda", "accelerator"))


def seed_everything(seed: int) -> None:
    """Seed all generators, and keep Lightning's remarks down to those that a user can act on.

    Raises:
        UserError: The seed is no whole number from 0 to 2^32 - 1.
    """
    import lightning

    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed} must be a whole number, at least 0 and below 2^32.")

    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        # Lightning prints by itself what Hydra's logging prints already.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    # The frozen backbone is meant to be in evaluation mode, and the output folder to have files.
    warnings.filterwarnings("ignore", r".*module\(s\) in eval mode", module="lightning.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty", module="lightning.*")
    warnings.filterwarnings("ignore", ".*does not have many workers", module="lightning.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec", module="lightning.*")
    lightning.seed_everything(seed, workers=True, verbose=False)


def instantiate_all(configs: DictConfig | None) -> list[Any]:
    """Build every entry of a group that has a `_target_`, in order; an entry set to null is off."""
    from hydra.utils import instantiate

    built = []
    for name, config in (configs or {}).items():
        if OmegaConf.is_dict(config) and "_target_" in config:
            built.append(instantiate(config))
        elif config is not None:
            log.warning("%s has options but is not chosen: left out", str(name))
    return built


def method_specs(configs: DictConfig) -> "dict[str, MethodSpec]":
    """What makes each method of the group, for each kind of features.

    A method's `pretrained` options replace the others on pretrained features. Each is made once
    here, so that none refuses its options after images are encoded.

    Raises:
        UserError: The group is empty, or a method refuses its options.
    """
    from hydra.utils import get_class, instantiate

    from adpt.cells import MethodSpec
    from adpt.methods import try_making
    from adpt.methods.trained import TrainedMethod

    specs = {}
    for name, config in configs.items():
        if config is None:
            continue
        options = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        if "_target_" not in options:
            log.warning("method.%s has options but is not chosen: left out", name)
            continue
        for_pretrained = options.pop("pretrained", {})
        by_kind: dict[Any, dict[str, Any]] = dict.fromkeys(("own", "residual"), options)
        by_kind["pretrained"] = options | for_pretrained
        target = get_class(options["_target_"])
        make = {kind: instantiate(chosen) for kind, chosen in by_kind.items()}
        for kind in ("own", "pretrained"):
            try_making(f"method.{name!s}", make[kind])
        specs[str(name)] = MethodSpec(
            make,
            by_kind,
            {kind: _changed(target, chosen) for kind, chosen in by_kind.items()},
            issubclass(target, TrainedMethod) and target.unified,
            issubclass(target, TrainedMethod) and target.uses_defects,
        )
    if not specs:
        raise UserError("method is empty: choose some, such as method=[padim,patchcore].")
    return specs


def _changed(target: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from a method's defaults; size and seed are told elsewhere."""
    defaults = inspect.signature(target).parameters
    return {
        name: value
        for name, value in options.items()
        if name in defaults
        and name not in ("image_size", "seed")
        and value != defaults[name].default
    }


def check_backbone(config: DictConfig) -> None:
    """Refuse a backbone that cannot be built, before a set is drawn or listed for it.

    Only what `adpt.backbones.build_backbone` makes can be told without making it.

    Raises:
        UserError: There is no such network, or it gives no such levels.
        WeightsError: Its file of weights is missing or none.
    """
    from hydra.utils import instantiate

    if config.get("_target_") == "adpt.backbones.build_backbone":
        instantiate(config, _target_="adpt.backbones.check_backbone")


def check_accelerator(accelerator: str) -> None:
    """Refuse an accelerator that is not here, before anything is loaded.

    Raises:
        UserError: There is no such accelerator, or this machine has none.
    """
    from lightning.pytorch.accelerators import AcceleratorRegistry

    known = set(AcceleratorRegistry)
    if accelerator not in {*known, "auto", "gpu"}:
        names = ", ".join(sorted({*known, "auto", "gpu"}))
        raise UserError(f"trainer.accelerator={accelerator}: choose one of {names}.")
    needed = {"auto": ["cpu"], "gpu": ["cuda", "mps"]}.get(accelerator, [accelerator])
    if not any(AcceleratorRegistry[name]["accelerator"].is_available() for name in needed):
        what = "a GPU" if accelerator in ("gpu", "cuda") else f"accelerator {accelerator}"
        given = "trainer=gpu" if accelerator == "gpu" else f"trainer.accelerator={accelerator}"
        raise UserError(f"{given} needs {what}, and PyTorch finds none here. Add trainer=cpu.")


def check_multirun(strategy: str) -> None:
    """Refuse a sweep under a strategy whose processes would each start the sweep again.

    Raises:
        SweepError: This is a multirun and the strategy relaunches the command line.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if (
        HydraConfig.initialized()
        and HydraConfig.get().mode == RunMode.MULTIRUN
        and strategy == "ddp"
    ):
        raise SweepError(
            f"A multirun with strategy={strategy} would start the whole sweep again in every"
            " process. Use strategy=ddp_spawn for the sweep, or run its jobs one by one."
        )


def choose_device(name: str) -> "torch.device":
    """The device to compute on: `auto` is a GPU where there is one.

    The jobs of a sweep are dealt out to the GPUs, for launchers that run several at a time.

    Raises:
        UserError: The name is no device of this machine.
    """
    import torch

    if name == "auto":
        count = torch.cuda.device_count()
        name = f"cuda:{job_number() % count}" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"device={name} cannot be used here: it is none of auto, cpu, cuda, cuda:1 and the"
            " like. Use device=cpu."
        ) from error
    if device.type == "meta":
        raise UserError("device=meta cannot be used here: it computes nothing. Use device=cpu.")
    try:
        torch.empty(1, device=device)
    # Each kind of device has its own way to say that it is not there.
    except Exception as error:
        raise UserError(
            f"device={name} cannot be used here: PyTorch finds no such device on this machine. Use"
            " device=cpu."
        ) from error
    return device


def load_matching_projector(
    wanted: "ProjectorFile | str | None", backbone: "Backbone", device: "torch.device"
) -> "FeatureProjector | None":
    """A projector that was trained on this backbone, or None where none is wanted.

    Args:
        wanted: Its file as `find_projector` gives it, or what that takes: a path or a name.
        backbone: The backbone.
        device: Where the projector goes.

    Raises:
        WeightsError: The file is not usable, or was made for another backbone or other levels.
    """
    from adpt.weights import ProjectorFile, find_projector, load_projector

    if wanted is None:
        return None
    file = wanted if isinstance(wanted, ProjectorFile) else find_projector(wanted)
    projector, metadata = load_projector(file.path), file.metadata
    trained_on = metadata.get("backbone", backbone.name)
    if projector.channels != backbone.channels or trained_on != backbone.name:
        raise WeightsError(
            f"{file.name} was trained on levels of widths {projector.channels} of backbone"
            f" '{trained_on}', but backbone '{backbone.name}' gives {backbone.channels}. Choose the"
            " backbone and levels that the projector was trained with."
        )
    known = metadata.get("backbone_sha256")
    if known is not None and not backbone.is_known_as(known):
        raise WeightsError(
            f"{file.name} was trained on other levels, options or weights of backbone"
            f" '{backbone.name}' than these. Give the backbone.levels, backbone.weights and other"
            " options that it was trained with."
        )
    return projector.to(device)


def start_from(found: "ProjectorFile | None", module: "Pretraining") -> None:
    """Give a module that was just built the weights of a projector file, to train on from there.

    Args:
        found: The file as `find_projector` gives it, or None to leave the module as it is.
        module: Its projector must be built like the file's, so that the config states the run.

    Raises:
        WeightsError: The file is not usable, or was made for another backbone or other levels.
        UserError: The file's projector is built otherwise.
    """
    import torch

    learned = load_matching_projector(found, module.backbone, torch.device("cpu"))
    if found is None or learned is None:
        return
    built = module.projector
    names = ("block", "num_heads", "num_references", "scale_by_references")
    options = {f"model.projector.{n}": (getattr(built, n), getattr(learned, n)) for n in names}
    options["model.residual"] = (built.on_residuals, learned.on_residuals)
    if not learned.scale_by_references:
        scaled = bool((learned.scale != 1).any())
        options["model.scale_levels"] = (module.scale_levels, scaled)
    differing = {name: pair for name, pair in options.items() if pair[0] != pair[1]}
    if differing:
        here = " ".join(f"{name}={str(here).lower()}" for name, (here, _) in differing.items())
        there = " ".join(f"{name}={str(there).lower()}" for name, (_, there) in differing.items())
        raise UserError(
            f"{found.name} holds a projector of another build than {here}. To start from it, give"
            f" {there}."
        )
    built.load_state_dict(learned.state_dict())
