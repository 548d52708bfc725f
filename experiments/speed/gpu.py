"""What a GPU does: pretraining as a share of its ceilings, precisions, copies, whole commands.

`python experiments/speed/gpu.py` prints a table a part; `--parts` chooses some. First a row for
each backbone and way of running it: random weights, bf16 autocast, both losses, optimiser,
references from the pool; the backbone-alone rate is over the same two views. Then frozen backbones
alone, in each `backbone.precision`, against float32, then copies, then whole commands
(gpu_commands.py).

    python experiments/speed/gpu.py --device cpu --backbones vit_tiny_patch16_224 \
        --network vit_tiny_patch16_224 --images 4 --runs 2 --steps 4 --rendered 8 4 4

tries the script where there is no GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, get_args

import torch
from gpu_commands import add_options, lines
from measuring import machine
from parts.pretraining import Drawn, Step, adam
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.backbones.precision import Precision
from adpt.data.views import PhotometricViews
from adpt.errors import UserError
from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector

WAYS = ("eager", "bf16 weights", "compiled", "compiled, CUDA graphs", "math attention")
PARTS = ("steps", "precisions", "transfers", "commands")
SHOTS = 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbones", nargs="*", default=["dinov2_b", "clip_l", "imagebind"])
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--images", type=int, default=32, help="images in a step, each two views")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    add_options(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu tries the script without one")
    print(f"{machine()}\n")
    tables = {"steps": steps, "precisions": frozen, "transfers": moved, "commands": lines}
    for part in arguments.parts:
        for line in tables[part](arguments):
            print(line, flush=True)
        print()


def steps(asked: argparse.Namespace) -> Iterator[str]:
    """A table of pretraining steps."""
    device = torch.device(asked.device)
    ceiling = matrix_ceiling(device)
    yield f"Matrix ceiling in bf16 {ceiling / 1e12:.1f} TFLOP/s"
    yield f"{asked.images} images a step, k={SHOTS}, median of {asked.runs} steps"
    yield ""
    yield "| backbone | way | images/s | backbone alone | share | of the ceiling | peak GB |"
    yield "|---|---|---|---|---|---|---|"
    for name in asked.backbones:
        for way in asked.ways:
            yield row(name, way, device, asked.images, asked.runs, ceiling)


def frozen(asked: argparse.Namespace) -> Iterator[str]:
    """A table of frozen backbones."""
    yield "| frozen backbone | precision | images/s | times float32 | peak GB |"
    yield "|---|---|---|---|---|"
    for name in asked.backbones:
        yield from precisions(name, torch.device(asked.device), asked.images, asked.runs)


def moved(asked: argparse.Namespace) -> Iterator[str]:
    """What copies and views cost."""
    yield from transfers(torch.device(asked.device), asked.images, asked.runs)


def row(name: str, way: str, device: torch.device, images: int, runs: int, ceiling: float) -> str:
    """One line of the table; a way that fails says why."""
    torch.manual_seed(0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        backbone = build_backbone(name, pretrained=False).to(device)
    except UserError as error:
        return f"| {name} | {way} | failed: {str(error).splitlines()[0]} |"
    attention = torch.nn.attention.SDPBackend.MATH if way == "math attention" else None
    try:
        step, encode = sides(backbone, way, device, images)
        with torch.nn.attention.sdpa_kernel(attention) if attention else torch.enable_grad():
            step_seconds, encode_seconds = alternately(step, encode, device, runs)
    except RuntimeError as error:
        return f"| {name} | {way} | failed: {str(error).splitlines()[0]} |"
    work = step_work(backbone, images)
    cells = (
        name,
        way,
        f"{images / step_seconds:.0f}",
        f"{images / encode_seconds:.0f}",
        f"{encode_seconds / step_seconds:.0%}",
        f"{work / step_seconds / ceiling:.0%}",
        f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device.type == "cuda" else "",
    )
    return "| " + " | ".join(cells) + " |"


def precisions(name: str, device: torch.device, images: int, runs: int) -> Iterator[str]:
    """Lines of a frozen backbone in each precision, each in turns with float32."""
    batch = torch.randint(0, 256, (images, 3, 224, 224), dtype=torch.uint8, device=device)
    full = build_backbone(name, pretrained=False).to(device)
    for precision in get_args(Precision):
        try:
            backbone = build_backbone(name, pretrained=False, precision=precision).to(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            one, other = alternately(partial(backbone, batch), partial(full, batch), device, runs)
        except UserError as error:
            yield f"| {name} | {precision} | failed: {str(error).splitlines()[0]} |"
            continue
        cells = name, precision, f"{images / one:.0f}", f"{other / one:.2f}"
        peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device.type == "cuda" else ""
        yield "| " + " | ".join((*cells, peak)) + " |"


def sides(
    backbone: Backbone, way: str, device: torch.device, images: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A whole step, and the backbone alone over the step's two views."""
    if way == "bf16 weights":
        backbone.bfloat16()
    if way.startswith("compiled"):
        mode = "reduce-overhead" if "graphs" in way else "default"
        backbone.levels = torch.compile(backbone.levels, mode=mode)  # type: ignore[method-assign]
    data = Drawn(images=images)
    batch = data.batch.to(device)
    pair = batch.image.flatten(0, 1)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16)

    def encode(images: Tensor) -> list[Tensor]:
        with autocast():
            levels: list[Tensor] = backbone(images.to(device))
        return levels

    module = Step(
        backbone,
        FeatureProjector,
        ReferencePool(shots=[SHOTS]),
        angle_loss=AngleContrastiveLoss(),
        norm_loss=NormContrastiveLoss(),
        optimizer=adam,
        scheduler=lambda **_: None,
    ).to(device)
    with torch.no_grad():
        module.references.setup(data, encode)  # type: ignore[arg-type]
        module.references.redraw(0)
    optimizer = adam(module.projector.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with autocast():
            loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()

    return step, lambda: encode(pair)


def alternately(
    first: Callable[[], Any], second: Callable[[], Any], device: torch.device, runs: int
) -> tuple[float, float]:
    """Median seconds of both sides, measured in turns after a warm-up."""
    for work in (first, second) * 3:
        work()
    times = [(timed(first, device), timed(second, device)) for _ in range(runs)]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matrix_ceiling(device: torch.device, side: int | None = None) -> float:
    """FLOP/s of a large bf16 matrix product."""
    side = side or (8192 if device.type == "cuda" else 512)
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in "ab")
    seconds, _ = alternately(lambda: one @ other, lambda: None, device, 10)
    return 2 * side**3 / seconds


def step_work(backbone: Backbone, images: int) -> float:
    """FLOP of a step's matrix products: the backbone forward, the projector forward and backward.

    Of the backbone's parameters, each is used once a token; a patch meets 2,048 learnable
    references in each level's attention.
    """
    blank = torch.zeros(1, 3, 224, 224, dtype=torch.uint8, device=backbone.mean.device)
    with torch.no_grad(), torch.autocast(backbone.mean.device.type, torch.bfloat16):
        patches = [level[0, 0].numel() for level in backbone(blank)]
    weights = sum(p.numel() for p in backbone.parameters() if p.ndim > 1)
    forward = 2 * weights * patches[0]
    projector = sum(
        tokens * (2 * (2 + 8) * width**2 + 4 * 2048 * width)
        for tokens, width in zip(patches, backbone.channels, strict=True)
    )
    return 2 * images * (forward + 3 * projector)


def transfers(device: torch.device, images: int, runs: int) -> Iterator[str]:
    """What a step's images cost on their way: the copy, and drawing both views on either side."""
    batch = torch.randint(0, 256, (images, 2, 3, 224, 224), dtype=torch.uint8)
    sides: dict[str, Callable[[], Any]] = {"pageable": lambda: batch.to(device)}
    if device.type == "cuda":
        pinned = batch.pin_memory()
        sides["pinned"] = lambda: pinned.to(device, non_blocking=True)
    views = PhotometricViews()
    sides["both views drawn on the CPU, one core"] = lambda: [views(one[0], 0) for one in batch]
    for name, work in sides.items():
        seconds, _ = alternately(work, lambda: None, device, min(runs, 5))
        yield f"- {name}: {1000 * seconds:.2f} ms a step of {images} images"


if __name__ == "__main__":
    main()
