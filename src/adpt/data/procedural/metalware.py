"""Metal objects on a table: bolt, gear, key."""

import numpy as np

from adpt.data.procedural.fields import box, inside, noise, ramp
from adpt.data.procedural.lettering import lettering
from adpt.data.procedural.scene import Frame, Layer, Scene, dyed


def hex_bolt(frame: Frame, rng: np.random.Generator) -> Scene:
    """Bolt lying on its side: hexagonal head, plain shank, thread."""
    x, y = frame.x, frame.y
    thread = ramp(x, -0.12, -0.06)
    wave = np.sin(2 * np.pi * (x * 13 + y * 0.55) + rng.uniform(0, 6.28))
    radius = 0.20 + thread * 0.016 * wave
    shank = box(x - 0.12, y, 0.74, 0.2, 0.03) - (radius - 0.2)
    head = box(x + 0.70, y, 0.15, 0.37, 0.035)
    chamfer = ramp(x, 0.80, 0.86)
    shank = shank + 0.045 * chamfer
    distance = np.minimum(head, shank)
    round_shank = np.sqrt(np.maximum(0.225**2 - y**2, 0))
    facet = 0.34 - 0.42 * np.maximum(np.abs(y) - 0.18, 0)
    facet = facet - 0.06 * ramp(np.abs(x + 0.70), 0.10, 0.16)
    relief = np.where(head < 0, facet, round_shank + 0.016 * thread * wave)
    stains = noise(rng, frame.size, 1, 12)
    grain = noise(rng, frame.size, 20, 110, slope=0.3)
    zinc = dyed(rng, (0.50, 0.50, 0.49), 0.06)
    shade = 1 + 0.05 * stains + 0.04 * grain - 0.18 * thread * (0.5 - 0.5 * wave)
    shade = shade - 0.25 * ramp(np.abs(x + 0.545), 0.03, 0.0)
    return Scene(
        frame,
        (zinc * shade[..., None]).astype(np.float32),
        (0.55 * relief + 0.0004 * grain).astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.28,
    )


def gear(frame: Frame, rng: np.random.Generator) -> Scene:
    """Spur gear from above: teeth, hub, keyway and lightening holes."""
    x, y = frame.x, frame.y
    r, turn = np.hypot(x, y), np.arctan2(y, x)
    tooth = np.clip(2.2 * np.cos(turn * 22), -1, 1)
    rim = r - (0.76 + 0.052 * tooth)
    bore = np.minimum(r - 0.15, box(x, y + 0.15, 0.045, 0.06))
    spoke = (np.mod(turn + np.pi / 6, np.pi / 3) - np.pi / 6).astype(np.float32)
    holes = np.hypot(r * np.cos(spoke) - 0.46, r * np.sin(spoke)) - 0.10
    cut = np.minimum(bore, holes)
    relief = -0.03 * ramp(rim, -0.025, 0.0) - 0.02 * ramp(cut, 0.03, 0.0)
    relief = relief + 0.035 * ramp(r, 0.275, 0.25) + 0.03 * ramp(r, 0.61, 0.64)
    turned = noise(rng, frame.size, 2, 60, slope=0.3)
    rings = 0.35 * np.sin(r * 190 + 0.8 * turned)
    oil = noise(rng, frame.size, 1, 7)
    steel = dyed(rng, (0.42, 0.42, 0.435), 0.07)
    glint = 0.09 * np.cos(2 * (turn - rng.uniform(0, 3.14)))
    shade = 1 + 0.06 * oil + 0.04 * turned + 0.08 * rings + glint
    return Scene(
        frame,
        (steel * shade[..., None]).astype(np.float32),
        (relief + 0.0004 * rings).astype(np.float32),
        np.minimum(inside(rim, frame.pixel), inside(-cut, frame.pixel)),
        gloss=0.24,
    )


def key(frame: Frame, rng: np.random.Generator) -> Scene:
    """Brass key: bow with a hole and a stamped number, blade with its bitting and a groove."""
    x, y = frame.x, frame.y
    bow = np.hypot((x + 0.52) * 0.95, y) - 0.33
    bow = np.maximum(bow, np.abs(y) - 0.29)
    hole = np.hypot(x + 0.68, y) - 0.085
    depths = np.asarray((0.02, 0.10, 0.05, 0.12, 0.07, 0.03, 0.10), np.float32)
    place = np.clip((x - 0.10) / 0.10, 0, depths.size - 1.001)
    cell = np.floor(place).astype(int)
    part = place - cell
    depth = depths[cell] + ramp(part, 0.3, 0.75) * (depths[np.minimum(cell + 1, 6)] - depths[cell])
    blade = box(x - 0.28, y - 0.01, 0.58, 0.135, 0.01)
    blade = np.maximum(blade, -(y + 0.135 - depth * ramp(x, 0.02, 0.1)))
    blade = np.maximum(blade, (x - 0.86) + np.abs(y - 0.03) * 0.9)
    distance = np.maximum(np.minimum(bow, blade), -hole)
    relief = -0.028 * ramp(distance, -0.035, 0.0)
    slot = np.abs(y - 0.045) - 0.022
    relief = relief - 0.03 * ramp(slot, 0.012, -0.012) * ramp(x, -0.17, -0.13)
    rim = ramp(np.abs(bow + 0.07), 0.022, 0.006) * ramp(x, -0.22, -0.28)
    number = lettering(frame, "K 24", -0.42, 0.0, 0.26, 0.12)
    relief = relief + 0.012 * rim
    fine = noise(rng, frame.size, 10, 115, slope=0.3, stretch=5, angle=frame.angle)
    tarnish = noise(rng, frame.size, 1, 9)
    brass = dyed(rng, (0.60, 0.475, 0.245), 0.035)
    shade = 1 + 0.04 * tarnish + 0.05 * fine
    albedo = (
        brass * shade[..., None] * (1 - 0.25 * ramp(slot, 0.005, -0.01) * (x > -0.15))[..., None]
    )
    stamp = Layer("print", number, (0.70, 0.66, 0.60), -0.006 * number, multiply=True)
    return Scene(
        frame,
        albedo.astype(np.float32),
        (relief + 0.0006 * fine).astype(np.float32),
        inside(distance, frame.pixel),
        gloss=0.26,
        layers=(stamp,),
    )
