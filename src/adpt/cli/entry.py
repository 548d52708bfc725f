"""From a composed config to objects, and from an error to one clear message."""

import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, InterpolationKeyError, MissingMandatoryValue

from adpt.cli.command_line import check_words
from adpt.cli.composing import told_in_one_line
from adpt.cli.sweeps import failure_file, sweep_job
from adpt.errors import SweepError, UserError, chain_of
from adpt.running.interruption import Stopped, stopping
from adpt.running.memory import keep_freed_memory
from adpt.running.names import printable_text
from adpt.running.paths import conf_dir

log = logging.getLogger(__name__)

T = TypeVar("T")


def command(
    name: str, words_of: Callable[[list[str]], list[str]] = list
) -> Callable[[Callable[[DictConfig], T]], Callable[..., T]]:
    """Make a function of a config a command of Hydra's, on the primary config of that name.

    It ends with one message where Hydra would end with a trace, before it starts. Modules in the
    current folder are found, as `python -m` finds them for a module.

    Args:
        name: The command's.
        words_of: Makes Hydra's words of those of the command line.
    """

    def made(main: Callable[[DictConfig], T]) -> Callable[..., T]:
        of_hydra = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
        composed: Callable[..., T] = of_hydra(main)

        @functools.wraps(main)
        def run(*config: DictConfig) -> T:
            folder = str(Path.cwd())
            if not sys.flags.safe_path and folder not in sys.path:
                sys.path.insert(0, folder)
            words = sys.argv[1:]
            try:
                check_words(words)
                sys.argv[1:] = words_of(words)
            except UserError as error:
                print(f"\nadpt: {printable_text(str(error))}", file=sys.stderr)
                sys.exit(1)
            with _ending_when_stopped(), told_in_one_line(name, words):
                return composed(*config)

        return run

    return made


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
        from adpt.cli.check import check_options  # Not for --help and --cfg job.

        failed = failure_file()
        if failed:
            failed.unlink(missing_ok=True)
        keep_freed_memory()
        try:
            for handler in logging.getLogger().handlers:
                handler.addFilter(harmless)
            with _ending_when_stopped():
                check_options(config, task.__name__)
                return task(config)
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


@contextmanager
def _ending_when_stopped() -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C end the process with a message and a shell's exit code."""
    try:
        with stopping():
            yield
    except Stopped as stopped:
        print(f"\nadpt: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)


def harmless(record: logging.LogRecord) -> bool:
    """Make a log's line one that every terminal and file takes, whatever names stand in it."""
    record.msg, record.args = printable_text(record.getMessage()), ()
    return True


def user_message(error: BaseException) -> str | None:
    """The message of the user error behind an exception, None where it is not a user's mistake."""
    for cause in chain_of(error):
        if isinstance(cause, UserError):
            return str(cause)
        if type(cause).__name__ == "MisconfigurationException":
            return f"{cause}\nWithout a GPU, add trainer=cpu." if _is_of_gpu(cause) else str(cause)
        if isinstance(cause, ConfigAttributeError) and (word := _taken_out(str(cause.full_key))):
            return f"{word} takes out what this command needs: leave that word out."
        if isinstance(cause, MissingMandatoryValue | InterpolationKeyError):
            return f"The config is not complete: {str(cause).splitlines()[0]}"
    for outer in chain_of(error):
        # A constructor refused what the config gives: an option it doesn't have, a wrong value.
        if isinstance(outer, InstantiationException) and isinstance(
            outer.__cause__, TypeError | ValueError | ImportError
        ):
            where = re.search(r"full_key: (.+)", str(outer))
            return f"{where[1] if where else 'The config'}: {outer.__cause__}"
    return None


def keep_trace(error: BaseException) -> str | None:
    """Write an error's trace into the folder of the Hydra run, and say so in a message.

    None where there is no such run, or the file cannot be written.
    """
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


def _taken_out(key: str) -> str | None:
    """The word of the command line, such as ~trainer.accelerator, that takes a key out."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for word in words:
        name = word[1:].split("=")[0].replace("/", ".")
        if word.startswith("~") and f"{key}.".startswith(f"{name}."):
            return str(word)
    return None


def _is_of_gpu(error: BaseException) -> bool:
    return any(word in str(error).lower() for word in ("gpu", "cuda", "accelerator"))


def instantiate_all(configs: DictConfig | None) -> list[Any]:
    """Build every entry of a group that has a `_target_`, in order; an entry set to null is off."""
    built = []
    for name, config in (configs or {}).items():
        if OmegaConf.is_dict(config) and "_target_" in config:
            built.append(instantiate(config))
        elif config is not None:
            log.warning("%s has options but is not chosen: left out", str(name))
    return built


def check_backbone_config(config: DictConfig) -> None:
    """Refuse a backbone that cannot be built, before a set is rendered or listed for it.

    Only what `adpt.backbones.build_backbone` makes can be told without making it.

    Raises:
        UserError: There is no such network, or it gives no such levels.
        WeightsError: Its file of weights is missing or none.
    """
    if config.get("_target_") == "adpt.backbones.build_backbone":
        instantiate(config, _target_="adpt.backbones.check_backbone")


def check_multirun(strategy: str) -> None:
    """Refuse a sweep under a strategy whose processes would each start the sweep again.

    Raises:
        SweepError: This is a multirun and the strategy relaunches the command line.
    """
    if strategy == "ddp" and sweep_job():
        raise SweepError(
            f"A multirun with strategy={strategy} would start the whole sweep again in every"
            " process. Use strategy=ddp_spawn for the sweep, or run its jobs one by one."
        )
