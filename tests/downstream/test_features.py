"""Encoding through the cache: the same features, each image once, changes noticed."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from adpt.data import Folder
from adpt.errors import BadImageError
from adpt.evaluation import features as features_module
from adpt.evaluation.converting import convert_features
from adpt.evaluation.feature_cache import FeatureCache
from adpt.evaluation.feature_views import Chained
from adpt.evaluation.features import Cached, Features, extract, own_space
from adpt.evaluation.matching import AlignedReferences, FixedReferences, References
from adpt.methods.feature_sets import InMemory
from adpt.projector import FeatureProjector
from adpt.residual import residual_features
from drawn import draw_folder
from runs import folder_data
from small import SmallBackbone

CPU = torch.device("cpu")


class Counting(SmallBackbone):
    """Counts the pictures that it sees, blank ones left out."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seen: Counter[bytes] = Counter()
        if seed:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.mul_(1.1)

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.update(image.numpy().tobytes() for image in images if image.any())
        return super().forward(images)


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    made = folder_data(draw_folder(tmp_path / "own", ("key",)))
    made.setup()
    return made


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


def encode(
    data: Folder, cache: FeatureCache | None, backbone: Counting | None = None, split: str = "test"
) -> tuple[Features, int]:
    backbone = backbone or Counting()
    features = extract(backbone, data, data.select(split), device=CPU, cache=cache)  # type: ignore[arg-type]
    return features, sum(backbone.seen.values())


def same(one: Features, other: Features) -> bool:
    pairs = zip(one.levels, other.levels, strict=True)
    return (
        one.paths == other.paths
        and torch.equal(one.masks, other.masks)
        and torch.equal(one.labels, other.labels)
        and all(torch.equal(a, b) for a, b in pairs)
    )


def test_the_cache_changes_no_feature_and_saves_the_encoding(
    data: Folder, cache: FeatureCache
) -> None:
    plain, encoded = encode(data, None)
    first, first_encoded = encode(data, cache)
    second, second_encoded = encode(data, cache)
    assert (encoded, first_encoded, second_encoded) == (6, 6, 0)
    assert isinstance(second.source, Cached)
    assert same(plain, first)
    assert same(plain, second)
    assert plain.num_bytes == second.num_bytes > 0


def test_a_changed_image_is_encoded_anew_and_a_copied_one_is_not(
    data: Folder, cache: FeatureCache
) -> None:
    encode(data, cache)
    changed, copied = (sample.image for sample in data.select("test")[:2])
    Image.new("RGB", (60, 60), (250, 10, 10)).save(changed)
    features, encoded = encode(data, cache)
    assert encoded == 1
    assert same(features, encode(data, None)[0])
    changed.write_bytes(copied.read_bytes())
    assert encode(data, cache)[1] == 0


@pytest.mark.parametrize("missing", [slice(None, 1), slice(None, None, 2), slice(1, None)])
@pytest.mark.parametrize("block", [None, "attention", "mlp", "self_attention"])
def test_whatever_the_cache_lacks_no_bit_changes(
    data: Folder, cache: FeatureCache, missing: slice, block: str | None
) -> None:
    torch.manual_seed(0)
    through, sha256 = None, None
    if block:
        through = FeatureProjector((40, 112), num_heads=4, num_references=8, block=block).eval()
        sha256 = "a" * 64

    def both(cache: FeatureCache | None) -> list[Features]:
        train, _ = encode(data, cache, split="train")
        test, _ = encode(data, cache)
        references = FixedReferences(train, train.paths[:2], CPU)
        options = references, through, data.batch_size, cache, sha256
        return [test, *(convert_features(part, *options) for part in (train, test))]

    def lose() -> None:
        for path in sorted(cache.folder.rglob("*.features"))[missing]:
            path.unlink()

    plain = both(None)
    both(cache)
    lose()
    found = both(cache)
    assert all(map(same, found, plain))
    lose()  # While they are in use.
    assert all(map(same, found, plain))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [(1, [1] * 6), (3, [3, 3]), (4, [4, 4]), (5, [8, 4]), (6, [8]), (32, [8])],
)
def test_blank_images_fill_what_a_cpu_takes_at_once(
    data: Folder, cache: FeatureCache, batch_size: int, expected: list[int], cached: bool
) -> None:
    class Noting(SmallBackbone):
        def forward(self, images: Tensor, class_token: bool = False) -> list[Tensor]:
            if images.any():
                seen.append(len(images))
            return super().forward(images, class_token)

    seen: list[int] = []
    data.batch_size = batch_size
    found = extract(
        Noting(), data, data.select("test"), device=CPU, cache=cache if cached else None
    )
    assert seen == expected
    assert [len(level) for level in found.levels] == [6, 6]


def test_masks_are_read_anew(data: Folder, cache: FeatureCache) -> None:
    encode(data, cache)
    sample = next(sample for sample in data.select("test") if sample.mask)
    assert sample.mask is not None
    with Image.open(sample.mask) as mask:
        Image.new("L", mask.size, 255).save(sample.mask)
    features, encoded = encode(data, cache)
    assert encoded == 0
    assert features.masks[features.paths.index(str(sample.image))].all()


def test_other_weights_sizes_and_levels_are_not_mixed_up(data: Folder, cache: FeatureCache) -> None:
    encode(data, cache)
    assert encode(data, cache, Counting(seed=1))[1] == 6
    larger = folder_data(data.root, image_size=64)
    larger.setup()
    assert encode(larger, cache)[1] == 6


def test_everything_that_decides_over_features_has_a_space_of_its_own(
    data: Folder, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(Folder):
        """Of a module outside adpt."""

    def name(
        backbone: SmallBackbone | None = None, kind: type[Folder] = Folder, **options: object
    ) -> str:
        made = kind(data.root, **{"image_size": 48, "batch_size": 6, "num_workers": 0, **options})
        space = own_space(cache, backbone or SmallBackbone(), made)
        assert space is not None
        return space.name

    same = {name(), name(num_workers=1), name(train_fraction=0.5), name(seed=3)}
    assert len(same) == 1
    shifted, other = SmallBackbone(), SmallBackbone()
    shifted.mean += 0.1
    other.std *= 2
    found = [
        *same,
        name(SmallBackbone(levels=(2, 4))),
        name(Counting()),
        name(Counting(1)),
        name(shifted),
        name(other),
        name(image_size=32),
        name(resize=64),
        name(resize=[64, 48]),
        name(batch_size=5),
        name(kind=Own),
        cache.where({"backbone.power": 1}).space().name,
    ]
    monkeypatch.setattr(features_module, "own_code", lambda _: "another adpt")
    assert len({*found, name()}) == len(found) + 1
    one, two = (cache.where({"power": power}) for power in (1, 2))
    assert one.space(a=1).name not in (two.space(a=1).name, cache.space(a=1).name)
    assert one.where({"more": 1}).space(a=1).name != one.space(a=1).name


def test_a_folder_that_is_too_small_leaves_the_features_in_memory(
    data: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        features, _ = encode(data, FeatureCache(tmp_path / "small", max_gb=1e-6))
    assert "cache.max_gb" in caplog.text
    assert isinstance(features.source, InMemory)
    assert same(features, encode(data, None)[0])


def test_features_that_vanish_while_in_use_are_made_anew(data: Folder, cache: FeatureCache) -> None:
    plain, _ = encode(data, None)
    features, _ = encode(data, cache)
    for path in list(cache.folder.rglob("*.features"))[::2]:
        path.unlink()
    assert same(features, plain)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_broken_image_or_mask_is_named_or_skipped(
    data: Folder, cache: FeatureCache, policy: str
) -> None:
    encode(data, cache)
    data.on_bad_image = policy  # type: ignore[assignment]
    image = data.select("test", 0)[0].image
    mask = data.select("test", 1)[0]
    assert mask.mask is not None
    image.write_bytes(b"no image")
    mask.mask.write_bytes(b"no mask")
    if policy == "raise":
        with pytest.raises(BadImageError):
            encode(data, cache)
    else:
        features, encoded = encode(data, cache)
        assert encoded == 0
        assert sorted(features.skipped) == sorted([str(image), str(mask.image)])
        assert len(features) == len(features.labels) == 4


def test_parts_and_chains_read_the_rows_they_stand_for(data: Folder, cache: FeatureCache) -> None:
    features, _ = encode(data, cache)
    whole = features.levels[1]
    part = features.take([4, 1])
    assert part.paths == [features.paths[4], features.paths[1]]
    assert torch.equal(part.levels[1], whole[[4, 1]])
    assert torch.equal(part.masks, features.masks[[4, 1]])
    chain = Chained([features, part])
    assert len(chain) == 8
    assert torch.equal(chain.read([7, 0, 6, 5])[1], whole[[1, 0, 4, 5]])


class Recorded(InMemory):
    """Keeps the rows that were read; rows from 4 on cannot be."""

    def __init__(self) -> None:
        super().__init__([torch.arange(8.0, requires_grad=True).view(8, 1, 1, 1)])
        self.rows: list[list[int]] = []

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        self.rows.append(list(rows))
        if max(rows) >= 4:
            raise OSError("the disk is gone")
        return [2 * level for level in super().read(rows)]


def of_source(source: InMemory, number: int) -> Features:
    nothing = torch.zeros(number)
    return Features(source, nothing.view(-1, 1, 1) > 0, nothing.long(), ["x"] * number, [])


def test_one_batch_is_read_ahead_and_no_more() -> None:
    source = Recorded()
    batches = of_source(source, 4).batches(1, CPU)
    (level,) = next(batches)
    assert level.flatten().tolist() == [0]
    assert not level.requires_grad
    batches.close()  # Waits for what is being read.
    assert source.rows == [[0], [1]]


def test_fault_in_reading_ahead_comes_with_its_batch() -> None:
    batches = of_source(Recorded(), 8).batches(3, CPU)
    assert next(batches)[0].flatten().tolist() == [0, 2, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_no_images_give_no_batches() -> None:
    source = Recorded()
    assert list(of_source(source, 0).batches(3, CPU)) == []
    assert source.rows == []


def test_features_are_held_in_memory_up_to_a_limit(data: Folder, cache: FeatureCache) -> None:
    features, _ = encode(data, cache)
    assert isinstance(features.held(1.0), InMemory)
    assert features.held(1e-9) is features.source


# ---- Residual and pretrained features -------------------------------------------------------


def projector() -> FeatureProjector:
    torch.manual_seed(0)
    return FeatureProjector((40, 112), num_heads=4, num_references=8).eval()


@pytest.mark.parametrize("aligned", [None, 2])
def test_converted_features_are_cached_for_their_references_and_projector(
    data: Folder, cache: FeatureCache, aligned: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _ = encode(data, cache, split="train")
    converted: list[int] = []

    def references(shots: int) -> References:
        if aligned is None:
            return FixedReferences(train, train.paths[:shots], CPU)
        return AlignedReferences(train, train.paths[:shots], CPU, aligned)

    original = References.convert

    def counted(self: References, levels: list[Tensor], *rest: object) -> list[Tensor]:
        converted.append(len(levels[0]))
        return original(self, levels, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(References, "convert", counted)

    def count(shots: int, sha256: str | None) -> int:
        converted.clear()
        through = projector() if sha256 else None
        kept = convert_features(train, references(shots), through, 4, cache, sha256)
        made = sum(converted)
        plain = convert_features(train, references(shots), through, 4)
        for level, expected in zip(kept.levels, plain.levels, strict=True):
            torch.testing.assert_close(level, expected)
        return made

    assert [count(2, None), count(2, None)] == [6, 0]
    assert [count(2, "a"), count(2, "a"), count(2, "b")] == [6, 0, 6]
    assert [count(3, None), count(3, None)] == [6, 0]


@pytest.mark.parametrize("on_residuals", [True, False])
@pytest.mark.parametrize("block", ["attention", "cross_attention"])
def test_projectors_get_the_features_and_references_that_they_were_made_for(
    data: Folder, block: str, on_residuals: bool
) -> None:
    train, _ = encode(data, None, split="train")
    references = FixedReferences(train, train.paths[:2], CPU)
    torch.manual_seed(0)
    made = FeatureProjector(
        (40, 112), num_heads=4, num_references=8, block=block, on_residuals=on_residuals
    ).eval()
    converted = convert_features(train, references, made).levels
    for row in range(len(train)):
        own = train.read([row])
        others = [other for other in range(2) if other != row]
        tokens = [level.flatten(2).transpose(1, 2).flatten(0, 1) for level in train.read(others)]
        given = residual_features(own, tokens) if on_residuals else own
        expected = made(given, references=tokens if block == "cross_attention" else None)
        for level, value in zip(converted, expected, strict=True):
            torch.testing.assert_close(level[row], value[0].detach(), rtol=1e-4, atol=1e-5)


def test_a_reference_and_its_copy_in_the_test_set_are_told_apart(
    data: Folder, cache: FeatureCache
) -> None:
    """A reference is not compared with itself; a test image of the same content is."""
    target = data.select("test", 0)[0].image
    target.write_bytes(data.select("train")[0].image.read_bytes())
    train, _ = encode(data, cache, split="train")
    test, _ = encode(data, cache)
    references = FixedReferences(train, train.paths[:2], CPU)
    trained = convert_features(train, references, cache=cache).read([0])[0]
    copy = convert_features(test, references, cache=cache).read([test.paths.index(str(target))])[0]
    assert copy.abs().max() == 0
    assert trained.abs().max() > 0


# ---- Aligned references ---------------------------------------------------------------------


def test_aligned_references_against_brute_force(data: Folder) -> None:
    train, _ = encode(data, None, split="train")
    test, _ = encode(data, None)
    references = AlignedReferences(train, train.paths[:2], CPU, 3)
    for features in (train, test):
        found = references.nearest(features.levels, features.paths)
        converted = convert_features(features, references)
        for row, path in enumerate(features.paths):
            own = features.levels[1][row].mean((1, 2))
            distance = {
                other: float(
                    torch.cosine_similarity(own, train.levels[1][other].mean((1, 2)), dim=0)
                )
                for other in range(len(train))
                if train.paths[other] != path
            }
            nearest = sorted(distance, key=lambda other: -distance[other])[:3]
            assert found[row].tolist() == nearest
            for level in (0, 1):
                pool = torch.cat([train.levels[level][other].flatten(1).T for other in nearest])
                tokens = features.levels[level][row].flatten(1).T
                matched = torch.stack(
                    [pool[torch.cosine_similarity(t[None], pool).argmax()] for t in tokens]
                )
                got = converted.levels[level][row].flatten(1).T
                torch.testing.assert_close(got, tokens - matched)


def test_aligned_references_are_all_there_are_where_there_are_few(data: Folder) -> None:
    train, _ = encode(data, None, split="train")
    references = AlignedReferences(train, train.paths[:2], CPU, 100)
    for (rows, levels), path in zip(
        references.matches(train.levels, train.paths), train.paths, strict=True
    ):
        assert train.paths[rows[0]] == path
        assert len(levels[1]) == 5 * train.levels[1][0, 0].numel()
