"""The products: how each is rendered, how it lies before each camera, what can be wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adpt.data.procedural.board import circuit_board
from adpt.data.procedural.camera import View
from adpt.data.procedural.metalware import gear, hex_bolt, key
from adpt.data.procedural.printed import capsule, carton, crown_cap, cup
from adpt.data.procedural.scene import Frame, Scene
from adpt.data.procedural.textures import (
    brushed_metal,
    leather,
    speckled_stone,
    wire_mesh,
    wood_plank,
    woven_cloth,
)


@dataclass(frozen=True)
class Product:
    """A product and how it is photographed.

    Attributes:
        render: Renders one specimen.
        defects: Names in `defects.DEFECTS` of what can be wrong with it.
        views: Camera positions by name.
        play: How loosely it lies: standard deviations of rotation (degrees), shift (units of half
            a picture) and scale.
    """

    render: Callable[[Frame, np.random.Generator], Scene]
    defects: tuple[str, ...]
    views: dict[str, View]
    play: tuple[float, float, float] = (3.0, 0.02, 0.015)


_FLAT = {
    "C1": View(background=None),
    "C2": View(angle=90, scale=1.15, light=160, elevation=38, background=None, exposure=0.86),
    "C3": View(angle=35, tilt=0.82, light=-30, elevation=60, background=None, exposure=1.08),
}
_PUNCHED = {name: replace(view, background=0.1) for name, view in _FLAT.items()}
_OBJECT = {
    "C1": View(background=0.60),
    "C2": View(angle=68, scale=0.9, light=150, elevation=40, background=0.22, exposure=0.95),
    "C3": View(angle=-25, tilt=0.80, light=-40, elevation=60, background=0.80, exposure=1.04),
}
_TEXTURE_PLAY = (3.0, 0.0, 0.03)

PRETRAINING_PRODUCTS: dict[str, Product] = {
    "woven_cloth": Product(
        woven_cloth, ("scratch", "stain", "fibre", "bend", "particle"), _FLAT, _TEXTURE_PLAY
    ),
    "wood_plank": Product(
        wood_plank, ("scratch", "stain", "crack", "dent", "particle"), _FLAT, _TEXTURE_PLAY
    ),
    "brushed_metal": Product(
        brushed_metal, ("scratch", "dent", "abrasion", "stain", "fibre"), _PUNCHED
    ),
    "speckled_stone": Product(
        speckled_stone, ("crack", "stain", "scratch", "dent", "fibre"), _FLAT, _TEXTURE_PLAY
    ),
    "hex_bolt": Product(hex_bolt, ("dent", "scratch", "chip", "stain", "particle"), _OBJECT),
    "gear": Product(
        gear, ("chip", "crack", "scratch", "stain", "fibre"), _OBJECT, (30, 0.02, 0.015)
    ),
    "capsule": Product(capsule, ("dent", "misprint", "crack", "stain", "particle"), _OBJECT),
    "carton": Product(carton, ("misprint", "scratch", "dent", "stain", "abrasion"), _OBJECT),
    "crown_cap": Product(
        crown_cap, ("misprint", "dent", "scratch", "chip", "abrasion"), _OBJECT, (15, 0.02, 0.015)
    ),
    "circuit_board": Product(
        circuit_board, ("missing", "scratch", "particle", "stain", "misprint"), _OBJECT
    ),
}
"""Ten products, each seen from three cameras."""

_SINGLE = {"C1": View(background=None)}

DOWNSTREAM_PRODUCTS: dict[str, Product] = {
    "cup": Product(
        cup,
        ("chip", "crack", "stain", "misprint"),
        {"C1": View(background=0.42, light=-60)},
        (9.0, 0.025, 0.015),
    ),
    "key": Product(
        key,
        ("bend", "scratch", "dent", "particle"),
        {"C1": View(background=0.66, light=-130)},
        (2.5, 0.015, 0.01),
    ),
    "leather": Product(leather, ("scratch", "dent", "stain", "fibre"), _SINGLE, _TEXTURE_PLAY),
    "wire_mesh": Product(
        wire_mesh,
        ("bend", "chip", "particle", "stain"),
        {"C1": View(background=0.34, elevation=45)},
        (3.0, 0.0, 0.02),
    ),
}
"""Four products of other kinds than those for pretraining."""
