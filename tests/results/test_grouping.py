"""Which records are averaged, which are held against each other, and which are kept apart."""

import dataclasses
import json
from typing import Any

import pytest

from adpt.results import Record, Summary, pretraining_of, summarise
from adpt.results.compare import overviews
from recorded import a_record, three


def means(records: list[Record]) -> list[tuple[float, float, float]]:
    """Own, residual and pretrained of each summary's mean."""
    cells = [summary.mean.metrics["image_auroc"] for summary in summarise(records)]
    return [(cell.own, cell.residual, cell.pretrained) for cell in cells]


def shown(summary: Summary) -> tuple[Any, ...]:
    mean = summary.mean.metrics["image_auroc"]
    return (summary.shots, summary.projector_sha256, mean.own, mean.pretrained)


def pretrained(auroc: float, projector: str, **changes: Any) -> Record:
    """A record of pretrained features; the hash is that of the path's letters."""
    sha256 = projector.encode().hex().ljust(64, "0")
    return a_record("pretrained", auroc, projector=projector, projector_sha256=sha256, **changes)


# Settings


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "clip_l"},
        {"protocol": "paper"},
        {"setting": {"train_fraction": 0.1}},
        {"setting": {"noise_ratio": 0.1}},
        {"setting": {"few_shot": True}},
    ],
)
def test_settings_are_never_mixed(change: dict[str, Any]) -> None:
    records = three((0.1, 0.2, 0.3)) + three((0.4, 0.5, 0.6), **change)
    assert means(records) == [(0.1, 0.2, 0.3), (0.4, 0.5, 0.6)]


def test_settings_are_the_same_whatever_the_order_of_their_options() -> None:
    one, other = {"few_shot": True, "noise_ratio": 0.1}, {"noise_ratio": 0.1, "few_shot": True}
    records = [a_record("own", 0.1, setting=one), a_record("residual", 0.2, setting=other)]
    assert len(summarise(records)) == 1


def test_setting_is_shown_in_words() -> None:
    (summary,) = summarise(three((0.1, 0.2, 0.3), setting={"train_fraction": 0.1}))
    assert summary.setting.startswith("clip_b, clean protocol, 10 % of the training images, 8 ref")
    assert summary.varied == {"train_fraction": 0.1}


def test_own_features_stand_in_every_setting_of_references_and_projector() -> None:
    records = [
        a_record("own", 0.5),
        a_record("residual", 0.6, shots=2),
        a_record("pretrained", 0.7, shots=2),
        a_record("pretrained", 0.8, shots=4),
        a_record("pretrained", 0.9, shots=4, projector_sha256="cd" * 32),
    ]
    assert [shown(summary) for summary in summarise(records)] == [
        (2, "ab" * 32, 0.5, 0.7),
        (4, "ab" * 32, 0.5, 0.8),
        (4, "cd" * 32, 0.5, 0.9),
    ]


def test_few_shot_own_features_stand_beside_their_own_number_of_references() -> None:
    few: dict[str, Any] = {"setting": {"few_shot": True}}
    records = []
    for shots, own, other in ((1, 0.1, 0.2), (2, 0.3, 0.4), (4, 0.5, 0.6)):
        records.append(a_record("own", own, shots=shots, **few))
        records.append(a_record("pretrained", other, shots=shots, **few))
    assert [shown(summary) for summary in summarise(records)] == [
        (1, "ab" * 32, 0.1, 0.2),
        (2, "ab" * 32, 0.3, 0.4),
        (4, "ab" * 32, 0.5, 0.6),
    ]


def test_few_shot_own_features_alone_are_kept_apart_by_references() -> None:
    records = [a_record("own", 0.1 * k, shots=k, setting={"few_shot": True}) for k in (1, 2)]
    assert [summary.shots for summary in summarise(records)] == [1, 2]


def test_aligned_references_are_held_against_plain_own_features() -> None:
    aligned = {"setting": {"aligned": 10}}
    records = [
        *three((0.1, 0.2, 0.3)),
        a_record("residual", 0.4, **aligned),
        a_record("pretrained", 0.5, **aligned),
    ]
    assert means(records) == [(0.1, 0.2, 0.3), (0.1, 0.4, 0.5)]
    summary = summarise(records)[1]
    assert summary.varied == {"aligned": 10}
    assert "per class" not in summary.setting
    # Own features that were recorded with them go first.
    records.append(a_record("own", 0.15, **aligned))
    assert means(records)[1] == (0.15, 0.4, 0.5)


def test_residual_features_without_a_projector_have_their_own_setting() -> None:
    (summary,) = summarise([a_record("own", 0.5), a_record("residual", 0.6, shots=4)])
    assert (summary.shots, summary.projector_sha256) == (4, None)
    assert summary.mean.metrics["image_auroc"].residual == 0.6


# Projectors


def test_projectors_of_several_seeds_are_averaged() -> None:
    records = [
        record
        for seed, value in ((0, 0.8), (1, 0.9))
        for record in (
            a_record("own", 0.5, seed=seed),
            pretrained(value, f"seed_{seed}/p.safetensors", seed=seed),
        )
    ]
    (summary,) = summarise(records)
    mean = summary.mean.metrics["image_auroc"]
    assert mean.pretrained == pytest.approx(0.85)
    assert mean.deviation("pretrained") == pytest.approx(0.05 * 2**0.5)
    assert summary.projector_sha256 is None
    assert len(summary.projectors) == 2
    assert "2 projectors, seeds 0, 1" in summary.setting


def test_projectors_that_each_left_out_a_class_are_one_experiment() -> None:
    records = [
        record
        for name, value in (("bottle", 0.8), ("cable", 0.9), ("zipper", 1.0))
        for record in (
            a_record("own", 0.5, class_name=name),
            pretrained(value, f"without_{name}.safetensors", class_name=name),
        )
    ]
    (summary,) = summarise(records)
    assert [row.metrics["image_auroc"].pretrained for row in summary.rows] == [0.8, 0.9, 1.0]
    assert summary.mean.metrics["image_auroc"].pretrained == pytest.approx(0.9)


def test_two_projectors_over_the_same_seeds_are_kept_apart() -> None:
    records = [
        pretrained(value, path, seed=seed)
        for path, value in (("angle.safetensors", 0.6), ("both.safetensors", 0.8))
        for seed in (0, 1)
    ]
    summaries = summarise(records)
    assert [s.mean.metrics["image_auroc"].pretrained for s in summaries] == [0.6, 0.8]
    assert [s.seeds for s in summaries] == [(0, 1), (0, 1)]


def ablation(path: str, loss: str, name: str, seed: int, auroc: float) -> Record:
    """Of a projector whose file tells how it was pretrained."""
    config = {
        "seed": seed,
        "run_name": path,
        "output_dir": path,
        "model": {"loss": loss},
        "data": {"sets": [{"classes": [f"all but {name}"], "seed": seed}], "batch_size": 8},
    }
    noted = pretraining_of({"config": json.dumps(config)})
    assert noted["seed"] == seed
    provenance = {"projector_pretraining": noted}
    return pretrained(auroc, path, class_name=name, seed=seed, provenance=provenance)


def test_ablations_over_seeds_and_left_out_classes_are_told_apart_by_what_files_say() -> None:
    records = [
        ablation(
            f"runs/{loss}_0.1/without_{name}/seed{seed}/projector.safetensors",
            loss,
            name,
            seed,
            {"angle": 0.6, "both": 0.8}[loss] + 0.01 * seed,
        )
        for loss in ("angle", "both")
        for name in ("metal_nut", "zipper")
        for seed in (0, 1)
    ]
    found = [(s.variant, s.mean.metrics["image_auroc"]) for s in summarise(records)]
    assert [variant for variant, _ in found] == [
        "runs/angle_0.1/*/*/projector.safetensors",
        "runs/both_0.1/*/*/projector.safetensors",
    ]
    assert [mean.pretrained for _, mean in found] == pytest.approx([0.605, 0.805])
    assert all(mean.deviation("pretrained") == pytest.approx(0.01 / 2**0.5) for _, mean in found)
    (table,) = overviews(summarise(records), ["image_auroc"])
    assert [block.name for block in table.blocks] == [
        "padim, projectors runs/angle_0.1/projector.safetensors",
        "padim, projectors runs/both_0.1/projector.safetensors",
    ]


def test_whatever_projectors_are_called_what_files_say_tells_them_apart() -> None:
    names = iter("qwertyuiop")
    records = [
        ablation(f"{next(names)}.safetensors", loss, "zipper", seed, value)
        for loss, value in (("angle", 0.6), ("both", 0.8))
        for seed in (0, 1)
    ]
    # Left at one place one after the other, as in a folder that is used again.
    replaced = [dataclasses.replace(record, projector="p.safetensors") for record in records]
    for made in (records, replaced):
        assert [mean for _, _, mean in means(made)] == pytest.approx([0.6, 0.8])
        assert len({summary.variant for summary in summarise(made)}) == 2


def test_two_projectors_of_one_pretraining_for_one_seed_are_kept_apart() -> None:
    records = [ablation(f"{n}.safetensors", "both", "zipper", 0, n / 10) for n in (1, 2)]
    assert [s.variant for s in summarise(records)] == [r.projector_sha256 for r in records]


def test_a_file_without_a_config_tells_nothing_of_its_pretraining() -> None:
    assert pretraining_of({"backbone": "clip_b"}) == {}


def test_own_features_of_seeds_that_pretrained_ones_lack_do_not_count() -> None:
    records = [a_record("own", 0.2 * seed, seed=seed) for seed in range(3)]
    records += [a_record("pretrained", 0.9, seed=1), a_record("pretrained", 0.7, seed=2)]
    (summary,) = summarise(records)
    assert summary.mean.metrics["image_auroc"].own == pytest.approx(0.3)
    assert summary.seeds == (1, 2)


def test_own_features_of_one_seed_stand_beside_pretrained_ones_of_others() -> None:
    records = [a_record("own", 0.2, seed=0)]
    records += [a_record("pretrained", 0.9, seed=1), a_record("pretrained", 0.7, seed=2)]
    assert means(records)[0][0] == 0.2


# Options of the method


def test_options_of_a_method_are_kept_apart() -> None:
    records = three((0.1, 0.2, 0.3)) + three((0.4, 0.5, 0.6), options={"epochs": 5})
    assert means(records) == [(0.1, 0.2, 0.3), (0.4, 0.5, 0.6)]
    assert [", epochs 5," in s.setting for s in summarise(records)] == [False, True]


def test_options_for_pretrained_features_alone_keep_the_others_beside_them() -> None:
    noise = {"noise_std": 0.005}
    records = []
    for options, own, other in (({}, 0.1, 0.3), ({"epochs": 5}, 0.4, 0.6)):
        records.append(a_record("own", own, options=options))
        records.append(a_record("pretrained", other, options=options | noise))
    assert [(own, other) for own, _, other in means(records)] == [(0.1, 0.3), (0.4, 0.6)]
    assert "noise std 0.005 on pretrained features" in summarise(records)[0].setting


def test_features_trained_for_other_epochs_are_not_held_against_each_other() -> None:
    records = [a_record("own", 0.1), a_record("pretrained", 0.3, options={"epochs": 5})]
    assert len(summarise(records)) == 2
