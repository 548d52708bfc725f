"""Everything that decides over a result tells its cell apart, and nothing else does."""

import hashlib
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from adpt.cli.values import leaves
from adpt.data import Sample
from adpt.data.images import ReadingRules
from adpt.data.transforms import Geometry
from adpt.evaluate import evaluate
from adpt.evaluation.cells import MethodSpec, Setting
from adpt.evaluation.identity import CANNOT_DECIDE, Identity
from adpt.projector import FeatureProjector
from adpt.results import Record, read_records
from adpt.running.contents import content_of_folder, contents
from adpt.running.sources import DECIDES_NOTHING, MAKES_FEATURES, PACKAGE, own_code, source_of
from adpt.weights import save_projector
from drawn import draw_folder
from runs import CONF, composed, evaluation, run_task

KINDS = ("own", "residual", "pretrained")
BACKBONES = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml") if path.stem != "base")


# ---- Every option ---------------------------------------------------------------------------


class Fixed:
    """A backbone that always says the same of itself."""

    def decides(self) -> dict[str, Any]:
        return {"fingerprint": "f" * 64}


def cells(config: Mapping[str, Any], root: Path) -> dict[tuple[str, str], str]:
    """The hash of each method's and kind's cell, set and backbone being the same throughout."""
    specs = {}
    for name, options in config["method"].items():
        options = dict(options)
        pretrained = options.pop("pretrained", {})
        by_kind: dict[Any, Any] = dict.fromkeys(KINDS, options)
        by_kind["pretrained"] = options | pretrained
        specs[name] = MethodSpec({}, by_kind, {}, uses_defects=name == "glass")
    setting = Setting(few_shot=config["few_shot"], protocol=config["protocol"])
    data = SimpleNamespace(
        set_name="own", samples=[], root=root, geometry=Geometry(), train_fraction=1, noise_ratio=0
    )
    backbone, data_module = cast(Any, Fixed()), cast(Any, data)
    identity = Identity(
        config,
        data=data_module,
        backbone=backbone,
        projector_sha256="p" * 64,
        methods=specs,
        setting=setting,
    )
    return {
        (method, kind): identity.cell("key", method, kind).sha256  # type: ignore[arg-type]
        for method, kind in itertools.product(specs, KINDS)
    }


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, 7]
    return f"{value or ''}x"


def altered(config: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(config))
    node = changed
    *above, last = name.split(".")
    for part in above:
        node = node[part]
    node[last] = value
    return changed


def listed(name: str) -> bool:
    """Whether the list of options that cannot decide has this one, or what it lies in."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in CANNOT_DECIDE for end in range(1, len(parts) + 1))


def whole(tmp_path: Path, *choices: str) -> dict[str, Any]:
    """A config under which all options have a part in some cell."""
    config = composed("evaluate", "method=all", "protocol=paper", "few_shot=true", "seed=3",
                      f"output_dir={tmp_path}", "run_name=tiny", *choices)  # fmt: skip
    found: Any = OmegaConf.to_container(config, resolve=True)
    return found


PLAIN_CHOICES = ["data=folder", "data.root=own"]


@pytest.mark.parametrize(
    "choices",
    [PLAIN_CHOICES]
    + [[f"backbone={name}", "backbone.name=resnet18", *PLAIN_CHOICES] for name in BACKBONES]
    + [[f"data={name}", "data.root=own"] for name in DATA if name not in ("folder", "mixed")],
    ids=lambda choices: choices[0],
)
def test_every_option_tells_cells_apart_unless_it_is_listed(
    choices: list[str], tmp_path: Path
) -> None:
    config = whole(tmp_path, *choices)
    before = cells(config, tmp_path)
    assert len(set(before.values())) == 18
    # What a choice has in common with the plain one is changed there.
    known = dict(leaves(whole(tmp_path, *PLAIN_CHOICES))) if choices != PLAIN_CHOICES else {}
    walked = []
    for name, value in leaves(config):
        if name == "protocol" or name.rpartition(".")[2] == "_target_":
            continue  # See below: these take no odd value.
        if name in known and known[name] == value:
            continue
        changed = cells(altered(config, name, other(value)), tmp_path) != before
        of_method = name.startswith("method.")
        assert changed == (of_method or not listed(name)), name
        walked.append(name)
    if choices == PLAIN_CHOICES:
        assert {
            "shots", "aligned", "checks", "defects.refresh", "data.resize", "backbone.levels",
            "method.padim.epsilon", "method.glass.pretrained.noise_std",
        } <= {*walked}  # fmt: skip


def test_options_have_a_part_in_the_cells_that_they_decide_over_alone(tmp_path: Path) -> None:
    def differing(*overrides: str, of: tuple[str, ...] = ()) -> set[tuple[str, str]]:
        def made(*words: str) -> dict[tuple[str, str], str]:
            places = f"output_dir={tmp_path}", "run_name=tiny", "data=mvtec"
            config: Any = OmegaConf.to_container(
                composed("evaluate", "method=all", *places, *of, *words), resolve=True
            )
            return cells(config, tmp_path)

        one, two = made(), made(*overrides)
        return {cell for cell in one if one[cell] != two[cell]}

    every = set(itertools.product(("feature_norm", "padim", "patchcore", "cflow", "glass", "uniad"),
                                  KINDS))  # fmt: skip
    with_references = {cell for cell in every if cell[1] != "own"}
    assert differing("shots=4") == differing("aligned=10") == with_references
    assert differing("shots=4", of=("few_shot=true",)) == every
    assert differing("few_shot=true") == differing("protocol=paper") == every
    assert differing("checks=9") == set()
    assert differing("checks=9", of=("protocol=paper",)) == every
    assert differing("defects.refresh=1") == {cell for cell in every if cell[0] == "glass"}
    assert differing("defects.draw.textures=dtd") == {cell for cell in every if cell[0] == "glass"}
    assert differing("method.glass.pretrained.noise_std=1") == {("glass", "pretrained")}
    assert differing("method.padim.epsilon=1") == {c for c in every if c[0] == "padim"}
    assert differing("+backbone.mean=[0,0,0]") == differing("+data.anything=1") == every
    assert differing("+own_option.deep=1") == every


def test_content_of_files_and_folders_that_options_name_decides(tmp_path: Path) -> None:
    place = f"output_dir={tmp_path}", "run_name=tiny", "data=mvtec", "method=all"
    textures, mask = tmp_path / "textures", tmp_path / "centres.npy"
    (textures / "banded").mkdir(parents=True)
    mask.write_bytes(b"1")
    words = [f"defects.draw.textures={textures}", f"+backbone.centres={mask}"]
    config: Any = OmegaConf.to_container(composed("evaluate", *place, *words), resolve=True)
    before = cells(config, tmp_path)
    (textures / "banded" / "one.png").write_bytes(b"a picture")
    after = cells(config, tmp_path)
    assert {cell[0] for cell in before if before[cell] != after[cell]} == {"glass"}
    mask.write_bytes(b"2")
    again = cells(config, tmp_path)
    assert all(again[cell] != after[cell] for cell in after)


@pytest.mark.parametrize("option", ["+backbone.parts=[a,{0}]", "+backbone.of=[{{file:{0}}}]",
                                    "+backbone.weights={0}"])  # fmt: skip
def test_content_of_files_in_lists_and_of_an_own_backbones_weights_decides(
    tmp_path: Path, option: str
) -> None:
    file = tmp_path / "table.npy"
    file.write_bytes(b"1")
    words = [f"output_dir={tmp_path}", "run_name=tiny", "data=mvtec", "backbone=efficientnet_lite0"]
    config: Any = OmegaConf.to_container(
        composed("evaluate", *words, option.format(file)), resolve=True
    )
    before = cells(config, tmp_path)
    file.write_bytes(b"2")
    after = cells(config, tmp_path)
    assert all(after[cell] != before[cell] for cell in before)


PLAIN = MethodSpec({}, {"own": {}}, {})


def identity_of(
    root: Path,
    *samples: Sample,
    spec: MethodSpec = PLAIN,
    geometry: Geometry | None = None,
    config: Mapping[str, Any] | None = None,
) -> Identity:
    data: Any = SimpleNamespace(
        set_name="own", samples=samples, root=root, geometry=geometry or Geometry(),
        train_fraction=0.5, noise_ratio=0.0, masks="none",
        deciding_files=lambda _: (),
    )  # fmt: skip
    backbone: Any = Fixed()
    return Identity(
        config or {},
        data=data,
        backbone=backbone,
        projector_sha256=None,
        methods={"padim": spec},
        setting=Setting(),
    )


def cell_of(root: Path, *samples: Sample, **given: Any) -> str:
    return identity_of(root, *samples, **given).cell("key", "padim", "own").sha256


@pytest.mark.parametrize(
    "change",
    [{"label": 1}, {"split": "test"}, {"mask": "b.png"}, {"image": "b.png"}, {"view": "C2"},
     {"defect": "dent"}, {"noise": True}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_all_that_is_known_of_an_image_decides(change: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"the same")
    sample = Sample(tmp_path / "a.png", 0, "key", "train")
    paths = {name: tmp_path / change[name] for name in ("image", "mask") if name in change}
    assert cell_of(tmp_path, sample) == cell_of(tmp_path, sample)
    changed = sample._replace(**{**change, **paths})
    assert cell_of(tmp_path, sample) != cell_of(tmp_path, changed)


def test_files_and_classes_that_a_methods_options_name_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    weights, module = tmp_path / "weights.npy", tmp_path / "own_distance.py"
    weights.write_bytes(b"1")
    module.write_text("class Distance:\n    power = 1\n")
    options = {"prior": str(weights), "distance": {"_target_": "own_distance.Distance"}}
    spec = MethodSpec({}, {"own": options}, {})
    hashes = [cell_of(tmp_path, spec=spec)]
    weights.write_bytes(b"2")
    hashes.append(cell_of(tmp_path, spec=spec))
    module.write_text("class Distance:\n    power = 2\n")
    hashes.append(cell_of(tmp_path, spec=spec))
    assert len(set(hashes)) == 3


def test_bits_that_all_classes_decide_together_decide_over_each(tmp_path: Path) -> None:
    depths: tuple[dict[str, int], ...] = ({}, {"": 12}, {"": 14})
    hashes = {cell_of(tmp_path, geometry=Geometry(rules=ReadingRules(d))) for d in depths}
    assert len(hashes) == 3


def test_options_of_a_set_within_a_mixed_one_are_those_of_a_set(tmp_path: Path) -> None:
    def mixed(**options: Any) -> str:
        return cell_of(tmp_path, config={"data": {"sets": {"own": {"root": "a", **options}}}})

    assert mixed() == mixed(root="b")
    assert mixed() == mixed(num_workers=3) == mixed(held_out=["key"])
    assert mixed(noise_ratio=0.1) != mixed(noise_ratio=0.2)


def test_options_of_a_set_to_fit_on_are_those_of_a_set(tmp_path: Path) -> None:
    def fitted(**options: Any) -> str:
        return cell_of(tmp_path, config={"train_data": {"root": "a", **options}})

    assert fitted() == fitted(root="b") == fitted(num_workers=3) == fitted(classes=["key"])
    assert fitted(train_fraction=0.1) != fitted(train_fraction=0.2) != fitted()
    one, two = ({"own": {"root": root, "num_workers": 1}} for root in "ab")
    assert fitted(sets=one) == fitted(sets=two)


def test_options_of_backbone_and_of_a_set_from_outside_decide_over_features(tmp_path: Path) -> None:
    config = {"backbone": {"power": 1}, "data": {"gamma": 2, "root": "a"}, "shots": 4}
    foreign = identity_of(tmp_path, config=config)  # Its set is a stand-in, no class of adpt.
    assert foreign.of_features() == {"backbone.power": 1, "data.gamma": 2}


def test_a_record_tells_what_differs_from_the_plain_experiment(tmp_path: Path) -> None:
    assert identity_of(tmp_path, geometry=Geometry(64, 80)).differences() == {
        "image_size": [64, 64], "resize": 80, "train_fraction": 0.5, "masks": "none"
    }  # fmt: skip


def test_images_of_other_classes_decide_where_one_model_is_for_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    key, more = (Sample(tmp_path / "a.png", 0, name, "train") for name in ("key", "more"))
    for unified in (True, False):
        spec = MethodSpec({}, {"own": {}}, {}, unified=unified)
        alone, both = (cell_of(tmp_path, *s, spec=spec) for s in ([key], [key, more]))
        assert (alone != both) is unified


def test_a_folders_content_is_that_of_its_files_and_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "textures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    before = content_of_folder(folder)
    (folder / ".hidden").write_bytes(b"b")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "a.png").write_bytes(b"b")
    assert content_of_folder(folder) == before
    (folder / "a.png").rename(folder / "b.png")
    assert content_of_folder(folder) != before
    (folder / "b.png").rename(folder / "a.png")
    assert content_of_folder(folder.rename(tmp_path / "moved")) == before


def test_what_changed_just_now_is_read_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"a")
    read: list[Path] = []
    monkeypatch.setattr("adpt.running.contents.sha256", lambda p: read.append(p) or "f" * 64)
    for _ in range(2):
        contents([path])
    assert read == [path, path]
    # As if it had changed long ago.
    monkeypatch.setattr("adpt.running.contents._SETTLED", float("-inf"))
    for _ in range(3):
        contents([path])
    assert read == [path] * 3


def test_the_lists_of_code_name_what_there_is() -> None:
    for part in (*DECIDES_NOTHING, *MAKES_FEATURES):
        assert (PACKAGE / part).exists(), part


@pytest.mark.parametrize("parts", [None, MAKES_FEATURES, ("nearest.py", "methods/maps.py")])
def test_the_hash_of_code_is_of_the_files_in_the_parts_alone(parts: tuple[str, ...] | None) -> None:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        named = [part for part in parts or DECIDES_NOTHING if f"{place}/".startswith(f"{part}/")]
        if bool(named) == (parts is not None):
            digest.update(f"{place};".encode() + path.read_bytes())
    assert own_code(parts) == digest.hexdigest()


def test_the_lists_of_code_leave_out_nothing_that_computes() -> None:
    def named(parts: Iterable[str]) -> set[str]:
        return {part.removesuffix(".py").replace("/", ".") for part in parts}

    def used_by(parts: Iterable[str]) -> set[str]:
        """The modules that these parts of adpt import beside themselves."""
        places = [PACKAGE / part for part in parts]
        files = [f for p in places for f in (p.rglob("*.py") if p.is_dir() else [p])]
        texts = [file.read_text(encoding="utf-8") for file in files]
        found = {m for t in texts for m in re.findall(r"^ *from adpt\.([\w.]+) import", t, re.M)}
        return {m for m in found if not any(f"{m}.".startswith(f"{p}.") for p in named(parts))}

    computing = {*MAKES_FEATURES, "methods", "metrics", "evaluation"}
    assert not computing & {*DECIDES_NOTHING}
    idle = {module for module in used_by(computing) if module.split(".")[0] in DECIDES_NOTHING}
    assert {module.split(".")[0] for module in idle} <= {"cli", "page", "results", "running"}
    assert {module for module in idle if not module.startswith(("results", "running"))} <= {
        "cli.values", "page.plots"
    }  # fmt: skip


# ---- The listed ones change no number -------------------------------------------------------

QUICK = ["method=[feature_norm,padim,patchcore,cflow_quick,glass_quick,uniad_quick]", "heatmaps=0",
         "method.cflow.epochs=1", "method.cflow.patches_per_step=512",
         "method.glass.epochs=2", "method.uniad.epochs=2", "method.uniad.hidden_dim=16",
         "method.uniad.num_heads=2", "checks=0", "data.classes=[key]"]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", ("bottle", "key"))


def projector(path: Path, seed: int = 0, note: str = "4", **options: Any) -> Path:
    torch.manual_seed(seed)
    made = FeatureProjector((40, 112), num_heads=4, num_references=8, **options)
    save_projector(
        made, path, {"backbone": "efficientnet_lite0", "config": f"data.num_workers={note}"}
    )
    return path


def results(root: Path, folder: Path, *overrides: str) -> list[Record]:
    run_task(evaluate, evaluation(folder, "data=folder", f"data.root={root}", *overrides))
    return read_records(folder)


def by_cell(records: list[Record]) -> dict[str | None, Any]:
    return {record.cell: (record.method, record.features, record.metrics) for record in records}


@pytest.fixture
def quick_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are measured in one round, and no garbage is looked for before."""
    monkeypatch.setattr("adpt.evaluation.measured_costs.ROUNDS", 1)
    monkeypatch.setattr("adpt.evaluation.measured_costs.gc", SimpleNamespace(collect=int))


@pytest.mark.usefixtures("quick_costs")
def test_listed_options_change_neither_cells_nor_numbers(root: Path, tmp_path: Path) -> None:
    made = projector(tmp_path / "one.safetensors")
    first = by_cell(results(root, tmp_path / "first", *QUICK, f"projector={made}"))
    assert len(first) == 18
    moved = shutil.copytree(root, tmp_path / "moved")
    options = {
        "data_dir": [f"data_dir={tmp_path}"],
        "data.root": [f"data.root={moved}"],
        "output_dir": [],  # Every run has its own.
        "recorded": ["recorded=null"],
        "run_name": ["run_name=another"],
        "title": ["title=Another"],
        "logger": ["logger=csv"],
        "device": ["device=auto"] if not torch.cuda.is_available() else [],
        "memory_gb": ["memory_gb=0", f"cache.folder={tmp_path / 'cache'}"],
        "cache": ["cache=null"],
        "data.num_workers": ["data.num_workers=1"],
        "heatmaps": ["heatmaps=1"],
        "costs": ["costs=true"],
        "tsne": ["tsne=[key]"],
        "submission": [],  # Of MVTec AD 2 alone: tests/downstream/test_benchmarks.py has it.
        "data.held_out": ["data.held_out=[key]"],
        "data.pretrain_splits": ["data.pretrain_splits=[train]"],
        "data.synthetic_defects": ["data.synthetic_defects=0.5"],
    }
    # These are known otherwise, as other tests show.
    known = {"backbone.weights", "projector", "method", "features", "data.classes"}
    assert {*options} | known == CANNOT_DECIDE
    for together in (
        ("data_dir", "data.root", "run_name", "title", "data.held_out", "cache", "heatmaps"),
        ("recorded", "logger", "device", "memory_gb", "tsne", "costs", "data.pretrain_splits"),
        ("data.num_workers", "data.synthetic_defects"),
    ):
        words = [word for name in together for word in options[name]]
        folder = tmp_path / together[0]
        again = by_cell(results(root, folder, *QUICK, f"projector={made}", *words))
        assert again.keys() == first.keys(), together
        for cell, (method, kind, metrics) in again.items():
            assert metrics == first[cell][2], (together, method, kind)


def test_what_is_recorded_is_taken_wherever_set_and_projector_lie(
    root: Path, tmp_path: Path, computed: list[str]
) -> None:
    made = projector(tmp_path / "one.safetensors")
    words = ["method=[padim]", "heatmaps=0"]
    results(root, tmp_path / "out", *words, f"projector={made}")
    computed.clear()
    moved = shutil.copytree(root, tmp_path / "moved", copy_function=shutil.copyfile)
    again = projector(tmp_path / "two.safetensors", note="0")
    assert again.read_bytes() != made.read_bytes()
    results(moved, tmp_path / "out", *words, f"projector={again}")
    assert not computed
    for change in ({"seed": 1}, {"scale_by_references": True}):
        projector(again, **change)  # type: ignore[arg-type]
        results(moved, tmp_path / "out", *words, f"projector={again}")
        assert {kind for _, _, kind in computed} == {"pretrained"}
        computed.clear()


# ---- Files ----------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The cells that are computed, in order: class, method, kind."""
    from adpt.evaluation import evaluation as module

    done: list[Any] = []
    original = module.run_method

    def counted(method: Any, train: Any, tests: Any, **rest: Any) -> Any:
        done.extend((class_name, rest["name"], rest["kind"]) for class_name in tests)
        return original(method, train, tests, **rest)

    monkeypatch.setattr(module, "run_method", counted)
    return done


@pytest.mark.parametrize("which", ["train/good", "test/good", "test/scratch", "ground_truth/*"])
def test_a_file_that_changed_under_its_name_size_and_date_is_noticed(
    root: Path, tmp_path: Path, computed: list[Any], which: str
) -> None:
    words = ["method=[padim]", "heatmaps=0", "features=[own]"]
    cache = f"cache.folder={tmp_path / 'cache'}"
    for path in (root / "key").rglob("*.png"):  # Bitmaps of one size have files of one size.
        image = Image.open(path)
        image.save(path.with_suffix(".bmp"))
        path.unlink()
    before = results(root, tmp_path / "out", *words, cache)
    computed.clear()
    path = next(iter(sorted((root / "key").glob(f"{which}/*.bmp"))))
    status, pixels = path.stat(), np.asarray(Image.open(path))
    Image.fromarray(np.flipud(255 - pixels)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after = results(root, tmp_path / "out", *words, cache)[len(before) :]
    assert computed == [("key", "padim", "own")]
    fresh = results(root, tmp_path / "fresh", *words, "cache=null")
    assert after[0].metrics == next(r.metrics for r in fresh if r.class_name == "key")


# ---- Classes of one's own -------------------------------------------------------------------

MINE = """
import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.backbones import Backbone
from adpt.methods import Scores
from adpt.methods.fitted import FittedMethod
from adpt.methods.maps import smooth, upsample
from helper import factor


class Squares(Backbone):
    def __init__(self, sides=(4, 8), power=1) -> None:
        super().__init__("squares", [3 for _ in sides], mean=(0, 0, 0), std=(1, 1, 1))
        self.sides, self.power = tuple(sides), power
        self.freeze()

    def levels(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, side) ** self.power for side in self.sides]


class MeanDistance(FittedMethod):
    learned = ("mean",)

    def learn(self, batches):
        return {"mean": torch.cat([levels[-1] for levels in batches]).mean(0)}

    def score(self, levels):
        with self.scoring(levels) as levels:
            distances = factor((levels[-1] - self.mean).norm(dim=1))
            maps = smooth(upsample(distances, self.image_size, align_corners=False))
            return Scores(maps, maps.amax((1, 2)))
"""
HELPER = "def factor(distances):\n    return {}distances\n"


@pytest.fixture
def own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., list[Record]]:
    """A backbone and a method of one's own, run from outside the checkout."""
    for place, text in {
        "mine.py": MINE,
        "helper.py": HELPER.format(""),
        "conf/backbone/squares.yaml": "_target_: mine.Squares\nsides: [4, 8]\npower: 1\n",
        "conf/method/distance.yaml": (
            "# @package method.distance\n_target_: mine.MeanDistance\n_partial_: true\n"
            "image_size: ${data.image_size}\n"
        ),
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    root = draw_folder(tmp_path / "own", ("key",))

    monkeypatch.syspath_prepend(tmp_path)

    def run(*overrides: str, folder: str = "out") -> list[Record]:
        for module in ("mine", "helper", "factory"):  # As a new process would, read them anew.
            sys.modules.pop(module, None)
        caplog.clear()
        chosen = ["backbone=squares", "method=[padim,distance]", "data=folder",
                  f"data.root={root}", "data.image_size=48", "data.num_workers=0",
                  "features=[own]", "heatmaps=0", "device=cpu", "run_name=tiny",
                  f"output_dir={tmp_path / folder}", f"cache.folder={tmp_path / 'cache'}",
                  f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]  # fmt: skip
        with caplog.at_level("INFO"):
            run_task(evaluate, composed("evaluate", *chosen, *overrides))
        return read_records(tmp_path / folder)

    return run


def test_options_and_source_of_own_classes_decide(
    own: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = own()
    cubes = own("backbone.power=3")
    assert len(cubes) == 4
    assert "backbone.power: 1 → 3" in caplog.text
    # The same folder and cache, and yet the numbers of a run that had neither.
    alone = own("backbone.power=3", "cache=null", folder="fresh")
    assert [r.metrics for r in alone] == [r.metrics for r in cubes[2:]]
    assert [r.metrics for r in cubes[2:]] != [r.metrics for r in first]

    (tmp_path / "helper.py").write_text(HELPER.format("-"))
    edited = own()
    assert len(edited) == 6
    assert "source of mine.MeanDistance" in caplog.text
    negated = {r.method: r.metrics["pixel_auroc"] for r in edited[4:]}
    before = {r.method: r.metrics["pixel_auroc"] for r in first}
    assert negated["distance"] == pytest.approx(1 - before["distance"])
    assert negated["padim"] == before["padim"]
    assert len(own()) == 6


FACTORY = """
from mine import Squares


def made(power=1):
    class Closed(Squares):
        def levels(self, images):
            return [level**power for level in super().levels(images)]

    return Closed()
"""


def test_a_function_that_makes_a_backbone_has_no_options_that_the_cache_overlooks(
    own: Any, tmp_path: Path
) -> None:
    (tmp_path / "factory.py").write_text(FACTORY)
    group = tmp_path / "conf" / "backbone" / "closed.yaml"
    group.write_text("_target_: factory.made\npower: 1\n")
    words = ["backbone=closed", "method=[padim]"]
    own(*words)
    two = own(*words, "backbone.power=2")[-1]
    (fresh,) = own(*words, "backbone.power=2", "cache=null", folder="fresh")
    assert two.metrics == fresh.metrics
    assert own("backbone=squares", "backbone.power=2", "method=[padim]")[-1].metrics == two.metrics


def test_the_source_of_a_class_includes_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "plugin"
    (package / "deep").mkdir(parents=True)
    files = {
        package / "__init__.py": "from .first import Thing\n",
        package / "first.py": "from plugin.deep import second\n\n\nclass Thing:\n    pass\n",
        package / "deep" / "__init__.py": "",
        package / "deep" / "second.py": "import json\nfrom .. import third\n",
        package
        / "third.py": "import torch\n\ntry:\n    import gone\nexcept ImportError:\n    pass\n",
        tmp_path / "unrelated.py": "",
    }
    for path, text in files.items():
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    hashes = [source_of("plugin.Thing")]
    for path, text in files.items():
        path.write_text(text + "# edited\n")
        changed = source_of("plugin.Thing")
        assert (changed != hashes[-1]) == (path.name != "unrelated.py"), path
        hashes.append(changed)
    import plugin  # type: ignore[import-not-found]

    assert source_of(plugin.Thing) is not None
    # Of what a module has from elsewhere, that module decides too.
    named = tmp_path / "named.py"
    for end in ("", "# edited\n"):
        named.write_text(f"from collections import Counter as Thing\n{end}")
        hashes.append(source_of("named.Thing"))
    assert hashes[-1] != hashes[-2]
    for name in ("first", "second"):
        typed = {"__name__": "a prompt"}
        exec(f"class Thing:\n    def power(self): return '{name}'", typed)  # noqa: S102
        hashes.append(source_of(typed["Thing"]))  # type: ignore[arg-type]
    assert hashes[-1] != hashes[-2]
    assert source_of("adpt.methods.PaDiM") is None
    assert source_of(FeatureProjector) is None


# ---- What is said ---------------------------------------------------------------------------


def test_a_run_says_what_keeps_recorded_results_from_counting(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(*overrides: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            results(root, tmp_path / "out", "method=[padim]", "heatmaps=0", *overrides)
        return caplog.text

    assert "differs" not in said()
    assert "differs" not in said()
    text = said("method.padim.epsilon=0.5", "shots=3")
    assert re.search(r"2 recorded before .*: method.padim.epsilon: 0.01 → 0.5$", text, re.M)
    assert re.search(r"2 recorded before .*: method.padim.epsilon: 0.01 → 0.5; shots: 2 → 3$", text,
                     re.M)  # fmt: skip
    (root / "key" / "train" / "good" / "000.png").unlink()
    assert re.search(r"2 recorded before .*: images changed$", said(), re.M)
