"""The files that MVTec AD 2's server takes, of its private test images.

Layout, names and types are those that the benchmark's own checker asks for (`utils.py` of MVTec's
`MVTecAD2_public_code_utils`): `anomaly_images/<class>/<part>/<name>.tiff` of 16-bit floating point
numbers and `anomaly_images_thresholded/<class>/<part>/<name>.png` of 0 and 255, one channel each,
and beside these two folders nothing.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from adpt.data import MVTecAD2
from adpt.data.images import upright_size
from adpt.errors import UserError
from adpt.evaluation.cells import Cell
from adpt.metrics import Good, Metric, Scored, SegF1
from adpt.running.whole_files import mark_output, replacing

log = logging.getLogger(__name__)

_LARGEST = float(np.finfo(np.float16).max)
_SAMPLE_FORMAT, _FLOATING_POINT = 339, 3


class Submission:
    """Writes a folder `<method>_<features>` for each of these, all files of a class at a time.

    A score is written as its distance from the mean pixel score of the images for validation, in
    standard deviations of these, which 16 bits resolve; its order is the same. Files have their
    pictures' own size. What a crop left unseen of a picture is given its lowest score.

    Args:
        folder: Where to write.
        data: The set, set up.
        metrics: A `SegF1` among them says from which score on a pixel is anomalous; otherwise its
            default does, by the images for validation.

    Raises:
        UserError: The set is not that of MVTec AD 2's private images.
    """

    def __init__(self, folder: Path, data: object, metrics: Sequence[Metric] = ()) -> None:
        if not isinstance(data, MVTecAD2) or data.split != "private":
            raise UserError(
                f"submission={folder} is for the private images of MVTec AD 2: data=mvtec_ad2"
                " data.split=private."
            )
        self.folder, self.data = folder, data
        self.rule = next((m for m in metrics if isinstance(m, SegF1)), SegF1())

    def lacking(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells whose files are not there, or are those of other options."""
        return [cell for cell in cells if self._written(cell).get(cell.class_name) != cell.sha256]

    def write(self, cell: Cell, maps: Tensor, scored: Scored) -> None:
        """Write the files of a class.

        Args:
            cell: The result.
            maps: (N, H, W), its score maps.
            scored: The same images as metrics saw them.

        Raises:
            UserError: A file cannot be written, or there are no images for validation.
        """
        if scored.good is None:
            raise UserError(f"{cell.class_name} has no images for validation: unpack it anew.")
        threshold = self.rule.threshold_for(scored)
        mark_output(self.folder)
        self._note(cell, None)
        for number, sample in enumerate(scored.samples):
            width, height = upright_size(sample.image, cell.class_name)
            lowest = float(maps[number].min())
            laid = self.data.geometry.lay_back(maps[number], (height, width), lowest).numpy()
            name = Path(cell.class_name, sample.image.parent.name, sample.image.stem)
            whole = self._folder(cell)
            with replacing(whole / "anomaly_images" / f"{name}.tiff") as file:
                _save_half(_standardised(laid, scored.good), file)
            with replacing(whole / "anomaly_images_thresholded" / f"{name}.png") as file:
                Image.fromarray((laid >= threshold).astype(np.uint8) * 255).save(file, "PNG")
        self._note(cell, cell.sha256)
        missing = sorted(set(self.data.known_classes) - set(self._written(cell)))
        if missing:
            log.info("%s lacks %s still", self._folder(cell), ", ".join(missing))

    def _folder(self, cell: Cell) -> Path:
        return self.folder / f"{cell.method}_{cell.kind}"

    def _written(self, cell: Cell) -> dict[str, str]:
        """Classes whose files are all there, each with its cell's hash."""
        try:
            found: dict[str, str] = json.loads(self._notes(cell).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _note(self, cell: Cell, sha256: str | None) -> None:
        noted = {n: other for n, other in self._written(cell).items() if n != cell.class_name}
        noted |= {} if sha256 is None else {cell.class_name: sha256}
        with replacing(self._notes(cell)) as file:
            file.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")

    def _notes(self, cell: Cell) -> Path:
        # Beside the folder, in which the checker takes no further file.
        return self.folder / f"{cell.method}_{cell.kind}.json"


def _standardised(scores: npt.NDArray[np.floating], good: Good) -> npt.NDArray[np.float16]:
    pixels = good.maps.astype(np.float64)
    distances = (scores - pixels.mean()) / (pixels.std() or 1.0)
    halves: npt.NDArray[np.float16] = distances.clip(-_LARGEST, _LARGEST).astype(np.float16)
    return halves


def _save_half(values: npt.NDArray[np.float16], file: Path) -> None:
    # Pillow has no such mode: these are the bits of one that it has, called by their name.
    bits = Image.fromarray(values.astype("<f2").view("<u2"))
    bits.save(file, "TIFF", tiffinfo={_SAMPLE_FORMAT: _FLOATING_POINT})
