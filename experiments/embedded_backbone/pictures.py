"""What the network learns from: drawn materials, and drawn products with defects.

Whatever is drawn is its own label: which material, which place of which product, which defect.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adpt.data.foreign_textures import render_texture
from adpt.data.procedural.layouts import DEFECT_CODES
from adpt.data.procedural.products import PRETRAINING_PRODUCTS
from adpt.data.procedural.render import Shot, photograph_defect

SIZE, CROP = 224, 96
MATERIALS, SPECIMENS = 600, 24
DEFECTS = ("none", *DEFECT_CODES)
PLACES = 3
"""A product's picture is divided into so many rows and columns."""


@dataclass(frozen=True)
class Batch:
    """Crops (N, 3, CROP, CROP) in [0, 1]; labels are for the first `len(first)`, or the others.

    Attributes:
        images: Collages of two materials, then products.
        first: Material (n,) of each collage.
        second: The other one, (n,).
        share: How much of each pixel the other one covers, (n, 1, CROP, CROP).
        defect: Kind of defect of each product (m,).
        defective: Where it is, (m, 1, CROP, CROP).
        view: Which product in which view, (m,).
        position: Where in the picture each pixel lies, (m, 2, CROP, CROP), x and y in −1 to 1.
    """

    images: Tensor
    first: Tensor
    second: Tensor
    share: Tensor
    defect: Tensor
    defective: Tensor
    view: Tensor
    position: Tensor


class Pictures:
    """All pictures, drawn once; batches are cut from them at random with torch's generator."""

    def __init__(self, seed: int) -> None:
        draws = (np.random.default_rng([seed, index]) for index in range(MATERIALS))
        self.materials = torch.stack([render_texture(rng, (SIZE, SIZE)) for rng in draws])
        pictures, masks, defects, views = [], [], [], []
        for product in PRETRAINING_PRODUCTS:
            for view in PRETRAINING_PRODUCTS[product].views:
                for index in range(SPECIMENS):
                    kinds = PRETRAINING_PRODUCTS[product].defects
                    kind, shot = kinds[index % len(kinds)], Shot(seed, product, view, "NG", index)
                    *both, mask = photograph_defect(PRETRAINING_PRODUCTS[product], shot, SIZE, kind)
                    pictures += [torch.from_numpy(one).permute(2, 0, 1) for one in both]
                    masks += [torch.zeros(SIZE, SIZE, dtype=torch.bool), torch.from_numpy(mask)]
                    defects += [0, DEFECTS.index(kind)]
                    views += [f"{product} {view}"] * 2
        self.products, self.masks = torch.stack(pictures), torch.stack(masks)[:, None]
        self.defects = torch.tensor(defects)
        self.view_names = sorted(set(views))
        self.views = torch.tensor([self.view_names.index(view) for view in views])

    def batch(self, collages: int, products: int) -> Batch:
        """A batch drawn at random."""
        first, second = torch.randint(MATERIALS, (2, collages))
        share = _division(collages)
        under, over = (_cut(self.materials[i], _windows(collages)) for i in (first, second))
        made = _tone(under + share * (over - under))
        chosen = torch.randint(len(self.products), (products,))
        windows = _windows(products)
        cut = _tone(_cut(self.products[chosen], windows))
        return Batch(
            _noise(torch.cat([made, cut])),
            first,
            second,
            share,
            self.defects[chosen],
            F.grid_sample(self.masks[chosen].float(), windows, align_corners=False),
            self.views[chosen],
            windows.permute(0, 3, 1, 2),
        )


def _windows(count: int) -> Tensor:
    """Sampling grids (count, CROP, CROP, 2) of slightly turned and scaled crops."""
    scale = CROP / SIZE * torch.empty(count).uniform_(math.log(0.7), math.log(1.35)).exp()
    turn = torch.empty(count).uniform_(-0.15, 0.15)
    centre = torch.empty(count, 2).uniform_(-1, 1) * (1 - 1.15 * scale)[:, None]
    cos, sin = scale * turn.cos(), scale * turn.sin()
    rows = [torch.stack([cos, -sin, centre[:, 0]], 1), torch.stack([sin, cos, centre[:, 1]], 1)]
    return F.affine_grid(torch.stack(rows, 1), [count, 1, CROP, CROP], align_corners=False)


def _cut(pictures: Tensor, windows: Tensor) -> Tensor:
    return F.grid_sample(
        pictures.float() / 255, windows, padding_mode="reflection", align_corners=False
    )


def _division(count: int) -> Tensor:
    """Smooth masks (count, 1, CROP, CROP) that part crops in two; some are empty."""
    cells = 2 ** int(torch.randint(1, 4, ())) + 1
    field = F.interpolate(torch.randn(count, 1, cells, cells), size=24, mode="bicubic")
    field = F.interpolate(field, size=CROP, mode="bilinear")
    threshold = 2 * torch.rand(count, 1, 1, 1) + 5 * (torch.rand(count, 1, 1, 1) < 0.25)
    return (6 * (field - threshold)).clamp(-0.5, 0.5) + 0.5


def _tone(images: Tensor) -> Tensor:
    """Change brightness, tint and the light's direction; a fifth lose their colours."""
    count = len(images)
    gain = 0.12 * torch.randn(count, 1, 1, 1) + 0.03 * torch.randn(count, 3, 1, 1)
    images = images * gain.exp()
    grey = images.mean(1, keepdim=True)
    images = torch.where(torch.rand(count, 1, 1, 1) < 0.2, grey.expand_as(images), images)
    axis = 0.08 * torch.linspace(-1, 1, CROP)
    slope = torch.randn(2, count, 1, 1, 1)
    return images * (1 + slope[0] * axis[:, None] + slope[1] * axis)


def _noise(images: Tensor) -> Tensor:
    """Blur some a little, add sensor noise, and clip."""
    count = len(images)
    soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    weight = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.3)
    images = images + weight * (soft - images)
    images = images + 0.02 * torch.rand(count, 1, 1, 1) * torch.randn_like(images)
    return images.clamp(0, 1)
