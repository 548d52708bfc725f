"""Files beside the records of a set: details of a cell, heatmaps and plots of a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adpt.data import AnomalyDataModule
from adpt.evaluation.cells import Cell
from adpt.evaluation.panels import class_folder, write_panels
from adpt.results.details import load_details
from adpt.running.whole_files import mark_output


@dataclass(frozen=True)
class BesideRecords:
    """Where those files lie, and heatmaps as they are made of details.

    Args:
        folder: That of the records.
        data: The set.
        cells: All cells of the table.
        heatmaps: Test images a class and method whose score maps are written as PNG.
    """

    folder: Path
    data: AnomalyDataModule
    cells: Sequence[Cell]
    heatmaps: int

    def details(self, cell: Cell) -> Path:
        """Details of a cell's result."""
        return self.folder / "details" / f"{cell.sha256[:16]}.npz"

    def embedding(self, class_name: str) -> Path:
        """A class's embedded patch features."""
        return self.folder / "tsne" / self.data.set_name / f"{class_folder(class_name)}.npz"

    def write_panels(self, class_name: str, method: str) -> None:
        """Render the heatmaps of a class and method from the details of all kinds of features."""
        if not self.heatmaps:
            return
        kinds = {
            cell.kind: load_details(self.details(cell))
            for cell in self.cells
            if (cell.class_name, cell.method) == (class_name, method)
            and self.details(cell).exists()
        }
        folder = self.folder / "heatmaps" / self.data.set_name / class_folder(class_name) / method
        mark_output(folder)
        write_panels(folder, self.data, kinds, self.heatmaps)
