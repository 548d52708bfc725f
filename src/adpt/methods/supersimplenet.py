"""SuperSimpleNet: a discriminator of patches and of images, against noise on features."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.data.perlin import perlin_noise
from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, OptimizerList, Optimizers, Step
from adpt.methods.glass import Discriminator
from adpt.methods.learned import Shape
from adpt.methods.maps import smooth, upsample
from adpt.methods.trained import TrainedMethod, descend

_MARGIN = 0.5
_FOCUS = 4
_UPSCALE = 2
_NEIGHBOURHOOD = 3
_MOST_CELLS_EXPONENT = 6
_EMPTY_SHARE = 0.5
_FALLS, _FALL = (0.8, 0.9), 0.4
_BLUR_RADIUS = 12


class ImageHead(nn.Module):
    """The logit of an image's being anomalous, of its features, `width` channels, and its map."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width + 1, hidden, 5, padding=2)
        self.norm = nn.BatchNorm2d(hidden)
        self.out = nn.Linear(2 * hidden + 2, 1)
        nn.init.xavier_normal_(self.convolution.weight)
        nn.init.xavier_normal_(self.out.weight)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """(B,) of (B, C, h, w) and (B, 1, h, w)."""
        seen = F.relu(self.norm(self.convolution(torch.cat((features, maps), 1))))
        parts = [seen.amax((2, 3)), seen.mean((2, 3)), maps.amax((2, 3)), maps.mean((2, 3))]
        logits: Tensor = self.out(torch.cat(parts, 1))
        return logits.squeeze(1)


class SuperSimpleNet(TrainedMethod):
    """Score patches and images by what tells normal features from noisy ones.

    SuperSimpleNet (arXiv 2408.03143), without anomalous images, with the constants of its authors'
    code; it follows SimpleNet (2303.15140). The last levels are brought to twice the grid of the
    first of them, concatenated, averaged over 3 × 3 patches and mapped linearly. Gaussian noise is
    added where Perlin noise exceeds a threshold, on half of the images. One head scores patches,
    another the image from its features and map, whose gradient does not reach the first. The loss
    is a hinge and a focal loss of the patches and a focal loss of the images. Maps and image scores
    are logits.

    Memory in training: the features take 4·B·4P·ΣC bytes, P patches of the first used level, a
    dozen times over.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch; each is seen twice, with other noise.
        num_levels: How many levels to use, counted from the last; all if there are fewer.
        hidden_dim: Width of the patches' head.
        noise_std: Standard deviation of the noise; the published one fits a WideResNet's features.
        relative_noise: Measure it in standard deviations of a batch's mapped features instead, so
            that it fits features of any length.
        perlin_threshold: Noise is added where Perlin noise exceeds it; 0.6 on VisA.
        learning_rate: Of the linear map; the heads' is twice that. Both fall to 0.4 of it after
            80 % and again after 90 % of the epochs.
        seed: Decides weights, order and noise.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 300,
        batch_size: int = 32,
        *,
        num_levels: int = 2,
        hidden_dim: int = 1024,
        noise_std: float = 0.015,
        relative_noise: bool = False,
        perlin_threshold: float = 0.2,
        learning_rate: float = 1e-4,
        seed: int = 0,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed)
        at_least_one(num_levels=num_levels, hidden_dim=hidden_dim)
        above_zero(noise_std=noise_std, learning_rate=learning_rate)
        if not -1 <= perlin_threshold < 1:
            raise ValueError(
                f"perlin_threshold is {perlin_threshold}: it must be from -1 to below 1."
            )
        self.num_levels, self.hidden_dim, self.noise_std = num_levels, hidden_dim, noise_std
        self.relative_noise = relative_noise
        self.perlin_threshold, self.learning_rate = perlin_threshold, learning_rate

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make the linear map and the heads for levels of these (C, h, w)."""
        used = shapes[-self.num_levels :]
        width = sum(channels for channels, _, _ in used)
        self.grid = (_UPSCALE * used[0][1], _UPSCALE * used[0][2])
        self.adaptor = nn.Conv2d(width, width, 1)
        nn.init.xavier_normal_(self.adaptor.weight)
        self.discriminator = Discriminator(width, self.hidden_dim)
        self.image_head = ImageHead(width)

    def configure_optimizers(self) -> Optimizers:
        """AdamW, whose learning rates fall twice."""
        heads = {"lr": 2 * self.learning_rate, "weight_decay": 1e-5}
        optimizer = torch.optim.AdamW(
            [
                {"params": self.adaptor.parameters(), "lr": self.learning_rate},
                {"params": self.discriminator.parameters(), **heads},
                {"params": self.image_head.parameters(), **heads},
            ]
        )
        falls = [max(1, round(share * self.epochs)) for share in _FALLS]
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, _FALL)]

    def embed(self, levels: list[Tensor]) -> Tensor:
        """Features (B, ΣC, 2h, 2w) before the linear map, h × w the first used level's grid."""
        resized = [
            F.interpolate(level, self.grid, mode="bilinear", align_corners=True)
            for level in levels[-self.num_levels :]
        ]
        return F.avg_pool2d(torch.cat(resized, 1), _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2)

    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of each patch (B, 1, h, w), and of each image (B,); of features (B, C, h, w)."""
        patches = self.discriminator(features.permute(0, 2, 3, 1).flatten(0, 2))
        maps = patches.reshape(features.shape[0], 1, *features.shape[2:])
        return maps, self.image_head(features, maps.detach())

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Tell noise from none; arguments as of `TrainedMethod`."""
        features = self.adaptor(self.embed(levels)).repeat(2, 1, 1, 1)
        noisy = perlin_areas(len(features), self.grid, self.perlin_threshold).to(features.device)
        noise = self.noise_std * torch.randn(features.shape, device=features.device)
        if self.relative_noise:
            noise = noise * features.detach().std()
        maps, images = self.logits(features + noise * noisy)
        loss = hinge(maps, noisy) + focal(maps, noisy) + focal(images, noisy.amax((1, 2, 3)))
        return descend(loss, *optimizers)

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of the patches' logits, and the images' logits; see `Method`."""
        self.eval()  # Batch norm must not look at what else is scored.
        with self.scoring(levels) as levels:
            maps, images = self.logits(self.adaptor(self.embed(levels)))
            large = upsample(maps.squeeze(1), self.image_size, align_corners=False)
            return Scores(smooth(large, radius=_BLUR_RADIUS), images)


def perlin_areas(count: int, grid: tuple[int, int], threshold: float) -> Tensor:
    """Areas (count, 1, h, w) of 1 where Perlin noise exceeds the threshold; half are empty.

    Lattices have 1 to 32 cells a side.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, ())))
    areas = np.zeros((count, 1, *grid), np.float32)
    for area in areas:
        down, across = 2 ** rng.integers(0, _MOST_CELLS_EXPONENT, 2)
        if rng.random() >= _EMPTY_SHARE:
            area[0] = perlin_noise(rng, grid, (int(down), int(across))) > threshold
    return torch.from_numpy(areas)


def hinge(logits: Tensor, noisy: Tensor) -> Tensor:
    """Mean shortfall of logits (N, ...) from −0.5 without noise, plus that from 0.5 with it."""
    missing = F.relu(_MARGIN + torch.where(noisy > 0, -logits, logits))
    means = [missing[some].mean() for some in (noisy == 0, noisy > 0) if some.any()]
    return torch.stack(means).sum()


def focal(logits: Tensor, noisy: Tensor) -> Tensor:
    """Focal loss () of logits against 0 or 1, with exponent 4."""
    missed = F.binary_cross_entropy_with_logits(logits, noisy, reduction="none")
    return (missed * (1 - (-missed).exp()) ** _FOCUS).mean()
