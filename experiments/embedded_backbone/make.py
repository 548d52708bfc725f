"""Make the embedded backbone's weights from nothing: draw, train, fold, whiten, save.

    python experiments/embedded_backbone/make.py [FILE]

Without FILE the package's own weights are replaced. See README.md for how long it takes.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from adpt.backbones.embedded import MEAN, STD, WIDTHS, EmbeddedNetwork
from pictures import DEFECTS, MATERIALS, PLACES, Batch, Pictures
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import adpt.backbones

SEED, STEPS, RATE = 0, 9000, 2e-3
COLLAGES, PRODUCTS = 20, 12
GRID = 6
TOUCHED = 0.06
"""A cell of the grid is defective if this share of it is."""
WHITENING = 0.5
"""0 leaves the directions' variances as they are, 1 makes them all equal."""


class Head(nn.Module):
    """Linear classifiers on one stage, averaged over a grid of 6×6."""

    def __init__(self, width: int, views: int) -> None:
        super().__init__()
        self.sizes = (MATERIALS, len(DEFECTS), views * PLACES**2)
        self.linear = nn.Conv2d(width, sum(self.sizes), 1)

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Weighted sum of three classification losses of a stage's features (N, C, h, w)."""
        collages = len(batch.first)
        scores = self.linear(F.adaptive_avg_pool2d(features, GRID)).float()
        material, defect, place = scores.split(self.sizes, 1)
        logs, each = F.log_softmax(material[:collages], 1), torch.arange(collages)
        share = _on_grid(batch.share)
        mixed = (1 - share) * logs[each, batch.first] + share * logs[each, batch.second]
        spoilt = (_on_grid(batch.defective) > TOUCHED).long() * batch.defect[:, None, None]
        where = F.adaptive_avg_pool2d(batch.position, GRID).clamp(-0.999, 0.999)
        column, row = ((where + 1) / 2 * PLACES).long().unbind(1)
        at = batch.view[:, None, None] * PLACES**2 + row * PLACES + column
        defects = F.cross_entropy(defect[collages:], spoilt)
        return 3 * defects + 0.5 * F.cross_entropy(place[collages:], at) - mixed.mean()


def _on_grid(cover: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(cover, GRID)[:, 0]


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] as the backbone gives them to its network."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def train(network: nn.Module, pictures: Pictures) -> None:
    """Train on all labels at once, in half precision; the first stage learns from the others."""
    heads = nn.ModuleList(Head(width, len(pictures.view_names)) for width in WIDTHS[1:])
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    started, recent = time.perf_counter(), []
    for step in range(1, STEPS + 1):
        batch = pictures.batch(COLLAGES, PRODUCTS)
        with torch.autocast("cpu", torch.bfloat16):
            stages = network(normalised(batch.images))[1:]
            losses = [h.loss(stage, batch) for h, stage in zip(heads, stages, strict=True)]
        total = torch.stack(losses).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        recent.append(total.item())
        if step % 200 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step}: loss {sum(recent) / len(recent):.3f}, {seconds:.0f} s", flush=True)
            recent.clear()


def with_normalisation(module: nn.Module) -> None:
    """Follow every convolution with batch normalisation, which training needs."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            setattr(module, name, nn.Sequential(child, nn.BatchNorm2d(child.out_channels)))
        else:
            with_normalisation(child)


def fold(module: nn.Module) -> None:
    """Undo `with_normalisation`: the convolutions take over what it learned."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Sequential):
            setattr(module, name, fuse_conv_bn_eval(child[0].eval(), child[1].eval()))
        else:
            fold(child)


@torch.inference_mode()
def whiten(network: EmbeddedNetwork, pictures: Pictures, strength: float) -> None:
    """Set the readouts: centred, directions' variances evened out, mean variance 1."""
    sound = pictures.products[pictures.defects == 0]
    sound = sound[:: len(sound) // 100]
    images = torch.cat([sound, pictures.materials[:100]])
    stages = [network(normalised(part.float() / 255)) for part in images.split(20)]
    for readout, parts in zip(network.readouts, zip(*stages, strict=True), strict=True):
        values = torch.cat(parts).permute(0, 2, 3, 1).flatten(0, 2).double()
        covariance = torch.cov(values.T)
        variances, axes = torch.linalg.eigh(covariance)
        factors = variances.clamp_min(1e-4 * variances[-1]) ** (-strength / 2)
        matrix = axes @ torch.diag(factors) @ axes.T
        matrix = matrix / (matrix @ covariance @ matrix.T).diagonal().mean().sqrt()
        readout.weight.copy_(matrix[:, :, None, None])
        readout.bias.copy_(-(matrix @ values.mean(0)))


def main() -> None:
    """Make the weights and write them in half precision."""
    own = Path(adpt.backbones.__file__).with_name("embedded.safetensors")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else own
    torch.set_num_threads(1)  # Another number adds up in another order.
    torch.manual_seed(SEED)
    pictures = Pictures(SEED)
    network = EmbeddedNetwork().to(memory_format=torch.channels_last)
    readouts, network.readouts = network.readouts, nn.ModuleList()
    with_normalisation(network)
    train(network, pictures)
    fold(network)
    network.readouts = readouts
    whiten(network, pictures, WHITENING)
    weights = {name: w.half().contiguous() for name, w in network.state_dict().items()}
    target.write_bytes(save(weights))
    print(
        f"{target}: {target.stat().st_size / 1e6:.2f} MB, {sum(map(torch.numel, weights.values()))}"
    )


if __name__ == "__main__":
    main()
