"""Show recorded results as tables and a page: `python -m adpt.report results=outputs/demo`."""

from omegaconf import DictConfig

from adpt.cli.entry import command, entry


@entry
def report(config: DictConfig) -> None:
    """Show the results of a folder, or what changed between two."""
    from adpt.page.reporting import write_changes, write_report

    if config.compare is None:
        write_report(config)
    else:
        write_changes(config)


@command("report")
def main(config: DictConfig) -> None:
    """Show recorded results."""
    report(config)


if __name__ == "__main__":
    main()
