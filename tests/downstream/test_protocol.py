"""`protocol=paper`: each method in the authors' setting, and recorded so only where it is whole."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from adpt.data import MVTec
from adpt.data.reference_lists import ReferenceLists
from adpt.errors import DataError, WeightsError
from adpt.evaluate import evaluate
from adpt.evaluation.protocol import parts_of, published_options
from adpt.results import Record, read_records
from adpt.weights.variants import variant_of
from drawn import draw_mvtec
from runs import CONF, composed, evaluation, run_task

ALL = ("method=all", "protocol=paper", "projector=hub:adpretrain/clip_l", "data=mvtec")
SETS = ("mvtec", "visa", "btad", "mvtec3d", "mpdd")


def parts(*words: str, set_name: str = "mvtec", classes: tuple[str, ...] = ("bottle", "wood")):
    config = composed("evaluate", *ALL, "output_dir=out", "run_name=tiny", *words)
    return {tuple(p.config.method): p for p in parts_of(config, set_name, classes)}


def test_clean_is_the_config_as_it_is() -> None:
    config = composed("evaluate", "method=all", "output_dir=out", "run_name=tiny")
    (part,) = parts_of(config, "mvtec", ["bottle"])
    assert part.config is config
    assert part.missing is None


def test_each_method_gets_its_own_setting() -> None:
    config = composed("evaluate", *ALL, "output_dir=out", "run_name=tiny")
    found = parts_of(config, "mvtec", ["bottle", "wood"])
    told = [
        (
            " ".join(part.config.method),
            ",".join(part.config.data.classes),
            part.config.projector.rpartition("/")[2],
            part.config.data.resize,
            part.config.published.reference_resize,
            part.config.aligned,
            part.config.checks,
        )
        for part in found
    ]
    assert told == [
        ("feature_norm", "bottle,wood", "norm", 224, None, 10, 5),
        ("padim patchcore", "bottle,wood", "angle", 256, 224, None, 5),
        ("cflow", "bottle,wood", "norm", 224, None, None, 25),
        ("glass", "bottle", "norm", 224, None, None, 640),
        ("glass", "wood", "norm", 256, 224, None, 640),
        ("uniad", "bottle,wood", "norm", 224, None, None, 1),
    ]
    assert all(part.config.data.as_torchvision for part in found)
    assert all(part.config.published.self_match for part in found)
    seeds = {n: m.seed for p in found for n, m in p.config.method.items() if "seed" in m}
    assert seeds == {"patchcore": 42, "cflow": 0, "glass": 0, "uniad": 133}
    patchcore = found[1].config.method.patchcore
    assert (patchcore.projection_dim, patchcore.num_starts) == (128, 10)


@pytest.mark.parametrize("set_name", SETS[1:])
def test_only_mvtec_is_cropped_from_256(set_name: str) -> None:
    for method in ("padim", "patchcore", "glass"):
        options = published_options(set_name, method, "toothbrush")
        assert options["data.resize"] == 224
        assert "published.reference_resize" not in options


def test_masks_of_glass_are_resized_set_by_set() -> None:
    how = {name: published_options(name, "glass", "x")["data.mask_resize"] for name in SETS}
    assert how == {"mvtec": "within", "visa": "touched", "btad": "within", "mvtec3d": "touched",
                   "mpdd": "within"}  # fmt: skip


def test_every_line_of_the_protocol_is_an_option() -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / "protocols" / "paper.yaml"))
    config = composed("evaluate", *ALL, "output_dir=out", "run_name=tiny")
    assert set(content["sets"]) == set(SETS)
    for set_name in SETS:
        for method in content["methods"]:
            for name in published_options(set_name, method, "wood"):
                place, _, last = name.rpartition(".")
                assert last in (OmegaConf.select(config, place) if place else config), name


def test_what_the_user_sets_stands_and_is_told() -> None:
    part = parts("checks=3", "data.resize=240", "seed=7")["cflow",]
    assert (part.config.checks, part.config.data.resize) == (3, 240)
    assert part.config.method.cflow.seed == 7
    assert set(part.missing) == {"reference_lists", "checks", "data.resize", "method.cflow.seed"}
    assert parts()["uniad",].missing == ("reference_lists",)
    assert set(parts()["glass",].missing) == {
        "reference_lists", "defects.draw.textures", "defects.draw.foreground",
    }  # fmt: skip
    assert parts(set_name="folder")["uniad",].missing[0] == "data set folder"


def test_what_a_set_fixes_is_taken_in_place_of_what_is_given_for_others() -> None:
    words = ("defects.draw.foreground=fg_mask", "defects.draw.textures=dtd")
    found = {name: parts(*words, set_name=name)["glass",] for name in SETS if name != "mvtec"}
    given = {name: part.config.defects.draw.foreground for name, part in found.items()}
    assert given == {"visa": "fg_mask", "btad": "none", "mvtec3d": "none", "mpdd": "none"}
    assert {part.missing for part in found.values()} == {("reference_lists",)}


def test_a_method_that_is_not_theirs_is_told() -> None:
    (part,) = parts("method=anomaly_dino").values()
    assert "method anomaly_dino" in part.missing


def test_what_the_authors_set_by_method() -> None:
    found = {
        name: {
            option: value
            for option, value in published_options("btad", name, "01").items()
            if value != published_options("btad", "padim", "01").get(option)
        }
        for name in ("cflow", "glass", "uniad")
    }
    assert found["cflow"] == {
        "projector": "norm", "checks": 25, "method.cflow.seed": 0,
        "method.cflow.published_maps": True, "method.cflow.drop_last": True,
    }  # fmt: skip
    assert found["glass"] == {
        "projector": "norm", "checks": 640, "method.glass.seed": 0,
        "method.glass.images_per_epoch": 400, "method.glass.mean_of_batches": True,
        "defects.refresh": 1, "defects.draw.textures": "???", "defects.draw.published": True,
        "defects.draw.foreground": "none", "data.mask_resize": "within",
        "published.dilated_overlap": True,
    }  # fmt: skip
    assert found["uniad"] == {
        "projector": "norm", "checks": 1, "method.uniad.seed": 133, "method.uniad.drop_last": True,
    }  # fmt: skip


@pytest.mark.parametrize("method", ["padim", "feature_norm"])
def test_a_class_that_the_lists_pass_over_is_not_as_published(tmp_path: Path, method: str) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    names = ["000.png"]
    (folder / "bottle.json").write_text(json.dumps({"bottle/a.png": names}))
    (tmp_path / "fixed.json").write_text(json.dumps({"wood": names}))
    lists = ReferenceLists([folder, tmp_path / "fixed.json"])
    kind = "aligned" if method == "feature_norm" else "fixed"
    words = f"reference_lists=[{folder}]"
    both = next(part for key, part in parts(words).items() if method in key)
    held, absent = ("bottle", "wood") if kind == "aligned" else ("wood", "bottle")
    assert both.lacking(None, lists) == [f"lists of {kind} references of {absent}"]
    one = next(p for key, p in parts(words, classes=(held,)).items() if method in key)
    assert one.lacking(None, lists) == []
    own = SimpleNamespace(authors=False)
    assert one.lacking(own, lists) == ["the authors' projector"]
    assert one.lacking(SimpleNamespace(authors=True), lists) == []


# ---- Projectors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hub:adpretrain/clip_l", "hub:adpretrain/clip_l/norm"),
        ("hub:adpretrain/clip_l/angle", "hub:adpretrain/clip_l/norm"),
        ("hub:adpretrain/clip_l/angle@main", "hub:adpretrain/clip_l/norm@main"),
        ("hub:me/mine", "hub:me/mine"),
        ("{0}/checkpoints_pro_angle.pth", "{0}/checkpoints_pro_norm.pth"),
        ("{0}", "{0}/checkpoints_pro_norm.pth"),
        ("{0}/projector.safetensors", "{0}/projector.safetensors"),
        ("{0}/normal.safetensors", "{0}/normal.safetensors"),
    ],
)
def test_the_variant_lies_beside_the_file_that_is_named(
    tmp_path: Path, name: str, found: str
) -> None:
    for kind in ("img", "pix", "pro"):
        (tmp_path / f"checkpoints_{kind}_norm.pth").touch()
    assert variant_of(name.format(tmp_path), "norm") == found.format(tmp_path)


@pytest.mark.parametrize("name", ["{0}/checkpoints_pro_norm.pth", "{0}"])
def test_a_variant_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "checkpoints_pro_norm.pth").touch()
    with pytest.raises(WeightsError, match=r"checkpoints_pro_angle\.pth"):
        variant_of(name.format(tmp_path), "angle")


# ---- Lists of references ----------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> MVTec:
    made = MVTec(draw_mvtec(tmp_path / "mvtec"), image_size=48, num_workers=0)
    made.setup("test")
    return made


def test_fixed_references_are_read_from_every_form_of_list(tmp_path: Path, data: MVTec) -> None:
    normal = data.select("train")
    names = [f"/elsewhere/mvtec/bottle/train/good/{n:03d}.png" for n in (4, 1)]
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"bottle": names}))
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "bottle.json").write_text(json.dumps(names))
    copies = tmp_path / "8shot" / "bottle" / "train" / "good"
    copies.mkdir(parents=True)
    for name in names:
        (copies / Path(name).name).write_bytes(b"a copy")
    expected = [str(data.root / "bottle" / "train" / "good" / f"{n:03d}.png") for n in (4, 1)]
    for place in (one, folder, tmp_path / "8shot"):
        assert sorted(ReferenceLists([place]).of_class("bottle", normal)) == sorted(expected)
    assert ReferenceLists([one]).of_class("bottle", normal) == expected
    assert ReferenceLists([one]).of_class("cable", normal) is None


def test_aligned_references_are_those_of_each_image(tmp_path: Path, data: MVTec) -> None:
    start = "/data/somewhere/mvtec_anomaly_detection/bottle"
    folder = tmp_path / "aligned"
    folder.mkdir()
    listed = {f"{start}/test/scratch/001.png": [f"{start}/train/good/{n:03d}.png" for n in (2, 5)],
              f"{start}/test/not_there/001.png": [f"{start}/train/good/000.png"]}  # fmt: skip
    (folder / "bottle.json").write_text(json.dumps(listed))
    found = ReferenceLists([folder]).of_images("bottle", data.select("train"), data.select("test"))
    good = data.root / "bottle" / "train" / "good"
    image = str(data.root / "bottle" / "test" / "scratch" / "001.png")
    assert found == {image: [str(good / "002.png"), str(good / "005.png")]}


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"bottle": ["bottle/train/good/999.png"]}', "999.png"), ("[1]", "by class"),
     ("{", "JSON"), ('{"bottle": 3}', "bottle")],
)  # fmt: skip
def test_lists_that_cannot_be_taken_are_refused(
    tmp_path: Path, data: MVTec, content: str, message: str
) -> None:
    file = tmp_path / "list.json"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        ReferenceLists([file]).of_class("bottle", data.select("train"))
    with pytest.raises(DataError, match=r"none\.json"):
        ReferenceLists([tmp_path / "none.json"])


# ---- A run ------------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> list[Record]:
    quick = ["data=mvtec", "cache=null", "heatmaps=0", "data.resize=null", "data.image_size=48"]
    run_task(evaluate, evaluation(folder, *quick, *words))
    return read_records(folder)


def test_a_run_takes_listed_references_and_says_what_it_is(tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "mvtec", ("bottle",), size=60)
    lists, aligned = tmp_path / "fixed.json", tmp_path / "aligned"
    aligned.mkdir()
    good = [f"bottle/train/good/{n:03d}.png" for n in (5, 0, 3)]
    lists.write_text(json.dumps({"bottle": good}))
    images = [
        str(path.relative_to(root)) for path in sorted((root / "bottle" / "test").rglob("*.png"))
    ]
    (aligned / "bottle.json").write_text(json.dumps(dict.fromkeys(images, good[:2])))
    words = ["method=[feature_norm,padim,patchcore]", "protocol=paper", f"data.root={root}"]
    records = run(tmp_path / "out", *words, f"reference_lists=[{lists},{aligned}]", "shots=3")
    assert {r.method for r in records} == {"feature_norm", "padim", "patchcore"}
    for record in records:
        assert record.protocol == "paper"
        assert record.setting == {"as_published": True, "image_size": [48, 48]}
        assert record.options == {}
        if record.features == "residual":
            assert record.references == tuple(good)
    assert len({r.cell for r in records}) == len(records) == 6
    again = run(tmp_path / "without", *words, "shots=3")
    assert all("as_published" not in record.setting for record in again)
    assert again[0].setting["resize"] in (224, 256)


def test_a_reference_matches_itself_where_the_authors_let_it(tmp_path: Path) -> None:
    from adpt.evaluation import Features, FixedReferences
    from adpt.methods.feature_sets import InMemory

    levels = [torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0))]
    paths = [f"{n}.png" for n in range(4)]
    train = Features(InMemory(levels), torch.zeros(4, 9, 9, dtype=torch.bool),
                     torch.zeros(4, dtype=torch.int64), paths, [])  # fmt: skip
    own = FixedReferences(train, paths[:2], torch.device("cpu"), self_match=True)
    left_out = FixedReferences(train, paths[:2], torch.device("cpu"))
    assert own.name != left_out.name
    found, others = own.convert(levels, paths, None), left_out.convert(levels, paths, None)
    assert not found[0][:2].any()
    assert others[0][:2].any()
    assert torch.equal(found[0][2:], others[0][2:])
