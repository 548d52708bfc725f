"""Budgets that are not the published ones are marked in every table, and are never mixed."""

import csv
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from adpt import methods
from adpt.page import build_page
from adpt.results import (
    Record,
    latest,
    latex_tables,
    markdown_report,
    print_table,
    summarise,
    to_csv,
)
from adpt.results.budget import EPOCHS, ON_PRETRAINED, budget
from adpt.results.card import model_card
from adpt.tracking.results_log import results_table
from recorded import a_record, three
from runs import composed

PUBLISHED_GLASS = {"adaptor": False, "noise_std": 0.005}
CLASSES = {
    "cflow": methods.CFlow,
    "glass": methods.Glass,
    "uniad": methods.UniAD,
    "supersimplenet": methods.SuperSimpleNet,
    "dinomaly": methods.Dinomaly,
    "inp_former": methods.InpFormer,
    "resad": methods.ResAD,
}


def cflow(epochs: int, value: float = 0.5, **changes: object) -> list[Record]:
    """All kinds of features of CFLOW, as an evaluation records them."""
    options = {} if epochs == 200 else {"epochs": epochs}
    about = {"method": "cflow", "options": options, "epochs": {"trained": epochs}}
    return three((value, value, value), **about | changes)


def plain(markdown: str) -> str:
    return markdown.replace("**", "").replace("\\*", "*")


def shown(records: list[Record], folder: Path) -> Iterator[str]:
    """Every kind of table of some records, their markup taken off stars."""
    console = Console(record=True, width=400, file=(folder / "printed").open("w"))
    print_table(records, console)
    yield console.export_text()
    yield plain(markdown_report(records, "Title"))
    yield latex_tables(records).replace("{*}", "*").replace("$\\cdot$", "·")
    build_page(records, folder, folder / "page.html", "Title")
    yield (folder / "page.html").read_text()
    yield plain(model_card("me/it", "mit", {}, "ab" * 32, records, ["image_auroc"]))


def test_a_short_training_is_marked_in_every_table(tmp_path: Path) -> None:
    records = cflow(4) + three((0.6, 0.7, 0.8))
    for text in shown(records, tmp_path):
        assert "visa · cflow*" in text
        assert "* cflow: 4 of 200 epochs; not the published options." in text
        assert "padim*" not in text


def test_the_published_budget_has_no_mark(tmp_path: Path) -> None:
    for text in shown(cflow(200) + three((0.6, 0.7, 0.8)), tmp_path):
        assert "cflow*" not in text
        assert "not the published options" not in text


def test_options_of_methods_without_training_are_named(tmp_path: Path) -> None:
    records = three((0.5, 0.6, 0.7), method="patchcore", options={"coreset_ratio": 0.01})
    for text in shown(records, tmp_path):
        assert "* patchcore: coreset ratio 0.01; not the published options." in text


def test_rows_of_files_name_the_budget(tmp_path: Path) -> None:
    records = [*cflow(4), *cflow(200, class_name="pcb2")]
    to_csv(records, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        found = [row["not_published"] for row in csv.DictReader(file)]
    assert found == ["4 of 200 epochs"] * 3 + [""] * 3
    pytest.importorskip("wandb")
    table = results_table(records)
    place = table.columns.index("not published")
    assert [row[place] for row in table.data] == found


def test_epochs_trained_count_where_options_do_not_tell(tmp_path: Path) -> None:
    assert budget([a_record(method="uniad", epochs={"trained": 20})]) == ["20 of 1000 epochs"]
    assert budget([a_record(method="mine", epochs={"trained": 20})]) == []
    (mine,) = budget([a_record(method="mine", options={"epochs": 20}, epochs={"trained": 20})])
    assert mine == "epochs 20"


def test_different_budgets_are_neither_averaged_nor_overwritten(tmp_path: Path) -> None:
    records = cflow(4, 0.5) + cflow(8, 0.7) + cflow(200, 0.9)
    summaries = summarise(records)
    assert [summary.mean.metrics["image_auroc"].own for summary in summaries] == [0.5, 0.7, 0.9]
    for text in shown(records, tmp_path):
        for name in ("cflow*, 4 of 200 epochs", "cflow*, 8 of 200 epochs"):
            assert name in text
        for value in ("50.0", "70.0", "90.0"):
            assert value in text


def test_budgets_that_only_the_training_tells_apart_are_two_experiments() -> None:
    records = cflow(4, 0.5, options={}) + cflow(200, 0.9, options={})
    assert latest(records) == records
    assert [s.mean.metrics["image_auroc"].own for s in summarise(records)] == [0.5, 0.9]


def test_budgets_of_seeds_are_not_one_experiment() -> None:
    first, second = summarise(cflow(4, 0.5) + cflow(200, 0.9, seed=1))
    assert first.seeds == (0,)
    assert second.seeds == (1,)


def test_published_options_of_pretrained_features_are_no_difference() -> None:
    trained = {"method": "glass", "epochs": {"trained": 640}}
    own = a_record("own", **trained)
    pretrained = a_record("pretrained", options=PUBLISHED_GLASS, **trained)
    assert budget([own, pretrained]) == []
    assert budget([a_record("own", options=PUBLISHED_GLASS, **trained)]) == [
        "adaptor False",
        "noise std 0.005",
    ]
    assert budget([own, a_record("pretrained", **trained)]) == [
        "adaptor on pretrained features",
        "noise std 0.015 on pretrained features",
    ]


@pytest.mark.parametrize("name", EPOCHS)
def test_published_budgets_are_those_of_methods_and_configs(name: str) -> None:
    defaults = inspect.signature(CLASSES[name]).parameters
    config = composed("evaluate", f"method={name}").method[name]
    assert EPOCHS[name] == defaults["epochs"].default == config.epochs
    on_pretrained = config.get("pretrained", {})
    assert on_pretrained == {n: one for n, (one, _) in ON_PRETRAINED.get(name, {}).items()}
    for option, (_, default) in ON_PRETRAINED.get(name, {}).items():
        assert defaults[option].default == default
