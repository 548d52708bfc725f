"""Where windows lie, and backbones and methods that see a picture through them."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.backbones import Backbone, Levels, WindowedBackbone, build_backbone, check_backbone
from adpt.errors import UserError
from adpt.methods import PaDiM, PatchCore, PerWindow
from adpt.methods.base import tells_left_out
from adpt.windows import WindowOptions, Windows, spans
from small import LEVELS, SMALL, ShortFeatures


@pytest.mark.parametrize("length", [64, 96, 224, 640])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_parts_of_windows_cover_a_side_once_and_lie_within(length: int, overlap: float) -> None:
    found = spans(length, 64, overlap, 16)
    assert (found[0].begin, found[-1].end) == (0, length)
    assert [one.last for one in found[:-1]] == [one.first for one in found[1:]]
    assert (found[0].first, found[-1].last) == (0, length)
    for one in found:
        assert one.end - one.begin == 64
        assert one.begin <= one.first < one.last <= one.end
        assert not any(pixel % 16 for pixel in one)
    for one, other in itertools.pairwise(found):
        # Half a patch is lost where a window begins at the nearest one.
        assert one.end - other.begin >= overlap * 64 - 16
        middles = [one.begin + 32, other.begin + 32]
        assert abs((one.last - middles[0]) - (middles[1] - one.last)) <= 16
    assert len(spans(length, 64, overlap)) == len(found)


def test_what_was_cut_is_laid_together_again() -> None:
    windows = Windows.of((96, 160), (64, 48), 0.3, 8)
    picture = torch.rand(2, 3, 96, 160)
    assert torch.equal(windows.lay(windows.cut(picture)), picture)
    level = torch.rand(2, 5, 12, 20)
    assert torch.equal(windows.lay(windows.cut(level)), level)


@pytest.mark.parametrize(
    ("picture", "window", "overlap", "told"),
    [
        (96, 50, 0.25, r"windows.size=\[50, 50\].*patches of 16 px.*48 and 64"),
        (100, 48, 0.25, r"data.image_size=\[100, 100\].*96 and 112"),
        (96, 112, 0.25, r"does not lie within the picture.*data.image_size=\[224, 224\] or auto"),
        (96, 96, 0.25, "does not lie within"),
        ([96, 32], [48, 48], 0.25, "does not lie within"),
        (96, 32, 0.75, "less than a patch"),
        (96, 48, 1.0, "windows.overlap=1.0"),
        (4096, 16, 0.0, "65536 windows of a picture, where 4096"),
        (96, "48", 0.0, "backbone.windows is a positive number of pixels or .*, not '48'"),
    ],
)
def test_windows_that_cannot_be_are_refused_before_weights_are_read(
    picture: int, window: int, overlap: float, told: str
) -> None:
    options = {"levels": [2, 3], "image_size": picture, "windows": window, "overlap": overlap}
    with pytest.raises(UserError, match=told):
        check_backbone(SMALL, **options, weights="/nowhere", pretrained=True)


# ---- The backbone -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def windowed() -> WindowedBackbone:
    return WindowedBackbone(ShortFeatures(), (96, 160), 64, 0.5)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth noise, (1, 3, height, width) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
            * 255).to(torch.uint8)  # fmt: skip


def test_each_patch_comes_from_the_window_whose_middle_is_nearest(
    windowed: WindowedBackbone,
) -> None:
    image = picture(96, 160)
    levels = windowed(image)
    assert [tuple(level.shape) for level in levels] == [(1, 40, 12, 20), (1, 112, 6, 10)]
    rows, columns = windowed.windows.rows, windowed.windows.columns
    for row, column in itertools.product(rows, columns):
        window = image[..., row.begin : row.end, column.begin : column.end]
        for level, inside in zip(levels, windowed.backbone(window), strict=True):
            patch = 96 // level.shape[-2]
            y, x = row.first // patch, column.first // patch
            there = level[..., y : row.last // patch, x : column.last // patch]
            top, left = y - row.begin // patch, x - column.begin // patch
            here = inside[..., top : top + there.shape[-2], left : left + there.shape[-1]]
            torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


def test_a_picture_that_moved_by_a_window_has_the_same_features_there(
    windowed: WindowedBackbone,
) -> None:
    wide = picture(96, 192)
    one, other = windowed(wide[..., :160]), windowed(wide[..., 32:])
    # Windows begin every 32 pixels; those at either end have no window beyond.
    for level, moved in zip(one, other, strict=True):
        step = 32 * level.shape[-1] // 160
        torch.testing.assert_close(
            level[..., 2 * step : 4 * step], moved[..., step : 3 * step], rtol=1e-4, atol=1e-5
        )


def test_features_do_not_depend_on_the_batch_and_few_windows_are_encoded_at_a_time(
    windowed: WindowedBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.cat([picture(96, 160, seed) for seed in range(3)])
    seen: list[int] = []
    levels = windowed.backbone.levels

    def counted(windows: Tensor) -> Levels:
        seen.append(len(windows))
        return levels(windows)

    monkeypatch.setattr("adpt.backbones.windowed._PIXELS", 3 * 64 * 64)
    monkeypatch.setattr(windowed.backbone, "levels", counted)
    together = windowed(images)
    assert max(seen) == 3
    for number in range(3):
        for level, alone in zip(together, windowed(images[number : number + 1]), strict=True):
            assert torch.equal(level[number], alone[0])


def test_what_decides_names_the_windows_and_weights_are_those_of_the_network() -> None:
    options = {"levels": LEVELS, "image_size": 96}
    plain, one, other = (
        build_backbone(SMALL, **options, **more)
        for more in ({}, {"windows": 48}, {"windows": [48, 64]})
    )
    assert isinstance(one, WindowedBackbone)
    assert one.fingerprint == plain.fingerprint == other.fingerprint
    assert one.weights.keys() == plain.weights.keys()
    decided = [backbone.decides() for backbone in (plain, one, other)]
    assert decided[0] != decided[1] != decided[2]
    with pytest.raises(UserError, match=r"images of \[96, 96\] px and got \[64, 96\]"):
        one(picture(64, 96))
    one.unfreeze()
    one(picture(96, 96))[0].sum().backward()
    assert one.backbone.fingerprint == plain.fingerprint
    assert any(parameter.grad is not None for parameter in one.parameters())


class Means(Backbone):
    """Of one's own: means of squares of 8 pixels."""

    def __init__(self, image_size: int = 224) -> None:
        super().__init__("means", [3], [0.5] * 3, [0.25] * 3)
        self.image_size = image_size
        self.freeze()

    def levels(self, images: Tensor) -> Levels:
        return [torch.nn.functional.avg_pool2d(images, 8)]


def test_a_backbone_of_ones_own_sees_windows_too() -> None:
    spec = WindowOptions.of(32).backbone({"_target_": "mine.Means", "image_size": 224}, [64, 96])
    assert spec["_target_"] == "adpt.backbones.WindowedBackbone"
    assert spec["backbone"] == {"_target_": "mine.Means", "image_size": [32, 32]}
    one = WindowedBackbone(Means(), (64, 96), 32)
    torch.testing.assert_close(one(picture(64, 96)), Means()(picture(64, 96)))
    assert one.decides()["source"] == Means().decides()["source"] is not None


# ---- A method for each window -----------------------------------------------------------------


def levels_of(count: int, seed: int = 0) -> Levels:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 6, 12, 12, generator=generator),
            torch.randn(count, 9, 6, 6, generator=generator)]  # fmt: skip


def patchcore() -> PatchCore:
    return PatchCore(48, coreset_ratio=1.0, embedding_dim=12)


def test_each_window_is_compared_with_its_own_normal_patches(tmp_path: Path) -> None:
    method = PerWindow(patchcore, 96, 0.5)
    normal = levels_of(4)
    method.fit([[level[:2] for level in normal], [level[2:] for level in normal]])
    assert len(method.each) == 9
    scores = method.score(levels_of(2, seed=1))
    windows = Windows.of((96, 96), (48, 48), 0.5, 16)
    slow = []
    for number in range(9):
        one = patchcore()
        one.fit([[windows.cut(level)[number] for level in normal]])
        slow.append(one.score([windows.cut(level)[number] for level in levels_of(2, seed=1)]))
    assert torch.equal(scores.maps, windows.lay([one.maps for one in slow]))
    assert torch.equal(scores.image, torch.stack([one.image for one in slow]).amax(0))

    again = PerWindow(patchcore, 96, 0.5)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.score(levels_of(2, seed=1)).maps, scores.maps)
    left_out = method.left_out_scores([normal])
    assert left_out is not None
    assert (left_out.image > method.score(normal).image).all()


def test_each_window_takes_further_images_in() -> None:
    method = PerWindow(patchcore, 96, 0.5)
    method.fit([levels_of(3)])
    further, score = levels_of(2, seed=1), levels_of(2, seed=2)
    windows = Windows.of((96, 96), (48, 48), 0.5, 16)
    grown = method.extend([further], 3)
    for number, one in enumerate(windows.cut(grown.maps)):
        alone = patchcore()
        alone.fit([[windows.cut(level)[number] for level in levels_of(3)]])
        scores = alone.extend([[windows.cut(level)[number] for level in further]], 3)
        assert (scores.image <= grown.image).all()
        assert (scores.maps == one).any()  # Where the map is of this window.
        cut = [windows.cut(level)[number] for level in score]
        assert torch.equal(method.each[number].score(cut).maps, alone.score(cut).maps)
    own = PerWindow(lambda: Doubled(48, embedding_dim=12), 96)
    own.fit([levels_of(3)])
    with pytest.raises(UserError, match="takes no further images in"):
        own.extend([further], 3)


class Doubled(PatchCore):
    """Scores in a way of its own, so that inherited left-out scores say nothing."""

    def score(self, levels: Levels):  # type: ignore[no-untyped-def]
        return super().score([2 * level for level in levels])


def test_a_method_of_ones_own_is_fitted_again_to_be_left_out() -> None:
    method = PerWindow(lambda: Doubled(48, embedding_dim=12), 96)
    assert tells_left_out(type(method))
    assert method.left_out_scores([levels_of(4)]) is None


def test_methods_by_position_have_no_use_for_it() -> None:
    aligned = WindowOptions.of({"size": 48, "aligned": True})
    assert [aligned.divides(method) for method in (PatchCore, PaDiM)] == [True, False]
    assert not WindowOptions.of(48).divides(PatchCore)
    with pytest.raises(UserError, match=r"mine\.Mean has no option image_size"):
        aligned.method({"_target_": "mine.Mean"})
    with pytest.raises(ValueError, match="do not lie within"):
        PerWindow(patchcore, 32)
    with pytest.raises(UserError, match="no image to fit on"):
        PerWindow(patchcore, 96).fit([])
