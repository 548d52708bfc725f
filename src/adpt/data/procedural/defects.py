"""Defects: each takes a sound scene and returns it with one fault.

All are generic; they find their place from the silhouette and from the layers' kinds. `strength`
is about 1; more makes a defect larger or clearer (used where a first try came out invisible).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from adpt.data.procedural.fields import Field, blur, grid, noise, ramp
from adpt.data.procedural.scene import Layer, Scene
from adpt.data.procedural.strokes import blob, path, point_in, rim_spot, spot, stroke

Defect = Callable[[Scene, np.random.Generator, float], Scene]


def _contrast(rng: np.random.Generator, low: float, high: float, strength: float) -> float:
    """Between `low` and `high`, small values as likely as large ones; at most 0.95."""
    return min(float(np.exp(rng.uniform(np.log(low), np.log(high)))) * strength, 0.95)


def _on(scene: Scene, *layers: Layer) -> Scene:
    return replace(scene, layers=(*scene.layers, *layers))


def _tone(rng: np.random.Generator, contrast: float, brighter: float) -> tuple[float, float, float]:
    """Factor on the surface's colour, brighter with that probability, else darker."""
    factor = 1 + contrast * 0.8 if rng.random() < brighter else 1 - contrast
    return (factor, factor, factor)


def scratch(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """One to three thin grooves that run the same way and fade along their length."""
    size = scene.frame.size
    start, heading = spot(scene, rng), rng.uniform(0, 2 * np.pi)
    cover = np.zeros((size, size), np.float32)
    for _ in range(rng.choice((1, 1, 2, 3))):
        length = rng.uniform(0.25, 0.8) * min(strength, 1.5)
        at = (start[0] + rng.normal(0, 0.025), start[1] + rng.normal(0, 0.025))
        line = path(rng, at, heading + rng.normal(0, 0.06), length, rng.normal(0, 0.35), 0.015)
        cover = np.maximum(cover, stroke(size, line, rng.uniform(0.010, 0.026)))
    cover *= np.clip(0.85 + 0.3 * noise(rng, size, 2, 30), 0.25, 1)
    contrast = _contrast(rng, 0.35, 0.85, strength)
    groove = -rng.uniform(0.002, 0.006) * cover
    return _on(scene, Layer("mark", cover, _tone(rng, contrast, 0.55), groove, multiply=True))


def abrasion(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A rubbed patch: many fine parallel hairlines and a dulled surface."""
    size = scene.frame.size
    patch = blob(rng, size, spot(scene, rng, 0.08), rng.uniform(0.10, 0.26), 0.25)
    x, y = grid(size)
    turn = rng.uniform(0, np.pi)
    across = (np.cos(turn) * x + np.sin(turn) * y) * 55 + 2.5 * noise(rng, size, 2, 20)
    lines = 0.45 + 0.55 * ramp(np.sin(across).astype(np.float32), 0.1, 0.9)
    cover = (ramp(patch, 0.15, -0.5) * lines).astype(np.float32)
    contrast = _contrast(rng, 0.18, 0.5, strength)
    return _on(scene, Layer("mark", cover, _tone(rng, contrast, 0.7), -0.002 * cover, True, 0.04))


def dent(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A smooth hollow or bump that shows by its shading only."""
    size = scene.frame.size
    radius = rng.uniform(0.07, 0.18)
    hollow = np.exp(-((blob(rng, size, spot(scene, rng, 0.06), radius, 0.12) + 1) ** 2) * 2)
    depth = radius * _contrast(rng, 0.3, 0.9, strength) * rng.choice((-1, -1, -1, 1))
    return replace(scene, relief=(scene.relief + depth * hollow).astype(np.float32))


def stain(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A dried liquid: tinted, mottled, sometimes with a darker rim."""
    size = scene.frame.size
    radius = rng.uniform(0.08, 0.24)
    shape = blob(rng, size, spot(scene, rng), radius, 0.22)
    body = ramp(shape, 0.12, -0.15) * np.clip(0.75 + 0.2 * noise(rng, size, 3, 40), 0, 1)
    rim = ramp(np.abs(shape + 0.06), 0.16, 0.0) * (rng.random() < 0.45)
    contrast = _contrast(rng, 0.22, 0.7, strength)
    hue = np.asarray(((0.8, 1.0, 1.3), (1.0, 1.0, 1.0), (1.2, 1.0, 0.8)))[rng.integers(3)]
    colour = tuple(np.clip(1 - contrast * hue, 0.03, 1).tolist())
    cover = np.clip(body + 0.5 * rim, 0, 1).astype(np.float32)
    gloss = scene.gloss + 0.15 if rng.random() < 0.4 else None
    return _on(scene, Layer("mark", cover, colour, None, True, gloss))


def crack(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A jagged dark line with branches."""
    size = scene.frame.size
    start, heading = spot(scene, rng), rng.uniform(0, 2 * np.pi)
    main = path(rng, start, heading, rng.uniform(0.2, 0.6) * min(strength, 1.5), 0.0, 0.33)
    width = rng.uniform(0.007, 0.017)
    cover = stroke(size, main, width)
    for _ in range(rng.integers(0, 4)):
        fork = tuple(main[rng.integers(4, 20)].tolist())
        turn = heading + rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)
        side = path(rng, fork, turn, rng.uniform(0.06, 0.2), 0.0, 0.3)
        cover = np.maximum(cover, stroke(size, side, 0.7 * width))
    dark = 1 - _contrast(rng, 0.35, 0.85, strength)
    return _on(scene, Layer("mark", cover, (dark,) * 3, -0.006 * cover, multiply=True))


def chip(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A piece broken out of the edge: the table shows, the break is rough."""
    size = scene.frame.size
    radius = rng.uniform(0.05, 0.13) * min(strength, 2)
    shape = blob(rng, size, rim_spot(scene, rng), radius, 0.25)
    gone = ramp(shape, 3 / size / radius, -3 / size / radius)
    broken = ramp(shape, 0.28, 0.05)
    relief = scene.relief - 0.02 * broken * (1 + 0.5 * noise(rng, size, 15, 90))
    silhouette = (scene.silhouette * (1 - gone)).astype(np.float32)
    return replace(scene, silhouette=silhouette, relief=relief.astype(np.float32))


def bend(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """The product is pushed out of shape locally: outline, pattern and relief move together."""
    size = scene.frame.size
    x, y = grid(size)
    centre, radius = spot(scene, rng), rng.uniform(0.12, 0.26)
    turn, push = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.12) * min(strength, 2)
    weight = np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2) * 2)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    at = (
        rows - weight * np.float32(np.sin(turn) * push * size / 2),
        columns - weight * np.float32(np.cos(turn) * push * size / 2),
    )

    def moved(field: Field) -> Field:
        if field.ndim == 3:
            return np.stack([moved(field[..., c]) for c in range(3)], -1)
        return np.asarray(ndimage.map_coordinates(field, at, order=1, mode="nearest"), np.float32)

    def carried(layer: Layer) -> Layer:
        colour = np.asarray(layer.colour, np.float32)
        return replace(
            layer,
            alpha=moved(layer.alpha),
            colour=moved(colour) if colour.ndim == 3 else layer.colour,
            relief=None if layer.relief is None else moved(layer.relief),
        )

    bulge = 0.35 * push * weight * rng.choice((-1, 1))
    return replace(
        scene,
        albedo=moved(scene.albedo),
        relief=(moved(scene.relief) + bulge).astype(np.float32),
        silhouette=moved(scene.silhouette),
        layers=tuple(carried(layer) for layer in scene.layers),
    )


def particle(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """Foreign matter: one to four grit particles, lying close together."""
    size = scene.frame.size
    centre = spot(scene, rng)
    layers: list[Layer] = []
    grey = rng.uniform(0.08, 0.8)
    colour = tuple(np.clip(grey * (1 + rng.normal(0, 0.15, 3)), 0.03, 0.95).tolist())
    opaque = _contrast(rng, 0.55, 0.95, strength)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = (centre[0] + rng.normal(0, 0.05), centre[1] + rng.normal(0, 0.05))
        radius = rng.uniform(0.025, 0.07) * min(strength, 2)
        shape = blob(rng, size, at, radius, 0.3)
        cover = opaque * ramp(shape, 0.2, -0.2)
        layers.append(_shadow(cover, size))
        layers.append(Layer("mark", cover, colour, 0.6 * radius * ramp(shape, 0.1, -0.8)))
    return _on(scene, *layers)


def fibre(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """A hair or thread that lies on the product, curled, with a faint shadow."""
    size = scene.frame.size
    line = path(
        rng,
        spot(scene, rng),
        rng.uniform(0, 2 * np.pi),
        rng.uniform(0.25, 0.75) * min(strength, 1.5),
        rng.normal(0, 2.2),
        0.12,
    )
    body = stroke(size, line, rng.uniform(0.008, 0.02), taper=False)
    cover = body * _contrast(rng, 0.4, 0.95, strength)
    grey = rng.choice((0.06, 0.2, 0.75, 0.9))
    colour = tuple(np.clip(grey * (1 + rng.normal(0, 0.12, 3)), 0.03, 0.95).tolist())
    return _on(scene, _shadow(cover, size), Layer("mark", cover, colour, 0.006 * cover))


def _shadow(cover: Field, size: int) -> Layer:
    step = max(round(0.006 * size), 1)
    soft = blur(np.roll(cover, (step, step), (0, 1)), 0.005 * size)
    return Layer("mark", 0.45 * soft, (0.35, 0.35, 0.35), multiply=True)


def missing(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """One mounted part is not there, or stands askew; the pads below it show."""
    parts = [i for i, layer in enumerate(scene.layers) if layer.kind == "part"]
    gone = {int(i) for i in rng.choice(parts, min(round(strength), len(parts)), replace=False)}
    return replace(scene, layers=tuple(v for i, v in enumerate(scene.layers) if i not in gone))


def misprint(scene: Scene, rng: np.random.Generator, strength: float) -> Scene:
    """One print is shifted, smeared, faded or partly missing."""
    size = scene.frame.size
    prints = [i for i, layer in enumerate(scene.layers) if layer.kind == "print"]
    index = int(rng.choice(prints))
    layer = scene.layers[index]
    alpha = layer.alpha
    fault = rng.choice(("shift", "smear", "fade", "gap"))
    if fault == "shift":
        turn = rng.uniform(0, 2 * np.pi)
        step = rng.uniform(0.03, 0.08) * strength * size / 2
        alpha = ndimage.shift(alpha, (step * np.sin(turn), step * np.cos(turn)), order=1)
    elif fault == "smear":
        reach = max(round(rng.uniform(0.03, 0.09) * strength * size / 2), 2)
        axis = int(rng.integers(2))
        alpha = 0.35 * alpha + 0.65 * ndimage.uniform_filter1d(alpha, 2 * reach, axis=axis)
    else:
        centre = point_in(alpha > 0.3 * alpha.max(), rng)
        gap = ramp(blob(rng, size, centre, rng.uniform(0.10, 0.22) * strength, 0.35), 0.1, -0.1)
        share = _contrast(rng, 0.3, 0.7, strength) if fault == "fade" else 0.95
        alpha = alpha * (1 - share * gap)
    changed = replace(layer, alpha=np.asarray(alpha, dtype=np.float32))
    return replace(scene, layers=(*scene.layers[:index], changed, *scene.layers[index + 1 :]))


DEFECTS: dict[str, Defect] = {
    defect.__name__: defect
    for defect in (
        scratch, abrasion, dent, stain, crack, chip, bend, particle, fibre, missing, misprint
    )
}  # fmt: skip
"""Every defect by name."""
