"""Methods from outside that use the class token: in tables, and in inspectors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import adpt
from adpt.backbones import Backbone, build_backbone
from adpt.backbones.timm import TimmBackbone
from adpt.data import Folder, MVTecAD2
from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.evaluation import ClassData, FeatureCache, encode_class, run_methods
from adpt.evaluation.class_data import features_of
from adpt.methods import FeatureNorm, Method, PatchCore, PerWindow
from adpt.projector import FeatureProjector
from adpt.results import Record, read_records
from drawn import draw_folder, draw_mvtec_ad2
from runs import composed, folder_data, run_task
from test_docs import write_own_files

CPU = torch.device("cpu")
VIT = {"name": "vit_tiny_patch16_224", "levels": [0, 1], "pretrained": False, "image_size": 48}

TRAINED = '''
from adpt.methods import Scores
from adpt.methods.fitted import FittedMethod
from adpt.methods.trained import TrainedMethod, descend
from torch import nn
import torch


class TokenTrained(TrainedMethod):
    """Tells class tokens of drawn defects from those of normal images."""

    uses_class_token = uses_defects = True

    def __init__(self, image_size=48, epochs=2, batch_size=3, seed=0):
        super().__init__(image_size, epochs, batch_size, seed)

    def build(self, shapes):
        token = [(1, 1)] if self.uses_class_token else []
        assert [shape[1:] for shape in shapes] == [(3, 3), (3, 3), *token]
        self.head = nn.Linear(shapes[-1][0], 1)

    def configure_optimizers(self):
        return [torch.optim.SGD(self.head.parameters(), 1e-3)], []

    def training_step(self, levels, optimizers, step, defects):
        drawn, masks = defects
        assert [level.shape for level in drawn] == [level.shape for level in levels]
        assert (drawn[-1] - levels[-1]).abs().amax() > 0
        away = self.head(drawn[-1].mean((2, 3))) - self.head(levels[-1].mean((2, 3)))
        return descend(-away.sigmoid().mean(), *optimizers)

    def score(self, levels):
        self.check_fitted(levels)
        found = self.head(levels[-1].mean((2, 3)))[:, 0].detach()
        return Scores(found[:, None, None].expand(-1, *self.image_size), found)


class PatchTrained(TokenTrained):
    """The same of patches."""

    uses_class_token = False


class TokenBank(FittedMethod):
    """Distance to the nearest of all tokens but an image's own; takes further ones in."""

    learned = ("bank",)
    uses_class_token = True

    def learn(self, batches):
        return {"bank": torch.cat([levels[-1].flatten(1) for levels in batches])}

    def score(self, levels, own=0.0):
        with self.scoring(levels) as levels:
            away = (levels[-1].flatten(2).mT - self.bank).norm(dim=2) + own
            found = away.amin(1)
            return Scores(found[:, None, None].expand(-1, *self.image_size), found)

    def left_out_scores(self, batches):
        every = [torch.cat(levels) for levels in zip(*batches)]
        start = len(self.bank) - len(every[-1])
        own = torch.full((len(every[-1]), len(self.bank)), 0.0)
        own[range(len(own)), range(start, len(self.bank))] = torch.inf
        return self.score(every, own)

    def extend(self, batches, images):
        self.bank = torch.cat([self.bank, *(levels[-1].flatten(1) for levels in batches)])
        return self.left_out_scores(batches)
'''

Run = Callable[..., list[Record]]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What developing.md gives as files, a trained method, and images, in a folder outside."""
    folder = tmp_path_factory.mktemp("outside")
    write_own_files(folder)
    (folder / "tokens.py").write_text(TRAINED)
    draw_folder(folder / "images", ("key", "lid"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for module in ("mine", "tokens"):
        sys.modules.pop(module, None)


@pytest.fixture
def run(outside: Path, tmp_path: Path) -> Run:
    """Evaluates on the class key; records of a folder."""

    def run(*overrides: str, folder: str = "out") -> list[Record]:
        words = ["backbone=timm", f"backbone.name={VIT['name']}", "backbone.levels=[0,1]",
                 "backbone.pretrained=false", "data=folder", f"data.root={outside / 'images'}",
                 "data.classes=[key]", "data.image_size=48", "data.num_workers=0",
                 "data.batch_size=6", "shots=2", "features=[own,residual]", "heatmaps=0",
                 "device=cpu", "run_name=tiny", f"output_dir={tmp_path / folder}",
                 f"cache.folder={tmp_path / 'cache'}",
                 f"hydra.searchpath=[file://{outside / 'conf'}]"]  # fmt: skip
        run_task(evaluate, composed("evaluate", *words, *overrides))
        return read_records(tmp_path / folder)

    return run


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """How many images each forward pass sees, blank ones left out, and if with the class token."""
    passes = []
    original = TimmBackbone.forward

    def forward(self: TimmBackbone, images: Tensor, class_token: bool = False) -> Any:
        passes.append((sum(bool(image.any()) for image in images), class_token))
        return original(self, images, class_token)

    monkeypatch.setattr(TimmBackbone, "forward", forward)
    return passes


# ---- In a table ----------------------------------------------------------------------------------


def test_a_table_encodes_once_for_all_methods_and_changes_none_of_the_others(
    run: Run, encoded: list[tuple[int, bool]], tmp_path: Path
) -> None:
    both = run("method=[padim,class_token_distance]", "tsne=[key]")
    images = sum(count for count, _ in encoded)
    assert all(token for _, token in encoded)
    encoded.clear()
    again = run("method=[class_token_distance,padim]", "tsne=[key]")
    assert [record.cell for record in again] == [record.cell for record in both]
    assert not encoded
    # Elsewhere it is computed anew, of what the cache has.
    alone = run("method=[class_token_distance]", folder="other")
    assert [record.metrics for record in alone] == [record.metrics for record in both[1::2]]
    assert not encoded

    encoded.clear()
    alone = run("method=[padim]", folder="alone")
    uncached = run("method=[padim]", "cache=null", folder="uncached")
    assert sum(count for count, _ in encoded) == 2 * images
    assert not any(token for _, token in encoded)
    ours = [record for record in both if record.method == "padim"]
    for record, same, other in zip(ours, alone, uncached, strict=True):
        assert record.metrics == same.metrics == other.metrics
        assert record.cell == same.cell
        assert "class token" not in record.decides
    tokens = [record for record in both if record.method != "padim"]
    assert [record.features for record in tokens] == ["own", "residual"]
    for record in tokens:
        assert record.decides["class token"] is True
        assert "source of mine.ClassTokenDistance" in record.decides
    # Residual features have the backbone's own token.
    own, residual = (record.metrics for record in tokens)
    assert own["image_auroc"] == residual["image_auroc"]
    assert own["pixel_auroc"] != residual["pixel_auroc"]


def test_it_is_the_same_without_a_cache_and_with_costs(run: Run) -> None:
    words = ["method=[feature_norm,class_token_distance]", "features=[residual]"]
    cached = run(*words)
    measured = run(*words, "cache=null", "costs=true", folder="other")
    assert [record.metrics for record in measured] == [record.metrics for record in cached]
    assert all(record.costs["ms_1"] > 0 for record in measured)


def test_one_that_is_trained_has_tokens_of_drawn_defects_and_none_beside_it(run: Run) -> None:
    token = ["+method.trained._target_=tokens.TokenTrained", "+method.trained._partial_=true"]
    patch = ["+method.beside._target_=tokens.PatchTrained", "+method.beside._partial_=true"]
    records = run("method=[]", *token, *patch, "checks=0")
    assert [record.epochs["trained"] for record in records] == [2, 2, 2, 2]
    alone = run("method=[]", *patch, "checks=0", folder="alone")
    beside = [record for record in records if record.method == "beside"]
    assert [record.metrics for record in beside] == [record.metrics for record in alone]


def test_cross_class_has_tokens_of_the_other_set(run: Run, outside: Path) -> None:
    (record,) = run(
        "method=class_token_distance", "features=[residual]", "data@train_data=folder",
        f"train_data.root={outside / 'images'}", "train_data.classes=[lid]",
        "train_data.image_size=48", "train_data.num_workers=0", "train_data.batch_size=6",
    )  # fmt: skip
    assert record.setting["trained_on"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backbone.name=resnet18"], "backbone=resnet18 has none: choose"),
        (["data.image_size=64", "windows.size=48"], "windows.size has the backbone see"),
    ],
)
def test_a_backbone_without_is_refused_before_an_image_is_encoded(
    run: Run, encoded: list[tuple[int, bool]], words: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"method=class_token_distance uses.*{told}"):
        run("method=[padim,class_token_distance]", *words)
    assert not any(count for count, _ in encoded)
    assert not (tmp_path / "out" / "results.jsonl").exists()


# ---- Features ------------------------------------------------------------------------------------


def class_of(outside: Path, batch_size: int = 6, **options: Any) -> tuple[ClassData, Backbone]:
    data = folder_data(outside / "images", batch_size=batch_size)
    data.setup()
    torch.manual_seed(0)
    backbone = build_backbone(**VIT)
    return encode_class(data, "key", backbone, shots=2, seed=0, device=CPU, **options), backbone


def token_method() -> Method:
    from mine import ClassTokenDistance  # type: ignore[import-not-found]

    made: Method = ClassTokenDistance(48)
    return made


PROJECTORS: dict[str, dict[str, Any]] = {
    "of residuals": {},
    "of own features": {"on_residuals": False},
}


@pytest.mark.parametrize("aligned", [None, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_references_and_projector_see_patches_alone(
    outside: Path, tmp_path: Path, aligned: int | None, cached: bool
) -> None:
    cache = FeatureCache(tmp_path / "cache") if cached else None
    with_token, backbone = class_of(outside, class_token=True, aligned=aligned, cache=cache)
    plain, _ = class_of(outside, aligned=aligned, cache=cache)
    torch.manual_seed(0)
    made = {
        name: FeatureProjector(backbone.channels, num_heads=2, num_references=4, **way).eval()
        for name, way in PROJECTORS.items()
    }
    kinds = [("own", None), ("residual", None), *(("pretrained", name) for name in made)]
    for kind, name in kinds:
        options: Any = kind, made.get(name or ""), 6, cache, name
        triples = zip(
            features_of(with_token, *options), features_of(plain, *options),
            (with_token.train, with_token.test), strict=True,
        )  # fmt: skip
        for found, expected, own in triples:
            *levels, token = found.levels
            assert all(map(torch.equal, levels, expected.levels))
            assert all(map(torch.equal, found.seen_by(False).levels, expected.levels))
            assert token.shape == (len(found), 192, 1, 1)
            assert torch.equal(token, own.levels[-1])
            with pytest.raises(UserError, match="class_token=True"):
                expected.seen_by(True)


@pytest.mark.parametrize("cached", [False, True])
def test_images_for_validation_are_seen_alike(tmp_path: Path, cached: bool) -> None:
    data = MVTecAD2(draw_mvtec_ad2(tmp_path / "set"), image_size=48, batch_size=6, num_workers=0)
    data.setup()
    torch.manual_seed(0)
    cache = FeatureCache(tmp_path / "cache") if cached else None
    encode = partial(
        encode_class, data, "can", build_backbone(**VIT), shots=2, seed=0, device=CPU, cache=cache
    )
    encoded, plain = encode(class_token=True), encode()
    for kind in ("own", "residual"):
        found, expected = (features_of(one, kind, None, 6, cache)[1] for one in (encoded, plain))
        assert found.validation
        assert expected.validation
        *levels, token = found.validation.levels
        assert token.shape == (3, 192, 1, 1)
        seen = found.seen_by(False).validation
        assert seen
        assert not seen.class_token
        for held in (levels, seen.levels):
            pairs = zip(held, expected.validation.levels, strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)


def test_order_and_batches_change_no_score(outside: Path) -> None:
    methods = {"token": token_method, "norm": partial(FeatureNorm, 48)}
    found: dict[str, list[Tensor]] = {name: [] for name in methods}
    for names, size in ((["token", "norm"], 6), (["norm", "token"], 6), (["token", "norm"], 2)):
        data, _ = class_of(outside, size, class_token=True)
        made = {name: methods[name] for name in names}
        for outcome in run_methods(
            data, made, ["own"], projector=None, batch_size=size, device=CPU
        ):
            found[outcome.method].append(outcome.image_scores)
    plain, _ = class_of(outside)
    (alone,) = run_methods(
        plain, {"norm": methods["norm"]}, ["own"], projector=None, batch_size=6, device=CPU
    )
    for scores in found.values():
        assert torch.equal(scores[0], scores[1])
        torch.testing.assert_close(scores[0], scores[2], rtol=1e-5, atol=1e-5)
    assert torch.equal(found["norm"][0], alone.image_scores)
    with pytest.raises(UserError, match="class_token=True"):
        run_methods(
            plain, {"token": token_method}, ["own"], projector=None, batch_size=6, device=CPU
        )


def test_a_method_for_each_window_uses_what_its_methods_use(outside: Path) -> None:
    assert PerWindow(token_method, 96).uses_class_token
    assert not PerWindow(partial(PatchCore, 48), 96).uses_class_token


# ---- In an inspector -----------------------------------------------------------------------------


def fit(outside: Path, method: str = "mine.ClassTokenDistance", **options: Any) -> adpt.Inspector:
    torch.manual_seed(0)
    options = {"backbone": VIT, "image_size": 48, "device": "cpu", "shots": 2} | options
    return adpt.Inspector.fit(
        options.pop("images", outside / "images" / "key" / "train" / "good"),
        method=method.rpartition(".")[2], method_options={"_target_": method}, **options,
    )  # fmt: skip


def scores(inspector: adpt.Inspector, outside: Path, size: int = 8) -> list[Any]:
    return list(inspector.predict_many(outside / "images" / "key" / "test", size))


@pytest.mark.parametrize(
    ("method", "features"),
    [("mine.ClassTokenDistance", "own"), ("mine.ClassTokenDistance", "residual"),
     ("tokens.TokenTrained", "residual")],
)  # fmt: skip
def test_an_inspector_is_loaded_as_it_was(
    outside: Path, tmp_path: Path, method: str, features: Any
) -> None:
    made = fit(outside, method, features=features)
    made.save(tmp_path / "own.adpt")
    loaded = adpt.Inspector.load(tmp_path / "own.adpt", device="cpu", trusted=[method])
    before, after = scores(made, outside), scores(loaded, outside)
    assert [one.score for one in after] == [one.score for one in before]
    assert len({one.score for one in after}) > 1
    for one, small in zip(before, scores(loaded, outside, 2), strict=True):
        assert small.score == pytest.approx(one.score, rel=1e-4)


def test_further_images_bring_their_tokens(outside: Path) -> None:
    good = sorted((outside / "images" / "key" / "train" / "good").iterdir())
    made = fit(outside, "tokens.TokenBank", images=good[:3], features="residual")
    grown = made.with_images(good)
    every = fit(outside, "tokens.TokenBank", images=good, features="residual")
    before, after, wanted = (
        torch.tensor([one.score for one in scores(inspector, outside)])
        for inspector in (made, grown, every)
    )
    torch.testing.assert_close(after, wanted)
    assert (after <= before).all()
    assert (after < before).any()


@pytest.mark.slow
def test_the_graph_scores_as_pytorch(outside: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = fit(outside, features="residual")
    made.export_onnx(tmp_path / "own.onnx")
    images = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    maps, image = made.scorer(images)
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx")
    found = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found[0]), maps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(found[1]), image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"backbone": {"name": "efficientnet_lite0", "levels": [2, 3]}},
            "efficientnet_lite0 has none",
        ),
        ({"image_size": 96, "windows": 48}, "windows.size has the backbone see"),
        (
            {"image_size": 96, "windows": {"size": 48, "aligned": True}},
            "windows.size has the backbone see",
        ),
    ],
)
def test_an_inspector_of_a_backbone_without_is_refused(
    outside: Path, options: dict[str, Any], told: str
) -> None:
    backbone = {key: value for key, value in VIT.items() if key != "image_size"}
    said: list[str] = []
    with pytest.raises(UserError, match="method=ClassTokenDistance uses") as error:
        fit(
            outside, **{"backbone": backbone} | options, progress=lambda what, *_: said.append(what)
        )
    assert told in str(error.value)
    assert "encoding" not in said


def test_checks_in_pretraining_have_it(outside: Path) -> None:
    from adpt.pretraining.callbacks import DownstreamCheck

    data: Folder = folder_data(outside / "images")
    check = DownstreamCheck(data, {"token": token_method, "norm": partial(FeatureNorm, 48)})
    assert check.class_token
    logged: dict[str, float] = {}
    trainer: Any = SimpleNamespace(
        global_rank=0, world_size=1, is_global_zero=True, current_epoch=0, global_step=0,
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
        loggers=[SimpleNamespace(log_metrics=lambda figures, step: logged.update(figures))],
    )  # fmt: skip
    module: Any = SimpleNamespace(device=CPU, backbone=build_backbone(**VIT), projector=None)
    check.on_fit_start(trainer, module)
    for method in check.methods:
        assert any(method in name.split("/") for name in logged), method
