"""Few images at once through a backbone on a CPU, against a whole batch."""

from collections.abc import Iterator

import torch
from measuring import Row, in_turns, threads

from adpt.backbones import build_backbone
from adpt.backbones.base import AT_ONCE

IMAGES = 32
NETWORKS = {"efficientnet_lite0": True, "mobilenetv2_100": False, "vit_small_patch16_224": False}
"""Network to whether its weights are at hand; the others' are random."""


@torch.no_grad()
def rows() -> Iterator[Row]:
    """Time of a batch."""
    images = torch.randint(0, 256, (IMAGES, 3, 224, 224), dtype=torch.uint8)
    for count in (1, 2):
        for name, pretrained in NETWORKS.items():
            backbone = build_backbone(name, pretrained=pretrained)
            normal = (images / 255 - backbone.mean[:, None, None]) / backbone.std[:, None, None]
            normal = normal.contiguous(memory_format=torch.channels_last)
            for own, whole in zip(backbone(images), backbone.levels(normal), strict=True):
                torch.testing.assert_close(own, whole, rtol=1e-3, atol=1e-3)

            def at_once(size: int, images=normal, backbone=backbone) -> None:
                for part in images.split(size):
                    backbone.levels(part)

            with threads(count):
                measured = in_turns(lambda: at_once(AT_ONCE), lambda: at_once(IMAGES))
            yield Row(
                "backbone",
                f"{name}, {IMAGES} images of 224 px, {AT_ONCE} at once, {count} thread(s)",
                **measured,
                other_name="all at once",
            )
