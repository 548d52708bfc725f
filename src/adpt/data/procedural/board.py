"""A printed circuit board: traces and pads in fixed places, parts set with some play."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from adpt.data.procedural.fields import Field, box, inside, noise, ramp
from adpt.data.procedural.lettering import lettering
from adpt.data.procedural.scene import Frame, Layer, Scene, dyed

Part = tuple[str, float, float, float, float]
"""Kind, centre (x, y), half sides (along x, along y)."""

PARTS: tuple[Part, ...] = (
    ("chip", -0.30, -0.22, 0.24, 0.24),
    ("chip", 0.42, 0.34, 0.20, 0.13),
    ("can", 0.50, -0.36, 0.17, 0.17),
    ("can", -0.62, 0.46, 0.13, 0.13),
    ("resistor", -0.30, 0.22, 0.075, 0.038),
    ("resistor", -0.08, 0.22, 0.075, 0.038),
    ("resistor", -0.30, 0.36, 0.075, 0.038),
    ("resistor", -0.08, 0.36, 0.075, 0.038),
    ("capacitor", -0.30, 0.54, 0.06, 0.042),
    ("capacitor", -0.08, 0.54, 0.06, 0.042),
    ("capacitor", 0.18, -0.12, 0.042, 0.06),
    ("capacitor", 0.18, -0.34, 0.042, 0.06),
    ("resistor", 0.42, 0.02, 0.075, 0.038),
    ("resistor", 0.66, 0.02, 0.075, 0.038),
    ("resistor", -0.70, -0.10, 0.038, 0.075),
    ("resistor", -0.70, -0.34, 0.038, 0.075),
)


@lru_cache(maxsize=1)
def _traces() -> tuple[tuple[float, float, float, float], ...]:
    """Runs of copper as boxes, the same on every board."""
    rng = np.random.default_rng(11)
    runs: list[tuple[float, float, float, float]] = []
    for _ in range(26):
        x, y, long = (*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.1, 0.4))
        across = rng.random() < 0.5
        runs.append((float(x), float(y), long if across else 0.012, 0.012 if across else long))
    return tuple(runs)


def circuit_board(frame: Frame, rng: np.random.Generator) -> Scene:
    """Green board with chips, resistors, capacitors and cans; the parts can be missing."""
    x, y = frame.x, frame.y
    edge = box(x, y, 0.88, 0.70, 0.03)
    drill = np.full_like(x, 9)
    for cx in (-0.79, 0.79):
        for cy in (-0.61, 0.61):
            drill = np.minimum(drill, np.hypot(x - cx, y - cy) - 0.045)
    copper = np.full_like(x, 9)
    for cx, cy, width, height in _traces():
        copper = np.minimum(copper, np.maximum(np.abs(x - cx) - width, np.abs(y - cy) - height))
    trace = inside(copper, frame.pixel) * inside(edge + 0.04, frame.pixel)
    weave = 0.02 * noise(rng, frame.size, 30, 110, slope=0.2) + 0.03 * noise(rng, frame.size, 1, 6)
    mask = dyed(rng, (0.07, 0.27, 0.17), 0.06)
    albedo = mask * (1 + weave + 0.42 * trace)[..., None]
    tin = (0.66, 0.66, 0.62)
    ring = inside(np.abs(drill - 0.02) - 0.02, frame.pixel)
    layers = [Layer("mark", ring, tin, gloss=0.4)]
    pads = _pads(frame)
    layers += [Layer("mark", pads, tin, 0.004 * pads, gloss=0.4)]
    silk = lettering(frame, "ADP-7 REV C", 0.30, 0.60, 0.46, 0.06)
    layers += [Layer("print", 0.85 * silk, (0.82, 0.83, 0.80))]
    layers += [_mount(frame, rng, part) for part in PARTS]
    return Scene(
        frame,
        albedo.astype(np.float32),
        (0.004 * trace - 0.012 * ramp(edge, -0.015, 0)).astype(np.float32),
        np.minimum(inside(edge, frame.pixel), inside(-drill, frame.pixel)),
        gloss=0.16,
        layers=tuple(layers),
    )


def _pads(frame: Frame) -> Field:
    """Tinned pads under every part."""
    pads = np.zeros_like(frame.x)
    for kind, cx, cy, width, height in PARTS:
        near, at = frame.near(cx, cy, max(width, height) + 0.12)
        x, y = near.x, near.y
        if kind == "chip":
            comb = np.abs(np.mod(x * 14, 1) - 0.5) - 0.24
            rows = np.abs(np.abs(y) - height - 0.02) - 0.05
            shape = np.maximum(np.maximum(comb / 14, rows), np.abs(x) - width)
        elif kind == "can":
            shape = np.hypot(np.abs(x) - width * 0.5, y) - 0.035
        else:
            shape = np.maximum(np.abs(x) - width, np.abs(y) - height) - 0.012
            gap = np.abs(x) if width > height else np.abs(y)
            shape = np.maximum(shape, max(width, height) * 0.45 - gap)
        pads[at] = np.maximum(pads[at], inside(shape, frame.pixel))
    return pads


def _mount(frame: Frame, rng: np.random.Generator, part: Part) -> Layer:
    """One part on the board, with its own relief, colour and marking."""
    kind, cx, cy, width, height = part
    play, turn = rng.normal(0, 0.007, 2).tolist(), rng.normal(0, 0.02)
    near, at = frame.near(cx + play[0], cy + play[1], max(width, height) + 0.04)
    near = replace(near, x=near.x + turn * near.y, y=near.y - turn * near.x)
    local = _BODIES[kind](near, rng, width, height)
    alpha, relief = np.zeros_like(frame.x), np.zeros_like(frame.x)
    colour = np.zeros((*frame.x.shape, 3), np.float32)
    alpha[at], colour[at] = local.alpha, local.colour
    if local.relief is not None:
        relief[at] = local.relief
    return replace(local, alpha=alpha, colour=colour, relief=relief)


def _can(near: Frame, rng: np.random.Generator, w: float, h: float) -> Layer:
    """Electrolytic capacitor from above, with the stripe of its negative side."""
    r = np.hypot(near.x, near.y)
    stripe = inside(box(near.x - w * 0.66, near.y, w * 0.3, w), near.pixel)
    shade = (1 - 0.85 * stripe)[..., None]
    colour = dyed(rng, (0.62, 0.62, 0.63), 0.05) * shade
    return Layer("part", inside(r - w, near.pixel), colour, 0.06 * ramp(r, w, w * 0.82), gloss=0.3)


def _chip(near: Frame, rng: np.random.Generator, w: float, h: float) -> Layer:
    """Black package with its marking and the dot of its first pin."""
    shape = box(near.x, near.y, w, h, 0.008)
    large = w > 0.22
    label = "LX410\n2531" if large else "TB7"
    ink = 0.55 * lettering(near, label, 0.0, 0.02, w * 1.25, h * (0.8 if large else 0.6))
    dot = 0.3 * inside(np.hypot(near.x + w * 0.78, near.y + h * 0.78) - 0.018, near.pixel)
    colour = dyed(rng, (0.075, 0.075, 0.08), 0.1) + 0.5 * np.maximum(ink, dot)[..., None]
    return Layer(
        "part", inside(shape, near.pixel), colour, 0.03 * ramp(shape, 0.0, -0.02), gloss=0.08
    )


def _two_ended(
    near: Frame, rng: np.random.Generator, w: float, h: float, body: tuple[float, float, float]
) -> Layer:
    """Small part with tinned ends."""
    shape = box(near.x, near.y, w, h, 0.008)
    along = near.x / w if w > h else near.y / h
    ends = ramp(np.abs(along), 0.62, 0.70)[..., None]
    colour = dyed(rng, body, 0.08) * (1 - ends) + np.float32(0.68) * ends
    return Layer(
        "part", inside(shape, near.pixel), colour, 0.03 * ramp(shape, 0.0, -0.02), gloss=0.25
    )


_BODIES: dict[str, Callable[[Frame, np.random.Generator, float, float], Layer]] = {
    "chip": _chip,
    "can": _can,
    "resistor": partial(_two_ended, body=(0.09, 0.09, 0.10)),
    "capacitor": partial(_two_ended, body=(0.52, 0.38, 0.24)),
}
