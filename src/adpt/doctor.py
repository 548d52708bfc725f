"""List every fault of a data set: `python -m adpt.doctor data=realiad`."""

import logging
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from adpt.cli.entry import command, entry

log = logging.getLogger(__name__)


@entry
def doctor(config: DictConfig) -> None:
    """Examine a set, print what was found, and exit with 1 if any of it is a fault."""
    from adpt.data.examination import examine
    from adpt.data.examination.printing import print_examination, write_json
    from adpt.running.progress import StepBar

    data = instantiate(config.data)
    try:
        data.prepare_data()
        with StepBar("Examining") as progress:
            examination = examine(
                data, config.workers, config.max_megapixels, config.published, progress
            )
    except KeyboardInterrupt:
        print("\nadpt: Interrupted. Nothing was written.", file=sys.stderr)
        sys.exit(130)
    print_examination(examination)
    if config.json is not None:
        write_json(examination, data, Path(config.json))
        log.info("Written: %s", config.json)
    if examination.faults:
        sys.exit(1)


@command("doctor")
def main(config: DictConfig) -> None:
    """List every fault of a data set."""
    doctor(config)


if __name__ == "__main__":
    main()
