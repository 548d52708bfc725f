"""Downstream: what is encoded, which features the methods get, and what comes out."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.data import Folder
from adpt.data.references import choose_references
from adpt.errors import BadImageError, DataError, UserError
from adpt.evaluation import ClassData, choose_kinds, encode_class, run_methods
from adpt.evaluation.converting import convert_features
from adpt.evaluation.epochs import best_of
from adpt.evaluation.features import Features, extract
from adpt.evaluation.matching import FixedReferences
from adpt.methods import FeatureNorm, PaDiM, PatchCore
from adpt.projector import FeatureProjector
from drawn import draw_folder
from runs import folder_data
from small import SmallBackbone

CPU = torch.device("cpu")
METHODS = {
    "feature_norm": partial(FeatureNorm, 48),
    "padim": partial(PaDiM, 48),
    "patchcore": partial(PatchCore, 48, coreset_ratio=0.5, embedding_dim=32),
}
METRICS = {
    "image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max",
    "pixel_aupro",
}  # fmt: skip


class Counting(SmallBackbone):
    """Counts how often it sees each picture, but for blank ones that fill what is taken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[bytes] = Counter()

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.update(image.numpy().tobytes() for image in images if image.any())
        return super().forward(images)


@pytest.fixture
def backbone() -> Counting:
    return Counting()


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    made = folder_data(draw_folder(tmp_path / "own", ("bottle", "key")))
    made.setup()
    return made


@pytest.fixture
def projector() -> FeatureProjector:
    torch.manual_seed(0)
    return FeatureProjector((40, 112), num_heads=4, num_references=8).eval()


def encoded(data: Folder, backbone: Counting, shots: int = 2, seed: int = 0) -> ClassData:
    return encode_class(data, "key", backbone, shots=shots, seed=seed, device=CPU)


# ---- Encoding -------------------------------------------------------------------------------


def test_each_image_is_encoded_once_for_all_kinds_and_methods(
    data: Folder, backbone: Counting, projector: FeatureProjector
) -> None:
    found = encoded(data, backbone)
    kinds = choose_kinds(None, projector)
    run_methods(found, METHODS, kinds, projector=projector, batch_size=4, device=CPU)
    assert len(found.train) == len(found.test) == 6
    assert len(backbone.seen) == 12
    assert set(backbone.seen.values()) == {1}


def test_features_are_the_backbones_in_the_order_of_the_samples(
    data: Folder, backbone: Counting
) -> None:
    samples = data.select("test", class_name="key")[::-1]
    features = extract(backbone, data, samples, device=CPU)
    assert features.paths == [str(sample.image) for sample in samples]
    assert features.labels.tolist() == [sample.label for sample in samples]
    assert [bool(mask.any()) for mask in features.masks] == [bool(s.label) for s in samples]
    for number, sample in enumerate(samples):
        alone = backbone(data.read([sample]).image)
        for level, expected in zip(features.levels, alone, strict=True):
            torch.testing.assert_close(level[number], expected[0])


def test_features_come_in_batches_of_the_size_asked_for(data: Folder, backbone: Counting) -> None:
    features = extract(backbone, data, data.select("train", class_name="key"), device=CPU)
    batches = list(features.batches(4, CPU))
    assert [len(batch[0]) for batch in batches] == [4, 2]
    assert torch.equal(torch.cat([batch[1] for batch in batches]), features.levels[1])


def test_extraction_of_nothing_is_empty(data: Folder, backbone: Counting) -> None:
    features = extract(backbone, data, [], device=CPU)
    assert len(features) == 0
    assert features.masks.shape == (0, 48, 48)


def test_progress_counts_every_image(data: Folder, backbone: Counting) -> None:
    told: list[tuple[str, int, int]] = []
    samples = data.select("train")
    extract(backbone, data, samples, device=CPU, progress=lambda *what: told.append(what))
    assert told == [("encoding", 6, 12), ("encoding", 12, 12)]


# ---- References -----------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [1, 2, 4, 8])
def test_k_references_are_chosen_by_the_seed_and_named(
    data: Folder, backbone: Counting, shots: int
) -> None:
    normal = data.select("train", 0, "key")
    for seed in (0, 1):
        expected = [str(sample.image) for sample in choose_references(normal, shots, seed)]
        assert len(expected) == min(shots, 6)
        assert encoded(data, backbone, shots, seed).references.paths == expected


def test_references_are_normal_images_that_can_be_read(data: Folder, backbone: Counting) -> None:
    data.on_bad_image = "skip"
    broken = data.select("train", class_name="key")[:4]
    for sample in broken:
        sample.image.write_bytes(b"")
    found = encoded(data, backbone, shots=8)
    assert len(found.references.paths) == 2
    assert sorted(found.train.skipped) == sorted(str(sample.image) for sample in broken)


def literal_residual(token: Tensor, references: Tensor) -> Tensor:
    return token - references[torch.cosine_similarity(token[None], references, dim=1).argmax()]


def tokens_of(features: Features, path: str, level: int) -> Tensor:
    return features.levels[level][features.paths.index(path)].flatten(1).T


def test_residual_features_against_the_literal_definition(data: Folder, backbone: Counting) -> None:
    """Every patch less its nearest reference patch; an image's own patches are no references."""
    found = encoded(data, backbone, shots=3)
    for features in (found.train, found.test):
        residual = convert_features(features, found.references, batch_size=4)
        assert residual.paths == features.paths
        for path in features.paths:
            others = [other for other in found.references.paths if other != path]
            for level in (0, 1):
                references = torch.cat([tokens_of(found.train, o, level) for o in others])
                expected = torch.stack(
                    [literal_residual(t, references) for t in tokens_of(features, path, level)]
                )
                torch.testing.assert_close(tokens_of(residual, path, level), expected)


def test_references_have_residuals_too(data: Folder, backbone: Counting) -> None:
    found = encoded(data, backbone, shots=3)
    residual = convert_features(found.train, found.references)
    for path in found.references.paths:
        assert tokens_of(residual, path, 1).norm(dim=1).min() > 1e-3


def test_pretrained_features_are_projected_residual_features(
    data: Folder, backbone: Counting, projector: FeatureProjector
) -> None:
    found = encoded(data, backbone)
    residual = convert_features(found.test, found.references)
    pretrained = convert_features(found.test, found.references, projector)
    for level, expected in zip(pretrained.levels, projector(residual.levels), strict=True):
        torch.testing.assert_close(level, expected.detach(), rtol=1e-4, atol=1e-5)
        assert not level.requires_grad
    assert not torch.allclose(pretrained.levels[0], residual.levels[0], atol=1e-2)


def test_own_features_are_left_as_they_are(data: Folder, backbone: Counting) -> None:
    found = encoded(data, backbone)
    before = [level.clone() for level in found.test.levels]
    convert_features(found.test, found.references)
    assert all(torch.equal(a, b) for a, b in zip(before, found.test.levels, strict=True))


def test_an_only_reference_is_matched_with_its_own_other_patches(
    data: Folder, backbone: Counting
) -> None:
    found = encoded(data, backbone, shots=1)
    residual = convert_features(found.train, found.references)
    assert residual.paths == found.train.paths
    path = found.references.paths[0]
    for level in (0, 1):
        tokens = tokens_of(found.train, path, level)
        for place, (token, expected) in enumerate(
            zip(tokens, tokens_of(residual, path, level), strict=True)
        ):
            others = torch.cat([tokens[:place], tokens[place + 1 :]])
            torch.testing.assert_close(expected, literal_residual(token, others))


def test_a_class_of_a_single_training_image_still_runs(tmp_path: Path, backbone: Counting) -> None:
    data = folder_data(draw_folder(tmp_path / "single", ("key",), train=1))
    data.setup()
    found = encoded(data, backbone, shots=8)
    assert len(convert_features(found.train, found.references)) == 1
    outcomes = run_methods(
        found, METHODS, ["own", "residual"], projector=None, batch_size=4, device=CPU
    )
    assert all(outcome.maps.isfinite().all() for outcome in outcomes)


def test_references_outside_the_features_are_no_references(
    data: Folder, backbone: Counting
) -> None:
    features = extract(backbone, data, data.select("train", class_name="key"), device=CPU)
    with pytest.raises(KeyError, match="elsewhere"):
        FixedReferences(features, ["elsewhere.png"], CPU)


# ---- Running methods ------------------------------------------------------------------------


def test_every_method_runs_on_every_kind(
    data: Folder, backbone: Counting, projector: FeatureProjector
) -> None:
    found = encoded(data, backbone)
    kinds = choose_kinds(None, projector)
    outcomes = run_methods(found, METHODS, kinds, projector=projector, batch_size=4, device=CPU)
    assert [(o.kind, o.method) for o in outcomes] == [
        (kind, method) for kind in ("own", "residual", "pretrained") for method in METHODS
    ]
    for outcome in outcomes:
        assert outcome.maps.shape == (6, 48, 48)
        assert outcome.image_scores.shape == (6,)
        assert outcome.maps.isfinite().all()
        assert set(outcome.metrics) >= METRICS
        assert all(0 <= value <= 1 for value in outcome.metrics.values())
        assert set(outcome.seconds) == {"fit", "score"}
    maps = {(o.kind, o.method): o.maps for o in outcomes}
    for method in METHODS:
        assert not torch.allclose(maps["own", method], maps["residual", method], rtol=1e-2)
        assert not torch.allclose(maps["residual", method], maps["pretrained", method], rtol=1e-2)


def test_memory_bank_of_own_features_finds_the_drawn_squares(
    data: Folder, backbone: Counting
) -> None:
    outcomes = run_methods(
        encoded(data, backbone),
        {"patchcore": METHODS["patchcore"]},
        ["own"],
        projector=None,
        batch_size=4,
        device=CPU,
    )
    assert outcomes[0].metrics["image_auroc"] == 1
    assert outcomes[0].metrics["pixel_auroc"] > 0.8


@pytest.mark.parametrize("kind", ["own", "residual", "pretrained"])
def test_scores_depend_on_neither_batch_size_nor_order(
    data: Folder, projector: FeatureProjector, kind: str
) -> None:
    def scores(batch_size: int, backwards: bool) -> dict[tuple[str, str], Tensor]:
        made = folder_data(data.root, batch_size=batch_size)
        made.setup()
        backbone = Counting()
        train = made.select("train", class_name="key")
        test = made.select("test", class_name="key")
        train_features = extract(backbone, made, train, device=CPU)
        chosen = [str(s.image) for s in choose_references(train, 2, 0)]
        found = ClassData(
            "key",
            train_features,
            extract(backbone, made, test[::-1] if backwards else test, device=CPU),
            FixedReferences(train_features, chosen, CPU),
            0.0,
        )
        outcomes = run_methods(
            found, METHODS, [kind], projector=projector, batch_size=batch_size, device=CPU
        )
        return {
            (o.method, path): torch.cat([o.maps[row].flatten(), o.image_scores[row, None]])
            for o in outcomes
            for row, path in enumerate(found.test.paths)
        }

    expected, other = scores(6, False), scores(1, True)
    assert len(expected) == 18
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5 * scale)


def test_a_test_image_does_not_change_the_scores_of_another(
    data: Folder, backbone: Counting, projector: FeatureProjector
) -> None:
    found = encoded(data, backbone)
    few = ClassData(
        "key",
        found.train,
        found.test.take([2, 3]),
        found.references,
        0.0,
    )
    for whole, part in zip(
        run_methods(found, METHODS, ["pretrained"], projector=projector, batch_size=6, device=CPU),
        run_methods(few, METHODS, ["pretrained"], projector=projector, batch_size=6, device=CPU),
        strict=True,
    ):
        torch.testing.assert_close(part.maps, whole.maps[2:4], rtol=1e-4, atol=1e-5)


# ---- What cannot be done --------------------------------------------------------------------


def test_a_class_without_test_images_is_refused(tmp_path: Path, backbone: Counting) -> None:
    data = folder_data(draw_folder(tmp_path / "own", ("key",), good=0, defects=()))
    data.setup()
    with pytest.raises(DataError, match=r"Class 'key' of .*own has no test image"):
        encoded(data, backbone)


def test_a_class_without_readable_training_images_is_refused(
    data: Folder, backbone: Counting
) -> None:
    data.on_bad_image = "skip"
    for sample in data.select("train", class_name="key"):
        sample.image.write_bytes(b"")
    with pytest.raises(DataError, match="no normal training image that can be read"):
        encoded(data, backbone)


def test_an_unreadable_test_image_stops_the_evaluation(data: Folder, backbone: Counting) -> None:
    data.select("test", class_name="key")[1].image.write_bytes(b"")
    with pytest.raises(BadImageError, match=r"test/good/001\.png \(class 'key'\)"):
        encoded(data, backbone)


def test_kinds_are_those_asked_for_or_all_that_can_be_had(projector: FeatureProjector) -> None:
    assert choose_kinds(None, None) == ["own", "residual"]
    assert choose_kinds(None, projector) == ["own", "residual", "pretrained"]
    assert choose_kinds(["pretrained", "own"], projector) == ["own", "pretrained"]
    for wanted in ([], ["raw"], ["own", "raw"]):
        with pytest.raises(UserError, match="choose some of own, residual, pretrained"):
            choose_kinds(wanted, projector)
    with pytest.raises(UserError, match="needs a projector"):
        choose_kinds(["pretrained"], None)


def test_of_equally_good_epochs_the_first_is_the_best() -> None:
    history = [{"epoch": e, "loss": 0.0, "a": a, "b": float("nan")}
               for e, a in ((2, 0.5), (4, 0.9), (6, 0.9))]  # fmt: skip
    metrics, epochs = best_of(history, {"a": 0.9, "b": 0.1})
    assert (metrics, epochs) == ({"a": 0.9, "b": 0.1}, {"a": 4})
