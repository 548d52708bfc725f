"""What pretraining on Real-IAD and evaluating take, computed from the architectures.

Nothing here is measured. With rates of your own machine:

    python experiments/scaling/table.py --utilisation 0.25 --cores 32 --images-per-core 150
"""

import argparse
from dataclasses import dataclass

IMAGES, NORMAL, GROUPS = 151_050, 99_721, 30 * 5  # Real-IAD; groups are classes times views.
EPOCHS, BATCH, POOL, REFERENCES, LEVELS = 10, 32, 16, 2048, 4
SHOTS = (1 + 4 + 8) / 3  # on average
CENTRE_SHOTS = 4
SETS = {"MVTec AD": 5_354, "VisA": 10_821, "Real-IAD": IMAGES}


@dataclass(frozen=True)
class Transformer:
    """A backbone at 224 px: its blocks up to the last level used, all of one width."""

    blocks: int
    width: int
    patch: int

    @property
    def patches(self) -> int:
        """Of an image."""
        return (224 // self.patch) ** 2

    @property
    def parameters(self) -> float:
        """Of the blocks and the patch embedding; norms and biases are left out."""
        return 12 * self.blocks * self.width**2 + 3 * self.patch**2 * self.width

    @property
    def flop(self) -> float:
        """Of one image: matrix products of the blocks, attention, patch embedding."""
        tokens, width = self.patches + 1, self.width
        block = 24 * tokens * width**2 + 4 * tokens**2 * width
        return self.blocks * block + 6 * self.patches * self.patch**2 * width


BACKBONES = {
    "dinov2_b": Transformer(12, 768, 14),
    "dinov2_l": Transformer(24, 1024, 14),
    "clip_b": Transformer(12, 768, 16),
    "clip_l": Transformer(24, 1024, 14),
    "imagebind": Transformer(32, 1280, 14),
}


def projector_parameters(width: int) -> float:
    """Of all levels: reference map, attention, MLP and gate; biases are left out."""
    squeezed = (width // 4 + 4) // 8 * 8
    level = width**2 + 4 * width**2 + 8 * width**2 + 8 * width * squeezed + REFERENCES * width
    return LEVELS * level


def projector_flop(width: int, patches: int, images: int) -> float:
    """Of all levels, forward: every patch, then keys and values of the references once."""
    patch = 20 * width**2 + 4 * REFERENCES * width
    return LEVELS * (images * patches * patch + 6 * REFERENCES * width**2)


def matching_flop(width: int, patches: int, shots: float) -> float:
    """Of one image: similarities of its patches to those of its references, all levels."""
    return LEVELS * 2 * shots * patches**2 * width


def loss_flop(width: int, patches: int, anomalous: float = 0.05) -> float:
    """Of a step: similarities of normal to anomalous patches and their gradient, all levels."""
    anchors = 2 * BATCH * patches
    return LEVELS * 3 * 2 * anchors**2 * anomalous * (1 - anomalous) * width


@dataclass(frozen=True)
class Needs:
    """What a backbone takes; FLOP, bytes."""

    backbone: Transformer

    @property
    def step(self) -> float:
        """FLOP of a step on two views of each image; the backward pass counts twice the forward."""
        b = self.backbone
        frozen = 2 * BATCH * (b.flop + matching_flop(b.width, b.patches, SHOTS))
        learned = 3 * projector_flop(b.width, b.patches, 2 * BATCH)
        return frozen + learned + loss_flop(b.width, b.patches)

    @property
    def epoch(self) -> float:
        """FLOP of an epoch, its pool of references included."""
        return IMAGES / BATCH * self.step + GROUPS * POOL * self.backbone.flop

    @property
    def centres(self) -> float:
        """FLOP of the centres, computed once."""
        b = self.backbone
        return NORMAL * (b.flop + matching_flop(b.width, b.patches, CENTRE_SHOTS))

    @property
    def image_bytes(self) -> float:
        """Of an image's features on disk, float32."""
        return 4 * LEVELS * self.backbone.patches * self.backbone.width

    @property
    def pool(self) -> float:
        """Of the references encoded once an epoch, in bf16, without a limit."""
        return POOL * GROUPS * self.image_bytes / 2

    @property
    def checkpoint(self) -> float:
        """Weights and Adam's two moments, float32."""
        return 12 * projector_parameters(self.backbone.width)

    @property
    def memory(self) -> float:
        """On the GPU: weights, what learns with gradient and moments, pool, activations.

        Kept for the backward pass are some 17 values of 2 bytes a patch and channel.
        """
        b = self.backbone
        activations = LEVELS * 2 * BATCH * b.patches * b.width * 17 * 2
        learned = 16 * projector_parameters(b.width)
        return 4 * b.parameters + learned + min(self.pool, 4e9) + activations


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=float, default=989e12, help="FLOP/s of the GPU in bf16")
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="share of it that is reached"
    )
    parser.add_argument("--cores", type=int, default=16, help="cores that read images")
    parser.add_argument("--images-per-core", type=float, default=180, help="read per second")
    given = parser.parse_args()
    rate, reading = given.peak * given.utilisation, given.cores * given.images_per_core
    print(
        "| backbone | GFLOP an image | TFLOP a step | images/s, GPU | images/s, reading"
        " | hours for 10 epochs | GPU memory | checkpoint | projector |\n" + "|---" * 9 + "|"
    )
    for name, backbone in BACKBONES.items():
        needs = Needs(backbone)
        seconds = max(EPOCHS * needs.epoch / rate, EPOCHS * IMAGES / reading)
        seconds += max(needs.centres / rate, NORMAL / reading)
        figures = [
            f"{backbone.flop / 1e9:.0f}",
            f"{needs.step / 1e12:.1f}",
            f"{BATCH * rate / needs.step:,.0f}",
            f"{reading:,.0f}",
            f"{seconds / 3600:.1f}",
            f"{needs.memory / 1e9:.0f} GB",
            f"{needs.checkpoint / 1e9:.2f} GB",
            f"{needs.checkpoint / 3e9:.2f} GB",
        ]
        print("|", " | ".join([name, *figures]), "|")
    print("\n| backbone | an image | " + " | ".join(SETS) + " |\n" + "|---" * (2 + len(SETS)) + "|")
    for name, backbone in BACKBONES.items():
        one = Needs(backbone).image_bytes
        figures = [f"{one / 1e6:.1f} MB", *(f"{one * n / 1e9:,.0f} GB" for n in SETS.values())]
        print("|", " | ".join([name, *figures]), "|")


if __name__ == "__main__":
    main()
