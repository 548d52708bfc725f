"""Camera and lighting: turn a scene into a photograph."""

from dataclasses import dataclass

import numpy as np

from adpt.data.procedural.fields import Field, blur, grid, noise
from adpt.data.procedural.scene import Scene


@dataclass(frozen=True)
class View:
    """One camera position: how the product lies before it, and how the scene is lit.

    Attributes:
        angle: Rotation of the product, in degrees.
        scale: Size of the product, relative to its own.
        tilt: Foreshortening along y; 1 is from straight above.
        light: Direction of the light in the picture's plane, in degrees.
        elevation: Height of the light above the plane, in degrees; low light shows relief.
        background: Grey level of the table; None where the product fills the picture.
        exposure: Brightness.
    """

    angle: float = 0.0
    scale: float = 1.0
    tilt: float = 1.0
    light: float = -120.0
    elevation: float = 52.0
    background: float | None = 0.6
    exposure: float = 1.0


@dataclass(frozen=True)
class Exposure:
    """One shot: everything that differs between two photographs of the same scene."""

    light: tuple[float, float, float]
    ambient: float
    illumination: Field
    table: Field | None
    blur: float
    tint: Field
    grain: Field

    @classmethod
    def sample(cls, rng: np.random.Generator, view: View, size: int) -> "Exposure":
        """Sample the nuisances of one shot around what the view prescribes."""
        azimuth = np.radians(view.light + rng.normal(0, 7))
        elevation = np.radians(np.clip(view.elevation + rng.normal(0, 5), 25, 80))
        x, y = grid(size)
        slope = rng.normal(0, 0.05, 2).tolist()
        cloud = 0.018 * noise(rng, size, 0.7, 2.5)
        vignette = rng.uniform(0.02, 0.13) * (x**2 + y**2) / 2
        gain = view.exposure * rng.normal(1, 0.03)
        illumination = gain * (1 + slope[0] * x + slope[1] * y + cloud - vignette)
        warmth = np.asarray((1.0, 0.1, -1.0)) * rng.normal(0, 0.01)
        table = None
        if view.background is not None:
            paper = view.background * rng.normal(1, 0.05) * (1 + rng.normal(0, 0.008, 3))
            fleck = 1 + 0.022 * noise(rng, size, 8, 100, slope=0.5)
            table = fleck[..., None] * paper.astype(np.float32)
        strength = rng.uniform(0.005, 0.013)
        return cls(
            light=(
                float(np.cos(azimuth) * np.cos(elevation)),
                float(np.sin(azimuth) * np.cos(elevation)),
                float(np.sin(elevation)),
            ),
            ambient=float(rng.uniform(0.3, 0.45)),
            illumination=illumination.astype(np.float32),
            table=table,
            blur=float(rng.uniform(0.35, 0.75)) * size / 256,
            tint=(1 + warmth + rng.normal(0, 0.004, 3)).astype(np.float32),
            grain=np.float32(strength) * rng.standard_normal((size, size, 3), np.float32),
        )

    def expose(self, scene: Scene) -> Field:
        """Photograph without sensor noise: (size, size, 3), about 0 to 1."""
        albedo, relief, gloss = scene.flatten()
        size = scene.frame.size
        dy, dx = np.gradient(relief * np.float32(size / 2))
        steep = 1 / np.sqrt(1 + dx * dx + dy * dy)
        lx, ly, lz = self.light
        diffuse = np.maximum(lz - lx * dx - ly * dy, 0) * steep / lz
        half = float(np.sqrt(2 + 2 * lz))
        facing = np.maximum((lz + 1 - lx * dx - ly * dy) / half, 0) * steep
        fourth = np.square(np.square(facing))
        broad = fourth * np.square(fourth)
        narrow = np.square(np.square(np.square(np.square(fourth))))
        shine = gloss * (broad + 0.8 * narrow)
        shade = self.ambient + (1 - self.ambient) * np.minimum(diffuse, 1.7)
        surface = albedo * shade[..., None] + shine[..., None] * (0.35 + 0.65 * albedo)
        silhouette = scene.silhouette
        if self.table is not None:
            surface = self._on_table(surface, silhouette, self.table)
        picture = surface * (self.illumination[..., None] * self.tint)
        return blur(picture.astype(np.float32), self.blur)

    def _on_table(self, surface: Field, silhouette: Field, table: Field) -> Field:
        """Lay the product on the table, with its shadow away from the light."""
        size = silhouette.shape[0]
        lx, ly, lz = self.light
        reach = 0.035 * size / max(lz, 0.3)
        cast = np.roll(silhouette, (round(-ly * reach), round(-lx * reach)), (0, 1))
        shadow = 0.4 * blur(cast, 0.022 * size) + 0.25 * blur(silhouette, 0.01 * size)
        table = table * (1 - shadow)[..., None]
        return np.asarray(table + silhouette[..., None] * (surface - table), dtype=np.float32)

    def develop(
        self, picture: Field, clean: Field
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Add sensor noise and store 8 bits per channel.

        The noise follows the brightness of `clean`, so that a defect changes no pixel but its own.
        """
        noisy = picture + self.grain * np.sqrt(np.clip(clean, 0.02, 1))
        return np.asarray(np.clip(noisy, 0, 1) * 255 + 0.5, dtype=np.uint8)
