"""Refusing what cannot be meant in the config of `adpt.predict`, before anything is loaded."""

from omegaconf import DictConfig, OmegaConf

from adpt.cli.entry import check_backbone_config
from adpt.data.files import refuse_output
from adpt.errors import UserError
from adpt.inspection.command import device_of, overridden, own_targets, policy_of, settled
from adpt.inspection.onnx_file import require_onnx
from adpt.inspection.sizes import AUTO
from adpt.inspection.threshold import Threshold
from adpt.running.paths import expanded
from adpt.running.whole_files import require_writable
from adpt.windows import WindowOptions

OF_FITTING = (
    "backbone", "method", "projector", "features", "shots", "seed", "data", "windows", "roi",
    "quantile", "false_positive_rate", "folds", "good_test", "defects",
)  # fmt: skip
"""Settled once an inspector is fitted."""


def check(config: DictConfig) -> None:
    """Refuse a config.

    Raises:
        UserError: Nothing to fit, to save or to score, several ways to find a threshold, a file
            that cannot be written, or options of fitting for an inspector that was fitted before.
    """
    check_task(config)
    if config.fit is not None:
        check_fitting(config)
    else:
        check_settled(config)
    check_files(config)
    device_of(config)
    if config.fit is not None:
        backbone, size = config.backbone, config.data.image_size
        windows = WindowOptions.of(config.windows)
        if size == AUTO:
            size = [2 * side for side in windows.size] if windows else 224
        if backbone.get("image_size") == AUTO:
            backbone = OmegaConf.merge(backbone, {"image_size": size})
        if windows:
            backbone = OmegaConf.create(windows.backbone(backbone, size))
        check_backbone_config(backbone)


def check_task(config: DictConfig) -> None:
    """Refuse a command that gives nothing to do, or a task without what it needs."""
    if config.fit is None and config.inspector is None:
        raise UserError(
            "Give fit=<folder of good images>, or inspector=<file> of one that was fitted before;"
            " see `python -m adpt.predict --help`."
        )
    saved = config.fit is not None and config.inspector is not None
    tasks = (config.images, config.watch, config.export, config.add)
    if not saved and all(task is None for task in tasks):
        raise UserError(
            "There is nothing to do: give images=<folder> to score, or export=<file> for an ONNX"
            " graph" + (", or inspector=<file> to save it." if config.inspector is None else ".")
        )
    if config.images is not None and config.watch is not None:
        raise UserError("images and watch are two ways to name what is scored: give one of them.")
    if config.watch is not None and not expanded(config.watch).is_dir():
        raise UserError(f"watch={config.watch}: there is no such folder.")
    if config.watch is not None:
        refuse_output(expanded(config.watch), "watch")
    if config.fit is not None and config.add is not None:
        raise UserError("add= takes images into an inspector fitted before: leave fit out.")
    if config.save_as is not None and config.add is None:
        raise UserError("save_as= is where add= writes to; after a fit it is inspector=<file>.")
    check_products(config)
    if config.export is not None:
        require_onnx()


def check_products(config: DictConfig) -> None:
    """Refuse a product where there is but one inspector, and several where one is meant."""
    several = config.fit is None and expanded(config.inspector).is_dir()
    if config.product is not None and not several:
        raise UserError(
            f"product={config.product} chooses from a folder of inspectors: inspector=<folder>."
        )
    if several and config.product is None:
        for name in ("add", "export", "threshold"):
            if config[name] is not None:
                raise UserError(
                    f"{name} is for one inspector, and {config.inspector} is a folder of them: say"
                    " which by product=<name>."
                )


def check_fitting(config: DictConfig) -> None:
    """Refuse what an inspector cannot be fitted and saved with."""
    policy_of(config)
    if not isinstance(config.backbone_weights, bool):
        raise UserError(
            f"backbone_weights={config.backbone_weights}: with fit= it is true or false, whether"
            " the inspector's file holds the weights. Weights to fit with are backbone.weights."
        )


def check_settled(config: DictConfig) -> None:
    """Refuse options of fitting for an inspector that was fitted before."""
    wrong = [key for key in overridden() if key.partition(".")[0] in OF_FITTING]
    # One's own has to be named, or the file could have any code run.
    named = [key for key in ("backbone", "method") if own_targets(config[key])]
    wrong = [key for key in wrong if key not in named]
    if "backbone_weights" in overridden() and not isinstance(config.backbone_weights, str):
        wrong.append("backbone_weights")
    if wrong:
        raise settled(config, wrong)
    if config.threshold is not None:
        Threshold.given(config.threshold)


def check_files(config: DictConfig) -> None:
    """Refuse files that cannot be written."""
    written = {"export": config.export}
    if config.fit is not None:
        written["inspector"] = config.inspector
    if config.save_as is not None:
        written["save_as"] = config.save_as
    if any(config[name] is not None for name in ("fit", "images", "watch", "add")):
        written["output_dir"] = f"{config.output_dir}/scores.csv"
    for key, path in written.items():
        if path is not None:
            require_writable(expanded(path), key)
