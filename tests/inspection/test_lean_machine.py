"""An inspector on a machine that has neither Hydra nor Lightning, W&B or Matplotlib."""

import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import adpt
import drawn
import warm
from adpt.inspection.spec import METHODS, build
from adpt.projector import FeatureProjector
from adpt.running.blocked_imports import without
from adpt.weights import save_projector

CONF = Path(__file__).resolve().parents[2] / "conf"

SCRIPT = """
import json, sys
from importlib.machinery import ModuleSpec

ABSENT = {"hydra", "omegaconf", "lightning", "pytorch_lightning", "torchmetrics", "wandb",
          "matplotlib", "sklearn"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] in ABSENT else None

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Absent())
import adpt

for path in sys.argv[2:]:
    print(json.dumps(adpt.Inspector.load(path, device="cpu").predict(sys.argv[1]).score))
"""


def test_models_are_loaded_and_score_without_them(tmp_path: Path) -> None:
    photos = drawn.draw_mvtec(tmp_path / "photos") / "bottle"
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    save_projector(FeatureProjector([40, 112], 4, 8), tmp_path / "p.safetensors")
    image = photos / "test" / "scratch" / "000.png"
    paths, expected = [], []
    for number, options in enumerate(
        [
            {"method": "patchcore"},
            {"method": "padim", "features": "residual"},
            {"method": "feature_norm", "projector": tmp_path / "p.safetensors"},
            {"method": "cflow", "method_options": {"epochs": 1}},
            {"method": "glass", "method_options": {"epochs": 1, "ascent_steps": 5}},
            {"method": "uniad", "method_options": {"epochs": 1, "hidden_dim": 16}},
        ]
    ):
        made = adpt.Inspector.fit(
            photos / "train" / "good", backbone=backbone, image_size=48, device="cpu", **options
        )
        paths.append(tmp_path / f"{number}.safetensors")
        made.save(paths[-1])
        expected.append(made.predict(image).score)
    done = warm.run(
        [sys.executable, "-c", SCRIPT, image, *paths],
        lean=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


def test_nothing_of_theirs_is_imported_where_they_are() -> None:
    script = (
        "import sys, adpt.inspection\n"
        "print({'hydra', 'omegaconf', 'lightning', 'wandb', 'matplotlib'} & set(sys.modules))"
    )
    done = warm.run([sys.executable, "-c", script], lean=True, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_module_is_absent_meanwhile_alone() -> None:
    with without("this"), pytest.raises(ImportError):
        import this  # noqa: F401
    with without("json"):
        import json as still_there
    assert still_there is json


def test_methods_go_by_the_names_of_their_files() -> None:
    found = {}
    for file in (CONF / "method").glob("*.yaml"):
        if target := OmegaConf.load(file).get("_target_"):
            found[file.stem] = target
    assert found == METHODS


def test_specs_are_built_from_within() -> None:
    inner = {"_target_": "fractions.Fraction", "_args_": [1, 2]}
    assert build({"a": [inner, 3], "b": {"c": inner}}) == {"a": [0.5, 3], "b": {"c": 0.5}}
    assert build({"_target_": "math.fsum", "_args_": [[inner, inner]]}) == 1
    assert build({"_target_": "builtins.dict", "x": inner, "_recursive_": False}) == {"x": inner}
    later = build({"_target_": "fractions.Fraction", "_partial_": True, "denominator": 4})
    assert later(3) == 0.75
