"""Objects that bear print or parts: capsule, carton, crown cap, circuit board, cup."""

import numpy as np

from adpt.data.procedural.fields import box, inside, noise, ramp, rod
from adpt.data.procedural.lettering import Barcode, lettering
from adpt.data.procedural.scene import Frame, Layer, Scene, dyed, paint, whole


def capsule(frame: Frame, rng: np.random.Generator) -> Scene:
    """Two-coloured gelatine capsule with a printed code on each half."""
    x, y = frame.x, frame.y
    wide = ramp(x, -0.015, 0.005)
    distance = rod(x, y, 0.46, 0.305) - 0.012 * wide
    across = np.hypot(np.maximum(np.abs(x) - 0.46, 0), y)
    relief = np.sqrt(np.maximum(0.335**2 - across**2, 0)) + 0.01 * wide
    cap, body = dyed(rng, (0.58, 0.13, 0.11), 0.05), dyed(rng, (0.83, 0.80, 0.70), 0.03)
    albedo = paint((body, whole(frame)), (cap, wide))
    albedo *= (1 + 0.025 * noise(rng, frame.size, 1, 30))[..., None]
    slide = rng.normal(0, 0.012)
    ink = 0.85 * lettering(frame, "ADP", -0.27 + slide, 0.0, 0.30, 0.13)
    code = 0.85 * lettering(frame, "250", 0.27 + slide, 0.0, 0.27, 0.13)
    return Scene(
        frame,
        albedo,
        (0.6 * relief).astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.42,
        layers=(
            Layer("print", ink, (0.18, 0.17, 0.2)),
            Layer("print", code, (0.88, 0.84, 0.80)),
        ),
    )


def carton(frame: Frame, rng: np.random.Generator) -> Scene:
    """Folding box with a colour band, a title, small print, a seal and a bar code."""
    x, y = frame.x, frame.y
    distance = box(x, y, 0.80, 0.66, 0.015)
    board = dyed(rng, (0.86, 0.85, 0.82), 0.03)
    fibre = noise(rng, frame.size, 8, 110, slope=0.3)
    band = inside(np.abs(y + 0.40) - 0.13, frame.pixel)
    ink = 1 - 0.06 * np.abs(noise(rng, frame.size, 2, 60))
    sx, sy = rng.normal(0, 0.006, 2)
    seal = inside(np.abs(np.hypot(x - 0.53, y - 0.06) - 0.14) - 0.018, frame.pixel)
    seal = np.maximum(seal, lettering(frame, "CE", 0.53, 0.06, 0.15, 0.10))
    small = "Contents: 12 pieces, type B\nStore in a dry place, 5-25 C\nLot 4471-08  Use by 06/28"
    prints = (
        Layer("print", (band * ink).astype(np.float32), dyed(rng, (0.10, 0.30, 0.46), 0.05)),
        Layer("print", lettering(frame, "ADAPTON", -0.2, -0.40, 0.98, 0.14), board),
        Layer("print", 0.9 * lettering(frame, small, -0.20, -0.02, 0.98, 0.30), (0.2,) * 3),
        Layer("print", 0.9 * lettering(frame, Barcode(7), -0.32, 0.42, 0.66, 0.24), (0.1,) * 3),
        Layer("print", 0.8 * seal, dyed(rng, (0.66, 0.20, 0.14), 0.05)),
        Layer("print", lettering(frame, "24", 0.52, 0.42, 0.24, 0.2), (0.10, 0.30, 0.46)),
    )
    moved = Frame(frame.size, x - sx, y - sy, frame.pixel)
    date = lettering(moved, "06 28 F", 0.56, -0.2, 0.30, 0.06)
    relief = -0.02 * ramp(distance, -0.03, 0.0) + 0.0006 * fibre
    return Scene(
        frame,
        board * (1 + 0.012 * fibre + 0.02 * noise(rng, frame.size, 1, 5))[..., None],
        relief.astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.07,
        layers=(*prints, Layer("print", 0.75 * date, (0.25, 0.25, 0.3))),
    )


def crown_cap(frame: Frame, rng: np.random.Generator) -> Scene:
    """Crown cap from above: crimped skirt, lacquer with a printed ring, star and name."""
    x, y = frame.x, frame.y
    r, turn = np.hypot(x, y), np.arctan2(y, x)
    crimp = np.cos(turn * 21)
    distance = r - (0.78 + 0.026 * crimp)
    skirt = ramp(r, 0.60, 0.78)
    relief = -0.17 * skirt**1.5 + 0.028 * crimp * skirt + 0.012 * ramp(r, 0.585, 0.55)
    lacquer = dyed(rng, (0.66, 0.50, 0.13), 0.05)
    peel = noise(rng, frame.size, 8, 70, slope=0.5)
    dirt = noise(rng, frame.size, 1, 8)
    albedo = lacquer * (1 + 0.015 * peel + 0.03 * dirt)[..., None]
    ring = inside(np.abs(r - 0.50) - 0.02, frame.pixel)
    up = np.mod(np.arctan2(y + 0.1, x) + np.pi / 2 + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    spread = np.cos(up) + 1.6 * np.abs(np.sin(up))
    star = inside(np.hypot(x, y + 0.1) * spread - 0.30, frame.pixel)
    red = dyed(rng, (0.50, 0.09, 0.07), 0.05)
    name = lettering(frame, "BRAUHOF", 0.0, 0.30, 0.50, 0.095)
    return Scene(
        frame,
        albedo,
        (relief + 0.0009 * peel).astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.32,
        layers=(
            Layer("print", 0.93 * ring, red),
            Layer("print", 0.93 * star, red),
            Layer("print", 0.9 * name, red),
        ),
    )


def cup(frame: Frame, rng: np.random.Generator) -> Scene:
    """Glazed cup from above: rim, deep bowl, handle, a painted line on the rim."""
    x, y = frame.x, frame.y
    r = np.hypot(x, y)
    wall = r - 0.66
    handle = np.maximum(np.hypot((x - 0.72) * 1.1, y * 0.9) - 0.24, -(np.hypot(x - 0.70, y) - 0.12))
    handle = np.maximum(handle, -(r - 0.62))
    distance = np.minimum(wall, handle)
    bowl = ramp(r, 0.58, 0.28)
    relief = 0.05 * np.sqrt(np.maximum(1 - ((r - 0.615) / 0.055) ** 2, 0)) - 0.26 * bowl
    relief = relief + 0.012 * ramp(np.abs(r - 0.24), 0.03, 0.0)
    grip = np.sqrt(np.maximum(1 - ((np.hypot(x - 0.71, y * 0.85) - 0.18) / 0.075) ** 2, 0))
    relief = np.where(wall < 0, relief, 0.05 * grip)
    glaze = dyed(rng, (0.70, 0.735, 0.74), 0.03)
    mottle = noise(rng, frame.size, 2, 25)
    specks = ramp(noise(rng, frame.size, 25, 90, slope=0.1), 2.6, 3.1)
    depth = 1 - 0.30 * bowl * (1 + 0.25 * (x * rng.normal(0, 0.6) + y))
    albedo = glaze * (depth * (1 + 0.016 * mottle - 0.22 * specks))[..., None]
    line = 0.85 * inside(np.abs(r - 0.655 + 0.01 * rng.random()) - 0.018, frame.pixel)
    crest = inside(np.abs(np.hypot(x, y) - 0.17) - 0.008, frame.pixel)
    crest = np.maximum(crest, lettering(frame, "P", 0.0, 0.0, 0.10, 0.16))
    cobalt = dyed(rng, (0.13, 0.20, 0.40), 0.06)
    return Scene(
        frame,
        albedo.astype(np.float32),
        (relief + 0.0004 * mottle).astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.55,
        layers=(Layer("print", line, cobalt), Layer("print", 0.7 * crest, cobalt)),
    )
