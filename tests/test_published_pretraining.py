"""`model=published` against values recorded from the authors' code, and what it alone does.

Recorded with functions of github.com/xcyao00/ADPretrain (as of commit 8d1a32c of its fork by
shirazzyy) and PyTorch 2, on the inputs that are made here: `MoCoTransform`, its `random.uniform`
taking the next number of torch's generator; `calculate_norm_loss`; and the training loop of
`main.py` without its data loader and backbone, with `MultiScaleAttentionProjector` and torch's
Adam in bfloat16.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from adpt.backbones import Levels
from adpt.backbones.base import Backbone
from adpt.data import RealIAD
from adpt.data.pil_views import PilViews
from adpt.data.sample import Batch
from adpt.data.sampling import EpochSampler
from adpt.errors import UserError
from adpt.losses import PublishedNormLoss
from adpt.pretraining import PublishedReferences
from adpt.projector import FeatureProjector
from drawn import draw_folder, draw_realiad
from runs import composed, fitted, folder_data, published_pretraining
from small import ShortFeatures

# ---- As recorded ----------------------------------------------------------------------------

# Seed, and sums over the pixels of both views, weighted by column.
VIEWS = [
    (0, 1799690356, 1749693792), (1, 1326358666, 2047530955), (2, 2428981827, 2435451573),
    (3, 2065409521, 1350697388), (4, 1270601370, 2262322000), (5, 2112041139, 2147758782),
    (6, 1671934112, 2458041571), (7, 1654662625, 2147775687),
]  # fmt: skip
# Standard deviation of the features, anomalous ones of 64, loss, sum of the gradient's amounts.
NORM_LOSSES = [
    (0.2, 5, 3.609375, 3.6830427646636963),
    (0.2, 0, 1.5, 1.680558204650879),
    (1.0, 5, 4.65625, 2.1687231063842773),
    (0.05, 64, 2.25, 2.7238850593566895),
]
LOSSES = [18.3581, 17.1496, 0, 18.7612, 18.4114, 18.0648]
MOVED = [1596, 1642, 1539, 1683]  # of 2048 · 32 references, level by level
# Weights that changed, of all levels, and the sum of the changes' amounts.
CHANGED = {
    "references": (6460, 2.709),
    "reference_map.weight": (392, 0.1224),
    "attention.in_proj_weight": (1660, 0.5003),
    "attention.out_proj.weight": (694, 0.2453),
    "mlp.expand.weight": (2733, 0.7503),
    "mlp.squeeze.weight": (1406, 0.5633),
    "mlp.excite.weight": (354, 0.1558),
    "mlp.contract.weight": (5426, 1.7787),
}
WIDTH, GRID, SIDE = 32, 4, 56


@pytest.mark.parametrize(("seed", "first", "second"), VIEWS)
def test_views_are_those_of_pil(seed: int, first: int, second: int) -> None:
    rows, columns = np.mgrid[:224, :224]
    channels = columns * 7 % 256, rows * 5 % 256, (rows * 3 + columns * 2) % 256
    image = torch.from_numpy(np.stack(channels).astype(np.uint8))
    views = PilViews()(image, seed).long()
    assert (views * torch.arange(1, 225)).sum((1, 2, 3)).tolist() == [first, second]


def test_the_norm_loss_is_rounded_as_theirs() -> None:
    draws = torch.Generator().manual_seed(3)
    for scale, count, expected, gradient in NORM_LOSSES:
        features = (torch.randn(64, 32, generator=draws) * scale).bfloat16().requires_grad_()
        loss = PublishedNormLoss()(features, torch.arange(64) < count)
        loss.backward()
        assert loss.dtype == torch.bfloat16
        assert loss.item() == pytest.approx(expected, rel=0.01)
        assert features.grad is not None
        assert features.grad.float().abs().sum().item() == pytest.approx(gradient, rel=0.01)


class Given(Backbone):
    """Has the features that are put into it."""

    given: Levels

    def __init__(self) -> None:
        super().__init__("given", [WIDTH] * 4, [0.5] * 3, [0.5] * 3)
        self.freeze()

    def levels(self, images: Tensor) -> Levels:
        raise AssertionError("They are given.")

    def forward(self, images: Tensor, class_token: bool = False) -> Levels:
        return self.given


def step_of(number: int) -> tuple[Levels, Levels, Batch]:
    """Features of both views, references, and the batch of a step; the third is all normal."""
    draws = torch.Generator().manual_seed(100 + number)

    def drawn(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=draws) * 0.3).bfloat16()

    labels = [1, 0, 1, 0] if number != 2 else [0] * 4
    masks = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    for image, label in enumerate(labels):
        if label:
            masks[image, 10 * image + 3 : 10 * image + 23, 5:33] = True
    shape = (4, WIDTH, GRID, GRID)
    first = [drawn(*shape) for _ in range(4)]
    second = [
        (level.float() + 0.1 * torch.randn(*shape, generator=draws)).bfloat16() for level in first
    ]
    references = [drawn(4, 2 * GRID * GRID, WIDTH) for _ in range(4)]
    images = torch.zeros(4, 2, 3, SIDE, SIDE, dtype=torch.uint8)
    batch = Batch(images, masks, torch.tensor(labels), ["a"] * 4, [""] * 4, ["p"] * 4, [])
    return [torch.cat(pair) for pair in zip(first, second, strict=True)], references, batch


def test_steps_in_bfloat16_are_those_of_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    backbone = Given()
    module = published_pretraining(backbone=backbone, projector=FeatureProjector)
    centres = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(7)) * 0.05
    for own, centre in zip(module.centres, centres, strict=True):
        own.data.copy_(centre)
    module._trainer = SimpleNamespace(log_every_n_steps=10**9, global_step=0)
    for name in ("log", "log_dict"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    optimizer = module.configure_optimizers()["optimizer"]
    before = {name: value.clone() for name, value in module.projector.state_dict().items()}
    losses = []
    for number in range(6):
        backbone.given, references, batch = step_of(number)
        monkeypatch.setattr(module.references, "draw_shots", lambda _: 2)
        monkeypatch.setattr(module.references, "draw", lambda *_, given=references: given)
        was = [value.clone() for value in module.projector.parameters()]
        loss = module.training_step(batch, number)
        loss.backward()
        module.on_before_optimizer_step(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        still = [
            torch.equal(*pair) for pair in zip(was, module.projector.parameters(), strict=True)
        ]
        assert all(still) == (number == 2)
    assert losses == pytest.approx(LOSSES, rel=1e-3)
    steps = {int(of_one["step"]) for of_one in optimizer.state.values()}
    assert steps == {5}
    dtypes = {of_one["exp_avg_sq"].dtype for of_one in optimizer.state.values()}
    assert dtypes == {torch.bfloat16}
    now = module.projector.state_dict()
    moved = {name: (now[name].double() - value.double()).abs() for name, value in before.items()}
    for level, expected in enumerate(MOVED):
        found = int((moved[f"blocks.{level}.references"] > 0).sum())
        assert found == pytest.approx(expected, rel=0.01)
    for name, (count, amount) in CHANGED.items():
        levels = [moved[f"blocks.{level}.{name}"] for level in range(4)]
        assert sum(int((one > 0).sum()) for one in levels) == pytest.approx(count, rel=0.02)
        assert sum(one.sum().item() for one in levels) == pytest.approx(amount, rel=0.02)


# ---- References, batches, centres, views ----------------------------------------------------


@pytest.mark.parametrize("pool_size", [None, 100])
def test_references_are_drawn_with_replacement_among_ok_images(
    tmp_path: Path, pool_size: int | None
) -> None:
    data = RealIAD(draw_realiad(tmp_path, products=4), image_size=48, num_workers=0)
    data.setup()
    numbers = {str(sample.image): n for n, sample in enumerate(data.samples)}
    pool = PublishedReferences(pool_size=pool_size, shots=(8,))
    pool.setup(data, lambda images: [images.float().mean((1, 2, 3)).view(-1, 1, 1, 1)])
    pool.redraw(0)
    drawn = {path: pool._choose(number, 8) for path, number in numbers.items()}
    for path, chosen in drawn.items():
        sample = data.samples[numbers[path]]
        others = [data.samples[index] for index in chosen]
        assert {(other.view, other.image.parts[-3]) for other in others} == {(sample.view, "OK")}
    assert any(numbers[path] in chosen for path, chosen in drawn.items())
    assert any(len(set(chosen)) < 4 for chosen in drawn.values())
    pool.redraw(1)
    assert any(pool._choose(numbers[path], 8) != chosen for path, chosen in drawn.items())
    assert pool.draw([str(data.samples[0].image)], 8)[0].shape == (1, 8, 1)
    first = numbers[str(data.samples[0].image)]
    members = set(pool._choose(first, 64))
    kept = members.pop()
    pool._unreadable |= members
    assert pool._choose(first, 8) == [kept] * 8
    pool._unreadable.add(kept)
    with pytest.raises(UserError, match="No readable normal image"):
        pool._choose(first, 8)


def test_a_last_partial_batch_is_left_out() -> None:
    sampler = EpochSampler(14, 6, seed=1, drop_last=True)
    assert len(sampler) == len(list(sampler)) == 12
    shares = [list(EpochSampler(14, 6, 1, rank, 2, drop_last=True)) for rank in (0, 1)]
    assert set(shares[0] + shares[1]) == set(sampler)
    assert [len(share) for share in shares] == [
        len(EpochSampler(14, 6, 1, 0, 2, drop_last=True))
    ] * 2
    sampler.resume(0, 1)
    assert len(list(sampler)) == 6
    with pytest.raises(UserError, match=r"data\.drop_last=true leaves nothing of 5 images"):
        EpochSampler(5, 6, drop_last=True)


def test_centres_leave_out_a_partial_batch_and_are_not_rounded(tmp_path: Path) -> None:
    data = folder_data(draw_folder(tmp_path, ("key",)), drop_last=True)
    data.setup()
    module = published_pretraining()
    assert len(data.pretraining_samples()) == 12
    kept = {sample.image for sample in module.centre_samples(data)}
    assert len(kept) in (7, 8, 9)
    others = [
        {
            sample.image
            for sample in published_pretraining(
                centre_batch_size=7, references=PublishedReferences(pool_size=None, seed=seed)
            ).centre_samples(data)
        }
        for seed in range(4)
    ]
    assert all(len(some) <= 7 for some in others)
    assert len(set(map(frozenset, others))) > 1
    fitted(data, module, limit_train_batches=1)
    assert all(centre.dtype == torch.float32 for centre in module.centres)
    assert any((centre.bfloat16().float() != centre).any() for centre in module.centres)
    with pytest.raises(UserError, match="leaves nothing of 12 images"):
        published_pretraining(centre_batch_size=16).centre_samples(data)


def test_all_is_bfloat16_but_the_normalisation_of_images(tmp_path: Path) -> None:
    module = published_pretraining()
    before = ShortFeatures().fingerprint
    fitted(folder_data(draw_folder(tmp_path, ("key",))), module)
    assert {value.dtype for value in module.projector.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in module.backbone.parameters()} == {torch.bfloat16}
    assert module.backbone.mean.dtype == torch.float32
    assert module.backbone.fingerprint == before
    seen: list[Tensor] = []

    def levels(images: Tensor) -> Levels:
        seen.append(images)
        return [torch.zeros(len(images), width, 1, 1) for width in module.backbone.channels]

    module.backbone.levels = levels
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    module._levels(images)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    expected = ((images / 255 - mean) / std).bfloat16()
    torch.testing.assert_close(seen[0], expected, rtol=0.01, atol=0.001)


def test_another_precision_of_the_trainer_is_refused(tmp_path: Path) -> None:
    data = folder_data(draw_folder(tmp_path, ("key",)))
    with pytest.raises(UserError, match=r"trainer\.precision=32-true"):
        fitted(data, published_pretraining(), precision="bf16-mixed")


def test_a_backbone_that_trains_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.train_backbone=false"):
        published_pretraining(train_backbone=True)


def test_one_file_says_what_the_authors_did() -> None:
    words = ["+experiment=dinov2_b", "model=published", "callbacks=best_epoch", "run_name=x"]
    config = composed("train", *words, "output_dir=x")
    assert config.seed == config.references.seed == config.data.seed == 42
    assert (config.data.resize, config.data.image_size, config.data.as_torchvision) == (
        224,
        224,
        True,
    )
    assert config.data.drop_last
    assert config.data.pil_views
    assert config.references.pool_size is None
    assert list(config.references.shots) == [1, 4, 8]
    assert config.trainer.precision == "32-true"
    assert (config.trainer.max_epochs, config.data.batch_size) == (10, 32)
    assert config.model.centre_batch_size == 16
    assert config.model.norm_loss._target_ == "adpt.losses.PublishedNormLoss"
    assert (config.model.optimizer.lr, config.model.optimizer.fused) == (1e-4, None)
    check = config.callbacks.best_epoch
    assert (check.data.image_size, check.methods.angle.seed) == (224, 42)
    assert (check.data.resize, check.reference_resize, check.shots) == (256, 224, 8)
    assert (check.methods.angle.projection_dim, check.methods.angle.num_starts) == (128, 10)
