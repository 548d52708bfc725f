"""A pretraining step: the project's module against the literal step and against its floor.

The floor is what no frozen backbone's step can do without: two views through the backbone, and the
projector forward and backward with keys and values hoisted.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from literal.pretraining import step as literal_step
from literal.projector import PublishedProjector
from measuring import MB, Row, in_turns, peak_memory, seconds
from torch import Tensor

from adpt.backbones import Backbone, build_backbone
from adpt.data.sample import Batch, Sample
from adpt.losses import AngleContrastiveLoss, NormContrastiveLoss
from adpt.pretraining import Pretraining
from adpt.pretraining.reference_pool import ReferencePool
from adpt.weights import load_projector

IMAGES, SHOTS, NORMAL, SIDE = 8, 4, 16, 224
WORK = f"dinov2-small, random weights, {IMAGES} images, 2 views, k={SHOTS}, fp32"


class Step(Pretraining):
    """The module without a trainer around it: nothing is logged."""

    trainer: Any = SimpleNamespace(log_every_n_steps=50)  # type: ignore[assignment]
    global_step = 0

    def log(self, *_: Any, **__: Any) -> None:
        """Log nothing."""

    def log_dict(self, *_: Any, **__: Any) -> None:
        """Log nothing."""


class Drawn:
    """Random normal images of one class, in memory, and one batch with defects."""

    def __init__(self, side: int = SIDE, images: int = IMAGES) -> None:
        draw = torch.Generator().manual_seed(0)
        self.geometry = SimpleNamespace(image_size=(side, side))
        self.normal = torch.randint(0, 256, (NORMAL, 3, side, side), generator=draw).byte()
        views = torch.randint(0, 256, (images, 2, 3, side, side), generator=draw).byte()
        mask = torch.zeros(images, side, side, dtype=torch.bool)
        mask[::2, : side // 3, : side // 3] = True
        names = [f"query_{number}" for number in range(images)]
        label = mask.flatten(1).any(1).long()
        no_view = [""] * images
        self.batch = Batch(views, mask, label, ["drawn"] * images, no_view, names, [])
        self.row = {f"normal_{number}": number for number in range(NORMAL)}

    def pretraining_samples(self) -> list[Sample]:
        """The normal images, then those of the batch."""
        labels = dict.fromkeys(self.row, 0) | dict(
            zip(self.batch.path, self.batch.label.tolist(), strict=True)
        )
        return [Sample(Path(n), label, "drawn", "train") for n, label in labels.items()]

    def loader(self, samples: Sequence[Sample], **_: Any) -> Iterator[Batch]:
        """The images of some samples, eight at a time."""
        names = [str(sample.image) for sample in samples]
        for start in range(0, len(names), 8):
            chosen = names[start : start + 8]
            images = torch.stack([self.image(name) for name in chosen])
            none = torch.zeros(len(chosen), dtype=torch.int64)
            yield Batch(images, none, none, [], [], chosen, [])

    def image(self, name: str) -> Tensor:
        """One image; of the batch its first view."""
        if name in self.row:
            return self.normal[self.row[name]]
        return self.batch.image[self.batch.path.index(name), 0]


class Both:
    """Both sides with the same weights, inputs and references."""

    def __init__(
        self,
        backbone: Backbone | None = None,
        side: int = SIDE,
        num_heads: int = 16,
        num_references: int = 2048,
    ) -> None:
        torch.manual_seed(0)
        self.backbone = backbone or build_backbone(
            "vit_small_patch14_dinov2.lvd142m", pretrained=False, image_size=side
        )
        self.data = Drawn(side)
        self.literal = PublishedProjector(self.backbone.channels, num_heads, num_references)
        self.centres = [torch.randn(width) for width in self.backbone.channels]
        self.literal_optimizer = adam(self.literal.parameters())

    def ours(self, short: bool = False) -> Callable[[], float]:
        """The project's step, `short` as in bf16-mixed; the pool was encoded before."""
        module = Step(
            self.backbone,
            lambda **_: self.projector(),
            ReferencePool(pool_size=NORMAL, shots=[SHOTS]),
            angle_loss=AngleContrastiveLoss(),
            norm_loss=NormContrastiveLoss(),
            optimizer=partial(adam, fused=True),
            scheduler=lambda **_: None,
        )
        for own, centre in zip(module.centres, self.centres, strict=True):
            own.data.copy_(centre)
        with torch.no_grad():
            module.references.setup(self.data, self.backbone)  # type: ignore[arg-type]
            module.references.redraw(0)
        self.references = module.references
        optimizer = adam(module.projector.parameters(), fused=True)

        def work() -> float:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                loss = module.training_step(self.data.batch, 0)
            loss.backward()
            optimizer.step()
            return loss.item()

        return work

    def theirs(self) -> Callable[[], float]:
        """The literal step, with the references that the project's step draws."""
        batch = self.data.batch
        first, second = batch.image.unbind(1)
        pool = self.references
        drawn = [pool._choose(pool._index[path], SHOTS) for path in batch.path]
        references = [
            torch.stack([self.data.image(str(pool._samples[index].image)) for index in chosen])
            for chosen in drawn
        ]

        def work() -> float:
            loss = literal_step(
                self.backbone,
                self.literal,
                self.literal_optimizer,
                (first, second),
                batch.mask,
                references,
                self.centres,
            )
            return loss.item()

        return work

    def floor(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Two views through the backbone; the projector forward and backward."""
        projector = self.projector()
        views = self.data.batch.image.flatten(0, 1)
        with torch.no_grad():
            levels = self.backbone(views)

        def backward() -> None:
            projector.zero_grad()
            torch.stack([level.mean() for level in projector(levels)]).sum().backward()

        return partial(self.backbone, views), backward

    def projector(self) -> Any:
        """The literal projector's weights in the project's projector."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "projector.pth"
            torch.save({"projectors": self.literal.state_dict()}, path)
            return load_projector(path).train()


def adam(params: Any, fused: bool = False) -> torch.optim.Optimizer:
    """The published optimiser; `fused` as `conf/model` has it."""
    return torch.optim.Adam(params, lr=1e-4, weight_decay=5e-4, fused=fused)


def ours() -> Callable[[], float]:
    """For the memory of a step."""
    return warmed(Both().ours())


def theirs() -> Callable[[], float]:
    """For the memory of a literal step."""
    both = Both()
    both.ours()
    return warmed(both.theirs())


def warmed(work: Callable[[], float]) -> Callable[[], float]:
    """A step after the first, when the optimiser's state is there."""
    work()
    return work


def short_rows(runs: int) -> Iterator[Row]:
    """A step in bf16-mixed, which `trainer.precision=auto` may choose."""
    both = Both()
    exact, short, literal = both.ours(), both.ours(short=True), both.theirs()
    own, others = short(), {"literal step, fp32": literal, "our step, fp32": exact}
    for name, other in others.items():
        off = abs(other() - own) / abs(own)
        assert off <= 1e-3, (name, off)
        yield Row(
            "pretraining step",
            WORK.replace("fp32", "bf16-mixed"),
            **in_turns(short, other, runs, warm=False),
            other_name=name,
            goal=5 if other is literal else None,
            note=f"losses of a step within {off:.1e}",
        )


def rows(runs: int = 3) -> Iterator[Row]:
    """Time and memory of a step."""
    both = Both()
    ours_step = both.ours()
    literal = both.theirs()
    losses = [(ours_step(), literal()) for _ in range(2)]
    for own, other in losses:
        assert abs(own - other) <= 1e-4 * abs(other), losses
    yield Row(
        "pretraining step",
        WORK,
        **in_turns(ours_step, literal, runs, warm=False),
        other_name="literal step",
        goal=5,
        note="losses of two steps within 1e-4",
    )
    yield from short_rows(runs)
    encode, project = both.floor()
    encode()
    project()
    times = [(seconds(ours_step), seconds(encode), seconds(project)) for _ in range(2 * runs)]
    ratios = [(encoding + projecting) / own for own, encoding, projecting in times]
    yield Row(
        "pretraining step",
        WORK,
        statistics.median(own for own, *_ in times),
        statistics.median(sum(parts) for _, *parts in times),
        "its floor",
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        goal=0.8,
        note=f"backbone {statistics.median(time[1] for time in times):.2f} s of it",
    )
    peaks = {side: peak_memory("parts.pretraining", side) for side in ("ours", "theirs")}
    ratio = peaks["theirs"] / peaks["ours"]
    yield Row(
        "pretraining step",
        f"{WORK}: peak of memory",
        peaks["ours"],
        peaks["theirs"],
        "literal step",
        "MB",
        ratio,
        ratio,
        ratio,
        goal=1 / 0.6,
        note=f"beside weights, optimiser and pool, {MB} bytes a MB",
    )
