"""Panels show the extreme cases and evenly spread ones, from images on disk and details alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import drawn
from adpt.data import Folder
from adpt.errors import UserError
from adpt.evaluation.panels import choose_cases, choose_images, class_folder, masks_of, write_panels
from adpt.results.details import Details, details_of
from runs import folder_data

SIDE = 48


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    """5 normal and 6 defective test images, good/000 to 004 and scratch/000 to 005."""
    found = folder_data(drawn.draw_folder(tmp_path / "own", ("key",), good=5, defective=6))
    found.setup()
    return found


def scored(data: Folder, image_scores: list[float], quality: list[float] | None = None) -> Details:
    """Details in which map i is `quality[i]` on the mask and noise of 0 to 1 elsewhere."""
    samples = data.select("test")
    batch = data.read(samples)
    noise = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(0))
    strength = torch.tensor(quality or [2.0] * len(samples))
    maps = torch.where(batch.mask, strength[:, None, None], noise)
    return details_of(batch.path, batch.label, batch.mask, torch.tensor(image_scores), maps)


def stems(data: Folder) -> list[str]:
    return [sample.image.stem for sample in data.select("test")]


def names(paths: list[Path]) -> set[str]:
    return {path.stem for path in paths}


# Which images


def test_extreme_scores_are_the_worst_and_best_cases(data: Folder) -> None:
    labels = np.array([sample.label for sample in data.select("test")])
    scores = np.where(labels > 0, 10.0, 0.0) + np.arange(len(labels))
    details = scored(data, scores.tolist())
    worst, best = choose_cases(details, masks_of(data, details), 2)
    anomalous, normal = np.flatnonzero(labels).tolist(), np.flatnonzero(labels == 0).tolist()
    assert worst == [*anomalous[:2], normal[-1], normal[-2]]
    assert best == [anomalous[-1], anomalous[-2]]


def test_defect_that_is_noticed_elsewhere_is_not_well_found(data: Folder) -> None:
    labels = [sample.label for sample in data.select("test")]
    chosen = labels.index(1) + 2
    quality = [2.0] * len(labels)
    quality[chosen] = -1.0
    details = scored(data, [5.0] * len(labels), quality)
    worst, best = choose_cases(details, masks_of(data, details), 1)
    assert worst[0] == chosen
    assert chosen not in best


def test_no_image_is_both_worst_and_best(data: Folder) -> None:
    details = scored(data, [1.0] * 11)
    worst, best = choose_cases(details, masks_of(data, details), 5)
    assert len(worst) == 5 + 5
    assert len(best) == 1
    assert not set(worst) & set(best)


def test_defects_outside_the_image_are_left_out(data: Folder) -> None:
    details = scored(data, [1.0] * 11)
    masks = masks_of(data, details)
    first = min(masks)
    masks[first] = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    worst, best = choose_cases(details, masks, 10)
    assert first not in worst + best


def test_masks_are_those_of_the_anomalous_images(data: Folder) -> None:
    masks = masks_of(data, scored(data, [1.0] * 11))
    batch = data.read(data.select("test"))
    assert sorted(masks) == batch.label.nonzero().flatten().tolist()
    assert all(torch.equal(mask, batch.mask[index]) for index, mask in masks.items())


def test_evenly_spread_images_are_a_quarter_normal() -> None:
    labels = torch.tensor([0] * 20 + [1] * 30)
    chosen = choose_images(labels, 8)
    assert chosen == sorted(chosen)
    assert [int(label) for label in labels[chosen]] == [0] * 2 + [1] * 6
    assert {0, 19, 20, 49} <= set(chosen)
    assert choose_images(labels[:20], 3) == [0, 9, 19]
    assert choose_images(labels[:2], 9) == [0, 1]


# Files


def test_images_of_one_name_in_different_folders_have_a_panel_each(tmp_path: Path) -> None:
    root = drawn.draw_folder(tmp_path / "own", ("key",), good=2, defective=1)
    for place, kind in (("test/good/deep", 0), ("test/good/other", 1)):
        drawn.save(drawn.picture("key", kind)[0], root / "key" / place / "000.png")
    data = folder_data(root)
    data.setup()
    count = len(data.select("test"))
    written = write_panels(tmp_path / "out", data, {"own": scored(data, [1.0] * count)}, count)
    assert len(set(written)) == len(written) == count
    assert sorted(written) == sorted((tmp_path / "out").iterdir())


def test_names_tell_what_a_panel_shows(data: Folder, tmp_path: Path) -> None:
    labels = np.array([sample.label for sample in data.select("test")])
    scores = np.where(labels > 0, 10.0, 0.0) + np.arange(11)
    details = {"own": scored(data, (-scores).tolist()), "pretrained": scored(data, scores.tolist())}
    written = write_panels(tmp_path / "out", data, details, 4)
    stem = stems(data)
    anomalous, normal = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    expected = {
        f"worst_scratch_{stem[anomalous[0]]}",  # by the pretrained scores, not by the own ones
        f"worst_normal_{stem[normal[-1]]}",
        f"best_scratch_{stem[anomalous[-1]]}",
    }
    assert expected <= names(written)
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    # Of the 4 spread ones those that are extreme cases too are drawn once.
    spread = {
        f"{'scratch' if labels[index] else 'normal'}_{stem[index]}"
        for index in choose_images(labels, 4)
    }
    extreme = {name.split("_", 1)[1] for name in expected}
    assert names(written) == expected | (spread - extreme)


def test_panel_has_a_picture_for_every_kind(data: Folder, tmp_path: Path) -> None:
    pictures = []
    for kinds in (["own"], ["own", "residual", "pretrained"]):
        details = dict.fromkeys(kinds, scored(data, [1.0] * 11))
        path = write_panels(tmp_path / "-".join(kinds), data, details, 1)[0]
        with Image.open(path) as opened:
            # Enlarged where captions are wider; eight pixels between, a caption above.
            side = opened.height - 24
            pictures.append((opened.width + 8) / (side + 8))
            assert side % SIDE == 0
    assert pictures == [3, 5]


def test_map_is_drawn_where_the_scores_are(data: Folder, tmp_path: Path) -> None:
    samples = data.select("test")
    maps = torch.zeros(11, 128, 128)
    maps[:, :64, :64] = 1.0
    labels = torch.tensor([sample.label for sample in samples])
    paths = [str(sample.image) for sample in samples]
    details = details_of(paths, labels, maps > 2, torch.ones(11), maps)
    (path, *_) = write_panels(tmp_path / "out", data, {"own": details}, 1)
    with Image.open(path) as opened:
        drawn_map = np.asarray(opened).astype(int)[-SIDE:, -SIDE:]
    # The brightest colour is yellow, the darkest next to none.
    warmth = drawn_map[..., 0] - drawn_map[..., 2]
    assert warmth[: SIDE // 2 - 2, : SIDE // 2 - 2].min() > warmth[SIDE // 2 + 2 :].max() + 30


def test_panels_of_an_earlier_run_are_removed(data: Folder, tmp_path: Path) -> None:
    first = write_panels(tmp_path, data, {"own": scored(data, list(range(11)))}, 4)
    second = write_panels(tmp_path, data, {"own": scored(data, list(range(11))[::-1])}, 4)
    assert set(first) != set(second)
    assert set(tmp_path.glob("*.png")) == set(second)


def test_none_wanted_none_written(data: Folder, tmp_path: Path) -> None:
    assert write_panels(tmp_path / "out", data, {"own": scored(data, [1.0] * 11)}, 0) == []
    assert not (tmp_path / "out").exists()


def test_image_that_is_gone_from_the_set_is_named(data: Folder, tmp_path: Path) -> None:
    details = scored(data, [1.0] * 11)
    gone = data.select("test")[0]
    data.samples = [sample for sample in data.samples if sample != gone]
    with pytest.raises(UserError, match=rf"{gone.image} was scored .* new folder"):
        write_panels(tmp_path / "out", data, {"own": details}, 2)


def test_details_of_other_images_are_refused(data: Folder, tmp_path: Path) -> None:
    details = scored(data, [1.0] * 11)
    batch = data.read(data.select("test")[1:])
    maps = torch.zeros(batch.mask.shape)
    fewer = details_of(batch.path, batch.label, batch.mask, torch.zeros(10), maps)
    with pytest.raises(ValueError, match="different images"):
        write_panels(tmp_path, data, {"own": details, "pretrained": fewer}, 2)


def test_class_of_several_sets_has_one_folder() -> None:
    assert class_folder("visa/pcb1") == "visa_pcb1"
