"""Products that fill the picture: cloth, wood, metal, stone, leather, wire mesh."""

import numpy as np
from scipy.spatial import cKDTree

from adpt.data.procedural.fields import blur, inside, noise, ramp
from adpt.data.procedural.scene import Frame, Scene, dyed, paint, whole


def woven_cloth(frame: Frame, rng: np.random.Generator) -> Scene:
    """Plain weave whose threads vary in thickness and tone."""
    sway = 0.012 * noise(rng, frame.size, 1, 5)
    threads = 15 * rng.normal(1, 0.02)
    u = (frame.x + sway + 4) * threads + rng.random()
    v = (frame.y + 0.012 * noise(rng, frame.size, 1, 5) + 4) * threads + rng.random()
    tones = rng.normal(1, 0.07, (2, 256)).astype(np.float32)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    warp = np.abs(np.sin(np.pi * u)) ** 0.6 * (1 + 0.55 * np.cos(np.pi * (v - 0.5 + column)))
    weft = np.abs(np.sin(np.pi * v)) ** 0.6 * (1 + 0.55 * np.cos(np.pi * (u + 0.5 + row)))
    over = ramp(warp - weft, -0.12, 0.12)
    tone = over * tones[0][column % 256] + (1 - over) * tones[1][row % 256]
    height = np.maximum(warp, weft)
    dye = dyed(rng, (0.52, 0.56, 0.60), 0.05)
    fluff = 0.05 * noise(rng, frame.size, 20, 110, slope=0.3)
    shade = (0.5 + 0.38 * height) * (tone + fluff + 0.03 * noise(rng, frame.size, 1, 6))
    return Scene(frame, dye * shade[..., None], 0.012 * height, whole(frame), gloss=0.02)


def wood_plank(frame: Frame, rng: np.random.Generator) -> Scene:
    """Planed softwood: year rings, fibres and pores along x."""
    bend = (
        0.10 * noise(rng, frame.size, 0.6, 2.5, stretch=3, angle=frame.angle)
        + rng.normal(0, 0.2) * frame.x**2
    )
    rings = (frame.y + bend + rng.uniform(0, 3)) * rng.uniform(4.5, 6.5)
    phase = rings - np.floor(rings)
    late = ramp(phase, 0.25, 0.92) * (1 - ramp(phase, 0.93, 1.0))
    fibre = noise(rng, frame.size, 6, 120, slope=0.5, stretch=14, angle=frame.angle)
    pores = ramp(noise(rng, frame.size, 20, 120, slope=0.2, stretch=9, angle=frame.angle), 1.6, 2.8)
    light = dyed(rng, (0.78, 0.60, 0.40), 0.05)
    dark = light * np.asarray((0.68, 0.58, 0.48), np.float32)
    albedo = light + (late * rng.uniform(0.55, 0.85))[..., None] * (dark - light)
    albedo *= (1 + 0.05 * fibre - 0.25 * pores)[..., None]
    return Scene(frame, albedo, 0.0012 * fibre - 0.004 * pores, whole(frame), gloss=0.05)


def brushed_metal(frame: Frame, rng: np.random.Generator) -> Scene:
    """Brushed steel sheet with the broad highlight of its grain, and punched holes."""
    grain = noise(rng, frame.size, 8, 125, slope=0.15, stretch=40, angle=frame.angle)
    band = np.exp(-(((frame.y - rng.normal(0, 0.35)) / rng.uniform(0.4, 0.7)) ** 2))
    shade = (
        0.42
        + 0.26 * band
        + 0.045 * grain
        + 0.02 * noise(rng, frame.size, 1, 8, stretch=5, angle=frame.angle)
    )
    albedo = dyed(rng, (1.0, 1.0, 1.02), 0.02) * shade[..., None]
    relief = 0.0009 * grain
    edge = np.full_like(frame.x, 9)
    for x in (-0.62, 0.62):
        for y in (-0.62, 0.62):
            edge = np.minimum(edge, np.hypot(frame.x - x, frame.y - y) - 0.13)
    relief = relief - 0.03 * ramp(edge, 0.05, 0.0)
    return Scene(frame, albedo, relief, inside(-edge, frame.pixel), gloss=0.16)


def speckled_stone(frame: Frame, rng: np.random.Generator) -> Scene:
    """Polished granite: grains of quartz, feldspar and mica."""
    size = frame.size
    base = dyed(rng, (0.60, 0.57, 0.55), 0.04)
    feldspar = ramp(noise(rng, size, 5, 18, slope=0.4), 0.35, 0.6)
    quartz = ramp(noise(rng, size, 7, 30, slope=0.3), 0.8, 1.0)
    mica = ramp(noise(rng, size, 12, 50, slope=0.3), 1.15, 1.35)
    albedo = paint(
        (base, whole(frame)),
        (dyed(rng, (0.70, 0.55, 0.49), 0.05), 0.75 * feldspar),
        (dyed(rng, (0.80, 0.80, 0.79), 0.03), 0.8 * quartz),
        (dyed(rng, (0.15, 0.15, 0.16), 0.08), 0.9 * mica),
    )
    albedo *= (1 + 0.05 * noise(rng, size, 6, 100, slope=0.4))[..., None]
    return Scene(frame, albedo, 0.0004 * noise(rng, size, 4, 60), whole(frame), gloss=0.06)


def leather(frame: Frame, rng: np.random.Generator) -> Scene:
    """Grained leather: irregular cells with creases between them."""
    size = frame.size
    step = 0.085
    axis = np.arange(-2.2, 2.2, step)
    seeds = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    seeds = seeds + rng.uniform(-0.48, 0.48, seeds.shape) * step + rng.uniform(0, step, 2)
    points = np.stack(
        (
            frame.x + 0.02 * noise(rng, size, 2, 16),
            (frame.y + 0.02 * noise(rng, size, 2, 16)) * rng.uniform(1.0, 1.25),
        ),
        -1,
    )
    near, _ = cKDTree(seeds).query(points.reshape(-1, 2), k=2)
    crease = (near[:, 1] - near[:, 0]).reshape(size, size).astype(np.float32) / step
    cell = ramp(crease, 0.0, 0.42 * float(rng.normal(1, 0.08)))
    fine = noise(rng, size, 25, 110, slope=0.3)
    patchy = noise(rng, size, 0.8, 5)
    hide = dyed(rng, (0.40, 0.235, 0.145), 0.035)
    shade = 0.74 + 0.26 * cell + 0.02 * fine + 0.025 * patchy
    return Scene(
        frame, hide * shade[..., None], 0.011 * cell + 0.0012 * fine, whole(frame), gloss=0.11
    )


def wire_mesh(frame: Frame, rng: np.random.Generator) -> Scene:
    """Woven wire mesh over a table: each wire passes over and under the others."""
    pitch = 5.2 * rng.normal(1, 0.012)
    u = (frame.x + 0.010 * noise(rng, frame.size, 0.8, 3) + 4) * pitch + rng.random()
    v = (frame.y + 0.010 * noise(rng, frame.size, 0.8, 3) + 4) * pitch + rng.random()
    column, row = np.floor(u), np.floor(v)
    radius = 0.155 * rng.normal(1, 0.03)
    across, along = u - column - 0.5, v - row - 0.5
    upright = np.sqrt(np.maximum(radius**2 - across**2, 0))
    level = np.sqrt(np.maximum(radius**2 - along**2, 0))
    wave = 0.11 * np.cos(np.pi * (v - 0.5 + column))
    other = -0.11 * np.cos(np.pi * (u - 0.5 + row))
    soft = frame.pixel * pitch
    one, two = inside(np.abs(across) - radius, soft), inside(np.abs(along) - radius, soft)
    top = np.where(one > 0.5, upright + wave, -1)
    side = np.where(two > 0.5, level + other, -1)
    relief = np.maximum(np.maximum(top, side), -0.1)
    galvanised = dyed(rng, (0.50, 0.51, 0.52), 0.05)
    spots = (
        1 + 0.07 * noise(rng, frame.size, 12, 90, slope=0.4) + 0.05 * noise(rng, frame.size, 1, 5)
    )
    shade = spots * (1 - 0.35 * (top < side) * ramp(np.abs(along), radius * 1.7, radius))
    height = blur((relief / pitch).astype(np.float32), 0.5 * frame.size / 256)
    return Scene(
        frame,
        galvanised * shade[..., None].astype(np.float32),
        0.8 * height,
        np.maximum(one, two),
        gloss=0.30,
    )
