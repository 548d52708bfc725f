"""Options of `python -m adpt.report`."""

from adpt.cli.options.kinds import Names, Section
from adpt.cli.types import Text


class Report(Section):
    """`python -m adpt.report`."""

    results: Text
    """folder with the .jsonl files that `python -m adpt.evaluate` wrote, and what lies beside
    them"""
    compare: Names | None
    """two folders of results, the earlier one first: shows what changed between them, cell by cell,
    instead; null for none"""
    output: Text
    """where the files go"""
    formats: Names | None
    """some of [markdown, csv, latex, html]"""
    metrics: Names | None
    """what the tables show; results.csv has all of them"""
    protocol: Text | None
    """which results: clean | paper; null for all"""
    datasets: Names | None
    """names as they were recorded; null for all"""
    methods: Names | None
    """names as they were recorded; null for all"""
    backbones: Names | None
    """names as they were recorded; null for all"""
    reported: Text | None
    """YAML file of published results to show beside ours where they may stand, such as
    experiments/main_table/reported.yaml; null for none"""
    title: Text
    """heading of the page"""
