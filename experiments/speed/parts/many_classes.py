"""How evaluation grows with classes, and a report with records."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from growing import PRODUCTS, SMALL, Command, adpt, grown
from measuring import Row
from processes import Cost
from setups import run_here

RECORDS = """
import json, sys
from pathlib import Path
source, target, many = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
first = json.loads((source / "results.jsonl").read_text().splitlines()[0])
target.mkdir()
with (target / "results.jsonl").open("w") as lines:
    for number in range(many):
        method, name = number % 5, number // 5
        more = {"class_name": f"product_{name:04}", "method": f"method_{method}"}
        details = Path(first["details"])
        copied = details.with_name(f"{number}.npz")
        (target / copied).parent.mkdir(parents=True, exist_ok=True)
        (target / copied).symlink_to((source / details).absolute())
        record = first | more | {"cell": f"{number:064x}", "details": str(copied)}
        lines.write(json.dumps(record) + "\\n")
"""


def rows() -> Iterator[Row]:
    """CPU seconds and peaks of memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        evaluate = Evaluate(folder)
        yield from grown(
            Command("`adpt.evaluate`, PaDiM, no heatmaps", "classes", (75, 150, 300), evaluate)
        )
        yield from grown(
            Command("`adpt.report`, one page", "records", (250, 500, 1000), Report(folder))
        )


class Evaluate:
    """A table of classes, of 4 training and 4 test images each, from a cold cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, size: int) -> Cost:
        """Evaluate so many classes."""
        root, out = self.folder / f"classes_{size}", self.folder / f"table_{size}"
        run_here(PRODUCTS, root, size, 4, 2)
        return adpt(
            "evaluate",
            "data=folder",
            f"data.root={root}",
            *SMALL,
            "method=padim",
            "heatmaps=0",
            f"cache.folder={self.folder / f'cache_{size}'}",
            f"output_dir={out}",
        )


class Report:
    """Tables and a page of records, each with its details."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, size: int) -> Cost:
        """Report so many records."""
        target = self.folder / f"records_{size}"
        run_here(RECORDS, self.folder / "table_75", target, size)
        return adpt("report", f"results={target}")
