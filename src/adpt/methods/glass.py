"""GLASS: a discriminator learns normal patches against synthetic anomalies near them."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.methods.base import Scores, above_zero, at_least_one
from adpt.methods.feature_sets import Defects, FeatureSet, OptimizerList, Optimizers, Step
from adpt.methods.glass_sampling import ascend, hard_focal_loss, truncate
from adpt.methods.learned import Shape
from adpt.methods.maps import smooth, upsample
from adpt.methods.neighbourhood import embed_neighbourhoods
from adpt.methods.trained import TrainedMethod, descend

Hypothesis = Literal["hypersphere", "manifold"]

_STEP_LENGTH = 0.001
_TRUNCATE_EVERY = 5
_RADIUS_QUANTILE = 0.75
_MANIFOLD_RADIUS = 0.5
_DROPPED = 0.5
_SLOPE = 0.2


class Discriminator(nn.Module):
    """One hidden layer with batch norm, from `width` numbers to the logit of being anomalous."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_normal_(self.hidden.weight)
        nn.init.xavier_normal_(self.out.weight)

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (N,) of patches (N, C)."""
        return self.head(self.hidden(patches))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (N,) of what the first layer gives (N, hidden)."""
        logits: Tensor = self.out(F.leaky_relu(self.norm(hidden), _SLOPE))
        return logits.squeeze(1)


class Glass(TrainedMethod):
    """Score patches by a discriminator of normal ones, noisy ones, and ones with synthetic defects.

    Patches are described as PatchCore's are and, with an adaptor, mapped linearly. Global
    synthesis: Gaussian noise is added to normal patches, they climb the discriminator's loss, and
    are pushed into a shell around normality every fifth step. Local synthesis: patches where a
    defect was laid on the image, pushed into the next shell outwards. The loss is binary
    cross-entropy of normal and noisy patches, plus the focal loss of the worse half of the patches
    of the images with defects; without such images, the former alone (GLASS, arXiv 2407.09359,
    with the constants of its authors' code).

    Under the hypersphere hypothesis the shell lies around the mean normal patch of the position,
    with distances r to 2r, where 75 % of the batch's normal patches are closer than r, and 2r to 4r
    for local synthesis. Under the manifold hypothesis it lies around each normal patch itself, 0.5
    to 1, and local synthesis is left as it is. GLASS chooses by the spectrum of the class's mean
    image; the default is what ADPretrain uses for all classes, and it alone adapts to the length
    of the features. The means are those at the start of the epoch.

    Args:
        image_size: Side of the square score maps, in pixels, or (height, width).
        epochs: Times that training goes over all images.
        batch_size: Images in a batch.
        num_levels: How many levels to use, counted from the last; all if there are fewer.
        embedding_dim: Numbers that describe a patch.
        hidden_dim: Width of the discriminator's hidden layer.
        adaptor: Learn a linear map before the discriminator. ADPretrain uses one on a
            backbone's own features and none on pretrained ones.
        noise_std: Standard deviation of the noise; ADPretrain: 0.015 on own, 0.005 on pretrained
            features.
        ascent_steps: Steps up the loss, a multiple of 5.
        hypothesis: "hypersphere" or "manifold".
        learning_rate: Of the adaptor; the discriminator's is twice that.
        images_per_epoch: An epoch ends with the batch that reaches so many; None takes all images.
        mean_of_batches: Take the mean patch as the mean of the batches' means, in which images of
            a smaller last batch weigh more; ADPretrain does.
        seed: Decides weights, order and all that is drawn in training.

    Raises:
        ValueError: If an argument is out of its range.
    """

    uses_defects = True

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        epochs: int = 640,
        batch_size: int = 8,
        *,
        num_levels: int = 2,
        embedding_dim: int = 1536,
        hidden_dim: int = 1024,
        adaptor: bool = True,
        noise_std: float = 0.015,
        ascent_steps: int = 20,
        hypothesis: Hypothesis = "hypersphere",
        learning_rate: float = 1e-4,
        images_per_epoch: int | None = None,
        mean_of_batches: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(image_size, epochs, batch_size, seed)
        at_least_one(num_levels=num_levels, embedding_dim=embedding_dim, hidden_dim=hidden_dim)
        at_least_one(images_per_epoch=images_per_epoch)
        above_zero(noise_std=noise_std, learning_rate=learning_rate)
        if ascent_steps < _TRUNCATE_EVERY or ascent_steps % _TRUNCATE_EVERY:
            raise ValueError(
                f"ascent_steps is {ascent_steps}: give a positive multiple of {_TRUNCATE_EVERY},"
                " because patches are pushed into the shell every fifth step."
            )
        if hypothesis not in get_args(Hypothesis):
            raise ValueError(
                f"hypothesis is '{hypothesis}': choose one of {', '.join(get_args(Hypothesis))}."
            )
        self.num_levels, self.embedding_dim, self.hidden_dim = num_levels, embedding_dim, hidden_dim
        self.has_adaptor, self.noise_std = adaptor, noise_std
        self.ascent_steps, self.hypothesis = ascent_steps, hypothesis
        self.learning_rate, self.images_per_epoch = learning_rate, images_per_epoch
        self.mean_of_batches = mean_of_batches

    def batches_of_epoch(self, images: int) -> int:
        """Batches that an epoch takes of so many images."""
        return super().batches_of_epoch(min(images, self.images_per_epoch or images))

    def build(self, shapes: Sequence[Shape]) -> None:
        """Make adaptor and discriminator; the shapes of the levels do not matter to them."""
        self.adaptor: nn.Module = nn.Identity()
        if self.has_adaptor:
            linear = nn.Linear(self.embedding_dim, self.embedding_dim)
            nn.init.xavier_normal_(linear.weight)
            self.adaptor = linear
        self.discriminator = Discriminator(self.embedding_dim, self.hidden_dim)

    def configure_optimizers(self) -> Optimizers:
        """AdamW for the discriminator, Adam for the adaptor if there is one."""
        rate = self.learning_rate
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(self.discriminator.parameters(), lr=2 * rate)
        ]
        if self.has_adaptor:
            parameters = self.adaptor.parameters()
            optimizers.append(torch.optim.Adam(parameters, lr=rate, weight_decay=1e-5))
        return optimizers, []

    @torch.no_grad()
    def prepare(self, features: FeatureSet, device: torch.device) -> None:
        """Make the modules, and find the mean patch of each position, before the adaptor."""
        super().prepare(features, device)
        total = torch.zeros((), device=device)
        for start in range(0, len(features), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(features)))
            levels = [level.to(device) for level in features.read(rows)]
            patches = self.embed(levels)
            total = total + (patches.mean(0) if self.mean_of_batches else patches.sum(0))
        batches = -(-len(features) // self.batch_size)
        self._mean = total / (batches if self.mean_of_batches else len(features))

    def embed(self, levels: list[Tensor]) -> Tensor:
        """Patches (B, patches of the first used level, embedding_dim), before the adaptor."""
        return embed_neighbourhoods(levels[-self.num_levels :], self.embedding_dim)

    # ---- Training ----------------------------------------------------------------------------

    def training_step(
        self, levels: list[Tensor], optimizers: OptimizerList, step: Step, defects: Defects | None
    ) -> Tensor:
        """Learn from a batch; arguments as of `TrainedMethod`."""
        if step.batch == 0:
            with torch.no_grad():
                # The adaptor is linear: what it makes of the mean is the mean of what it makes.
                self._centre = self.adaptor(self._mean)
        normal: Tensor = self.adaptor(self.embed(levels)).flatten(0, 1)
        centres = self._centre.repeat(len(levels[0]), 1)
        synthetic: Tensor | None = None
        anomalous = torch.zeros(len(normal), dtype=torch.bool, device=normal.device)
        if defects is not None:
            synthetic = self.adaptor(self.embed(defects[0])).flatten(0, 1)
            grid = levels[-self.num_levels :][0].shape[-2:]
            anomalous = F.adaptive_max_pool2d(defects[1][:, None].float(), grid).flatten() > 0
        radius = self._radius(normal, synthetic, anomalous, centres)
        loss = self._global_loss(normal, centres, radius)
        if synthetic is not None:
            if self.hypothesis == "hypersphere":
                pushed = truncate(synthetic, centres, 2 * radius, 4 * radius)
                synthetic = torch.where(anomalous[:, None], pushed, synthetic)
            scores = self.discriminator(synthetic).sigmoid()
            loss = loss + hard_focal_loss(scores, anomalous, _DROPPED)
        return descend(loss, *optimizers)

    @torch.no_grad()
    def _radius(
        self, normal: Tensor, synthetic: Tensor | None, anomalous: Tensor, centres: Tensor
    ) -> Tensor:
        """(): 75 % of the patches without a defect are closer than this to their centre."""
        distances = (normal - centres).norm(dim=1)
        if synthetic is not None:
            sound = (synthetic - centres).norm(dim=1)[~anomalous]
            distances = torch.cat((sound, distances))
        return torch.quantile(distances, _RADIUS_QUANTILE)

    def _global_loss(self, normal: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
        """Global synthesis: cross-entropy (), of normal patches and of what became of noisy ones.

        The discriminator's batch norm sees normal and noisy patches together at every step.
        """
        noisy = normal + self.noise_std * torch.randn_like(normal)
        with torch.no_grad():
            hidden = self.discriminator.hidden(normal)

        def missed(points: Tensor) -> Tensor:
            """Cross-entropy of noisy patches, to be increased."""
            both = torch.cat((hidden, self.discriminator.hidden(points)))
            return _cross_entropy(self.discriminator.head(both)[len(normal) :], anomalous=True)

        for number in range(1, self.ascent_steps + 1):
            noisy = ascend(noisy, missed, _STEP_LENGTH)
            if number % _TRUNCATE_EVERY == 0:
                if self.hypothesis == "hypersphere":
                    noisy = truncate(noisy, centres, radius, 2 * radius)
                else:
                    noisy = truncate(noisy, normal, _MANIFOLD_RADIUS, 2 * _MANIFOLD_RADIUS)
        logits = self.discriminator(torch.cat((normal, noisy)))
        return _cross_entropy(logits[: len(normal)], anomalous=False) + _cross_entropy(
            logits[len(normal) :], anomalous=True
        )

    # ---- Scoring -----------------------------------------------------------------------------

    def score(self, levels: list[Tensor]) -> Scores:
        """Maps of probabilities, and each image's largest of a patch; see `Method`."""
        self.eval()  # Batch norm must not look at what else is scored.
        with self.scoring(levels) as levels:
            patches = self.embed(levels)
            logits = self.discriminator(self.adaptor(patches).flatten(0, 1))
            grid = levels[-self.num_levels :][0].shape[-2:]
            scores = logits.sigmoid().reshape(patches.shape[0], *grid)
            maps = smooth(upsample(scores, self.image_size, align_corners=False))
            return Scores(maps, scores.amax((1, 2)))


def _cross_entropy(logits: Tensor, *, anomalous: bool) -> Tensor:
    """Mean binary cross-entropy () of logits that all belong to one class."""
    return F.softplus(-logits if anomalous else logits).mean()
