"""From the config of `adpt.predict` to an inspector."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adpt.cli.keys import own_folders
from adpt.cli.sweeps import job_number
from adpt.data.files import name_key
from adpt.errors import UserError
from adpt.inspection.good_page import NAME as GOOD_PAGE
from adpt.inspection.good_page import write_good_page
from adpt.inspection.inputs import find_images, from_stdin
from adpt.inspection.inspector import Inspector
from adpt.inspection.outputs import THUMBNAIL
from adpt.inspection.products import Products, file_of, inspector_files
from adpt.inspection.threshold import RATE, ThresholdPolicy
from adpt.inspection.watching import new_images
from adpt.running.devices import choose_device
from adpt.running.paths import expanded
from adpt.running.progress import StepBar
from adpt.running.sources import targets

log = logging.getLogger(__name__)

STREAM = "-"


def fit(config: DictConfig) -> Products:
    """An inspector, fitted as the config says, and written where it says so."""
    backbone: Any = OmegaConf.to_container(config.backbone, resolve=True)
    data: Any = OmegaConf.to_container(config.data, resolve=True)
    method, options = chosen_method(config)
    alike = (
        "projector", "projector_block", "features", "shots", "seed", "windows", "roi",
        "max_megapixels", "batch_size",
    )  # fmt: skip
    with StepBar("Fitting", logged=True) as progress:
        inspector = Inspector.fit(
            config.fit,
            method=method,
            method_options=options,
            backbone=backbone,
            threshold=policy_of(config),
            device=device_of(config),
            copy_side=THUMBNAIL,
            progress=progress,
            **data,
            **{name: config[name] for name in alike},
        )
    tell_threshold(inspector)
    if config.inspector is not None:
        inspector.save(config.inspector, config.backbone_weights)
        log.info("Inspector written: %s", config.inspector)
    show_good_images(inspector, config)
    return Products.of_one(inspector)


def tell_threshold(inspector: Inspector, product: str = "") -> None:
    """Say from which score on an image is anomalous, and why."""
    name = f"{product}: anomalous" if product else "Anomalous"
    log.info("%s above %.6g: %s", name, inspector.threshold, inspector.threshold_origin)


def show_good_images(inspector: Inspector, config: DictConfig) -> None:
    """Tell what the scores say of the images that it was fitted on just now, and write their page.

    Raises:
        UserError: The page cannot be written.
    """
    if (good := inspector.good_images) is None:
        return
    for number, remark in enumerate(good.remarks):
        log.log(logging.WARNING if number else logging.INFO, remark)
    folder = expanded(config.output_dir)
    write_good_page(folder, inspector, good)
    good.copies.clear()  # Not needed any more.
    log.info("The good images by score: %s", (folder / GOOD_PAGE).absolute())


def load_inspectors(config: DictConfig) -> Products:
    """The inspectors that were fitted before; those of a folder once they are needed."""
    path = expanded(config.inspector)
    if not path.is_dir():
        return Products.of_one(load_one(path, config))
    if config.product is None:
        files = inspector_files(path)
        return Products(files, lambda product: load_one(files[product], config, product))
    name = name_key(config.product)
    return Products.of_one(load_one(file_of(path, name), config, name), name)


def load_one(path: Path, config: DictConfig, product: str = "") -> Inspector:
    """An inspector that was fitted before, unless the command names another's parts."""
    weights = config.backbone_weights
    loaded = Inspector.load(
        path,
        device_of(config),
        weights if isinstance(weights, str) else None,
        config.max_megapixels,
        trusted(config),
    )
    other = [
        f"{group}={HydraConfig.get().runtime.choices[group]}"
        for group in ("backbone", "method")
        if group in overridden()
        and not set(own_targets(config[group])) & set(loaded.settings.targets)
    ]
    projector = loaded.scorer.projector
    block = config.projector_block
    if block is not None and (projector is None or projector.block != block):
        other.append(f"projector_block={block}")
    if other:
        raise settled(config, other)
    if config.threshold is not None:
        loaded = loaded.with_threshold(config.threshold)
    tell_threshold(loaded, product)
    return loaded


def take_in(products: Products, config: DictConfig) -> None:
    """Take further good images into the only inspector, write it, and say what changed."""
    ((product, inspector),) = products.inspectors.items()
    path = expanded(config.inspector)
    if path.is_dir():
        path = file_of(path, product)
    with StepBar("Adding", logged=True) as progress:
        added = inspector.with_images(config.add, config.batch_size, progress)
    tell_threshold(added, product)
    written = path if config.save_as is None else expanded(config.save_as)
    added.save(written, backbone_weights=None)
    log.info("Inspector written: %s", written)
    show_good_images(added, config)
    products.inspectors[product] = added


def export(products: Products, config: DictConfig) -> None:
    """Write the only inspector as an ONNX graph."""
    (inspector,) = products.inspectors.values()
    inspector.export_onnx(config.export)
    log.info("ONNX graph written: %s", config.export)


def images_of(config: DictConfig) -> list[Path] | Iterator[str | Path]:
    """The files to score, those of a stream as they come: into a watched folder from now on."""
    if config.watch is not None:
        return new_images(expanded(config.watch), config.existing, config.settle)
    if config.images == STREAM:
        return from_stdin()
    return [] if config.images is None else find_images(config.images, "images")


def policy_of(config: DictConfig) -> ThresholdPolicy:
    """How the threshold is to be found."""
    ways = {
        "quantile": config.quantile,
        "false_positive_rate": config.false_positive_rate,
        "defects": config.defects,
        "value": config.threshold,
    }
    # The rate always has a value: only one that was asked for contradicts the others.
    name = "false_positive_rate"
    asked = name in overridden() or ways[name] != RATE
    if not asked and sum(way is not None for way in ways.values()) > 1:
        del ways[name]
    return ThresholdPolicy(**ways, good_test=config.good_test, folds=config.folds)


def chosen_method(config: DictConfig) -> tuple[str, dict[str, Any]]:
    """Name and options of the only method that is chosen."""
    chosen = {}
    for part, node in config.method.items():
        if node is not None and "_target_" not in node:
            log.warning("method.%s has options but is not chosen: left out", part)
        elif node is not None:
            chosen[str(part)] = node
    if len(chosen) != 1:
        raise UserError(
            f"An inspector has one method, not {len(chosen)}: method=patchcore, for instance."
        )
    ((name, node),) = chosen.items()
    options: Any = OmegaConf.to_container(node, resolve=True)
    return name, options


def device_of(config: DictConfig) -> str:
    """The device to compute on, as this job of a sweep has it."""
    return str(choose_device(config.device, job_number()))


def overridden() -> list[str]:
    """The keys that the command line sets; none outside of a Hydra run."""
    if not HydraConfig.initialized():
        return []
    return [word.partition("=")[0].lstrip("+~") for word in HydraConfig.get().overrides.task]


def settled(config: DictConfig, wrong: list[str]) -> UserError:
    """The refusal of options that were decided when an inspector was fitted."""
    moved = any(key.startswith("backbone") for key in wrong)
    return UserError(
        f"{', '.join(wrong)}: settled when {config.inspector} was fitted. Fit again with"
        " fit=<folder of good images>, or leave it out."
        + (" A backbone whose weights lie elsewhere now: backbone_weights=<file>." * moved)
    )


def trusted(config: DictConfig) -> set[str]:
    """Classes that the user has named, in the command or in a folder of configuration.

    Args:
        config: Of `adpt.predict`, or of `adpt.serve`, which names no backbone and no method.
    """
    named = {name for group in ("backbone", "method") for name in own_targets(config.get(group))}
    if config.projector_block is not None:
        named.add(config.projector_block)
    for folder in own_folders():
        for group in ("backbone", "method"):
            for file in (folder / group).rglob("*.yaml"):
                named |= set(own_targets(OmegaConf.load(file)))
    return named


def own_targets(config: Any) -> list[str]:
    """The classes that a part of the config names and that are not adpt's."""
    found = targets(OmegaConf.to_container(config, resolve=False) if config else None)
    return [target for target in found if not target.startswith("adpt.")]
