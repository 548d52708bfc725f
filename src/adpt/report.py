"""Show recorded results as tables and a page: `python -m adpt.report results=outputs/demo`."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from adpt.errors import UserError
from adpt.paths import conf_dir
from adpt.wiring import entry

log = logging.getLogger(__name__)


@entry
def report(config: DictConfig) -> None:
    """Print the tables of a results folder and write its page and its CSV."""
    from adpt.page import build_page
    from adpt.results import print_table, read_records, to_csv

    folder = Path(config.results)
    if folder.is_file():
        raise UserError(f"results={folder} is a file. Give the folder that it lies in.")
    records = read_records(folder)
    build_page(records, folder, config.output, config.title)
    to_csv(records, config.csv)
    print_table(records)
    log.info("The page lies at %s, all metrics at %s", config.output, config.csv)


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="report")
def main(config: DictConfig) -> None:
    """Show recorded results."""
    report(config)


if __name__ == "__main__":
    main()
