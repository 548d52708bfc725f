"""Features of training images with synthetic defects, for methods that train on these."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from adpt.data import Sample
from adpt.data.reading import PlainImages
from adpt.data.sample import UnreadSample
from adpt.data.sampling import draw_seed
from adpt.data.transforms import Geometry
from adpt.errors import BadImageError, UserError
from adpt.evaluation.features import Encode
from adpt.running.progress import Progress, no_progress

_THREADS = 4
Synthesise = Callable[[Tensor, int, Path], tuple[Tensor, Tensor]]
"""An image (3, H, W), a seed and the image's file, to the image and its mask (H, W)."""
Convert = Callable[[list[Tensor], Sequence[str]], list[Tensor]]
"""Own features of images, and their paths, to features of the kind that a method gets."""


class DefectPool:
    """A `DefectSet` that holds one synthetic defect for each training image.

    In the first epoch all of them are made and encoded, and after that in each epoch the stated
    share anew, in turns, so that the backbone's work is bounded: at most
    N·(1 + refresh·epochs) images. A defect depends on seed, image and epoch alone.

    Memory: as much as the features of the training images.

    Args:
        samples: The training images, in the order of the features that they belong to.
        geometry: Brings them to the size that `backbone` sees.
        backbone: Its images to own features, on `device`.
        synthesise: Makes a defect, as `TextureDefects` does.
        batch_size: Images at a time.
        convert: Makes features of the wanted kind; None for the backbone's own.
        device: Where to compute.
        refresh: Share of the defects that is made anew in every epoch, 0 to 1; rounded to one over
            a whole number. The authors of GLASS renew all of them, 1.
        seed: Decides all defects.
        progress: Told of every batch.

    Raises:
        UserError: `refresh` is not in [0, 1].
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        geometry: Geometry,
        backbone: Encode,
        synthesise: Synthesise,
        *,
        batch_size: int,
        convert: Convert | None = None,
        device: torch.device,
        refresh: float = 0.1,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> None:
        if not 0 <= refresh <= 1:
            raise UserError(f"defects.refresh={refresh} must be a share, 0 to 1.")
        self.samples, self.geometry, self.backbone = list(samples), geometry, backbone
        self.batch_size, self.synthesise = batch_size, synthesise
        self.convert, self.device = convert, device
        self.period = max(1, round(1 / refresh)) if refresh else 0
        self.seed, self.progress = seed, progress
        self._made: list[int | None] = [None] * len(self.samples)
        self._levels: list[Tensor] = []
        self._masks = torch.zeros(0)

    def start_epoch(self, epoch: int) -> None:
        """Make what is due anew, and after a resumption all that was made before."""
        due = [self._last_made(epoch, row) for row in range(len(self.samples))]
        rows = [row for row, when in enumerate(due) if self._made[row] != when]
        size = self.batch_size
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            self._fill(chunk, [due[row] for row in chunk])
            if len(rows) == len(self.samples):
                self.progress("making defects", start + len(chunk), len(rows))

    def read(self, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Levels and (len(rows), H, W) bool masks of some images."""
        rows = list(rows)
        return [level[rows] for level in self._levels], self._masks[rows]

    def _last_made(self, epoch: int, row: int) -> int:
        return max(0, epoch - (epoch + row) % self.period) if self.period else 0

    @torch.no_grad()
    def _fill(self, rows: Sequence[int], epochs: Sequence[int]) -> None:
        images = PlainImages([self.samples[row] for row in rows], self.geometry)

        def defective(index: int) -> tuple[Tensor, Tensor]:
            item = images[index]
            if isinstance(item, UnreadSample):  # It was readable when the features were made.
                raise BadImageError(item.fault)
            seed = draw_seed(self.seed, rows[index], epochs[index])
            return self.synthesise(item.image, seed, item.sample.image)

        with ThreadPoolExecutor(_THREADS) as threads:
            read = list(threads.map(defective, range(len(rows))))
        image = torch.stack([one for one, _ in read])
        own = [level.float() for level in self.backbone(image.to(self.device))]
        paths = [str(self.samples[row].image) for row in rows]
        wanted = self.convert(own, paths) if self.convert else own
        levels = [level.cpu() for level in wanted]
        if not self._levels:
            count = len(self.samples)
            self._levels = [level.new_zeros(count, *level.shape[1:]) for level in levels]
            self._masks = torch.zeros(count, *image.shape[-2:], dtype=torch.bool)
        for level, values in zip(self._levels, levels, strict=True):
            level[rows] = values
        self._masks[rows] = torch.stack([mask for _, mask in read])
        for row, epoch in zip(rows, epochs, strict=True):
            self._made[row] = epoch
