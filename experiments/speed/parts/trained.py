"""An epoch of each trained method on cached features: time, operations, images encoded.

CFLOW's and UniAD's stand beside as many operations of one large matrix product, timed before and
after them. The authors' code encodes in every epoch what the method looks at: each image, for GLASS
the image and its defect. What that would add is told beside the time.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measuring import Row, seconds
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adpt.backbones import Backbone, build_backbone
from adpt.data import Folder
from adpt.data.texture_defects import TextureDefects
from adpt.evaluation import FeatureCache, extract
from adpt.evaluation.defect_pool import DefectPool
from adpt.methods import CFlow, Glass, UniAD
from adpt.methods.feature_sets import FeatureSet
from adpt.methods.trained import TrainedMethod
from parts.ceilings import best
from parts.products import LEAST
from parts.products import SIDE as SQUARE

IMAGES, SIDE, REFRESH = 209, 224, 0.1
CPU = torch.device("cpu")


class Counted(torch.nn.Module):
    """A backbone that counts the images it encodes."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.images = backbone, 0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images."""
        self.images += len(images)
        levels: list[Tensor] = self.backbone(images)
        return levels


def draw(product: Path, images: int, side: int) -> None:
    """A product of noisy pictures, and one test image."""
    generator = torch.Generator().manual_seed(0)
    good = [product / "train/good" / f"{number:03}.png" for number in range(images)]
    for path in (*good, product / "test/good/000.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (side, side, 3), generator=generator).byte()
        Image.fromarray(pixels.numpy()).save(path, compress_level=1)


def read(root: Path, side: int) -> Folder:
    """The drawn products, eight images at a time."""
    data = Folder(root, image_size=side, batch_size=8, num_workers=0)
    data.setup("test")
    return data


def epoch(method: TrainedMethod, features: FeatureSet, defects: DefectPool | None) -> float:
    """Seconds of the last epoch of one or two."""
    ends = [time.perf_counter()]
    method.train_on(
        features, CPU, defects=defects, after_epoch=lambda *_: ends.append(time.perf_counter())
    )
    return ends[-1] - ends[-2]


def operation() -> float:
    """Seconds that one operation takes at the ceiling, with torch's present threads."""
    square = torch.randn(SQUARE, SQUARE)
    return best(lambda: square @ square) / (2 * SQUARE**3)


def rows(images: int = IMAGES, side: int = SIDE, model: str | None = None) -> Iterator[Row]:
    """An epoch of each trained method."""
    torch.manual_seed(0)
    model = model or "vit_small_patch14_dinov2.lvd142m"
    backbone = build_backbone(model, pretrained=False, image_size=side)
    counted = Counted(backbone)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "set/drawn", images, side)
        data = read(Path(folder) / "set", side)
        cache = FeatureCache(Path(folder) / "cache", max_gb=10)
        samples = data.select("train", label=0)
        features = extract(backbone, data, samples, device=CPU, cache=cache)
        batch = torch.zeros(8, 3, side, side, dtype=torch.uint8)
        encoding = statistics.median(seconds(lambda: backbone(batch)) for _ in range(5)) / 8
        methods: list[TrainedMethod] = [
            CFlow(image_size=side, epochs=1),
            UniAD(image_size=side, epochs=1),
            # All defects are drawn before its first epoch.
            Glass(image_size=side, epochs=2),
        ]
        for method in methods:
            defects, due, literal, at_ceiling = None, 0.0, images, None
            if method.uses_defects:
                pool_backbone: Backbone = counted  # type: ignore[assignment]
                draws = TextureDefects(geometry=data.geometry)
                defects = DefectPool(
                    samples,
                    data.geometry,
                    pool_backbone,
                    draws,
                    batch_size=data.batch_size,
                    device=CPU,
                    refresh=REFRESH,
                )
                due, literal = REFRESH * images + 1, 2 * images
            else:
                few = extract(backbone, data, samples[:8], device=CPU, cache=cache)
                with FlopCounterMode(display=False) as operations:
                    epoch(type(method)(image_size=side, epochs=1), few.source, None)
                each = operations.get_total_flops() / len(few)
                yield Row(
                    f"{type(method).__name__} epoch",
                    "operations of an image, forward and backward",
                    each / 1e9,
                    unit="GFLOP",
                )
                at_ceiling = each * images
            counted.images = 0
            before = operation()
            ours = epoch(method, features.source, defects)
            if at_ceiling is not None:
                at_ceiling *= min(before, operation())
            encoded = counted.images - (images if defects else 0)
            name = f"{type(method).__name__} epoch"
            work = f"{images} images from the feature cache, levels of {list(backbone.channels)}"
            again = encoding * (literal - encoded)
            yield Row(
                name,
                f"{work}, {torch.get_num_threads()} threads",
                ours,
                at_ceiling,
                "as many operations at the ceiling" if at_ceiling else "",
                ratio=at_ceiling and at_ceiling / ours,
                goal=LEAST if at_ceiling else None,
                note=f"once; encoding anew would add {again:.0f} s",
            )
            yield Row(
                "the same, encoded",
                f"of {literal} images that the authors' way encodes",
                encoded,
                unit="images",
                goal=due,
                kind="limit",
            )
