"""Fit on good images, find anomalous ones: `python -m adpt.predict fit=good images=new`.

Exit code: 0 all images are normal, 1 a mistake in the command or its files, 2 at least one image is
anomalous, 3 none is, but some could not be read; with `exit_code=false` 0 instead of 2 and 3.
A stream whose reader leaves ends with 141.
"""

import sys

from omegaconf import DictConfig

from adpt.cli.entry import command, entry
from adpt.cli.sweeps import failure_file


@entry
def predict(config: DictConfig) -> None:
    """Fit, or load, an inspector, and score images; exit as the module says."""
    from adpt.inspection.answers import score_and_write
    from adpt.inspection.command import export, fit, images_of, load_inspectors, take_in
    from adpt.inspection.refusals import check

    check(config)
    images = images_of(config)  # Found, or watched for, before time is spent on fitting.
    products = fit(config) if config.fit is not None else load_inspectors(config)
    if config.add is not None:
        take_in(products, config)
    if config.export is not None:
        export(products, config)
    if config.images is None and config.watch is None:
        return
    code = score_and_write(products, images, config)
    # A sweep's other jobs go on.
    if code and config.exit_code and failure_file() is None:
        sys.exit(code)


@command("predict")
def main(config: DictConfig) -> None:
    """Fit on good images, find anomalous ones."""
    predict(config)


if __name__ == "__main__":
    main()
