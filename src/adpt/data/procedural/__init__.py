"""Rendern product images: data sets that need no download.

One idea per file, imports going down only: `fields` (noise, edges of shapes) → `scene` (colours and
relief of a product) → `lettering`, `textures`, `metalware`, `board`, `printed` (the products) and
`strokes`, `defects` (what can be wrong) → `camera`, `products`, `render` (photographs and masks) →
`layouts`, `writer` (files).
"""

from adpt.data.procedural.catalogue import DOWNSTREAM_PRODUCTS, PRETRAINING_PRODUCTS, Product
from adpt.data.procedural.writer import render_downstream_set, render_pretraining_set

__all__ = [
    "DOWNSTREAM_PRODUCTS",
    "PRETRAINING_PRODUCTS",
    "Product",
    "render_downstream_set",
    "render_pretraining_set",
]
