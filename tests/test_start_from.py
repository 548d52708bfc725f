"""Training that sets out with the weights of a projector file."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import drawn
from adpt.errors import UserError, WeightsError
from adpt.evaluation.preparing import saw_images
from adpt.projector import FeatureProjector
from adpt.train import train
from adpt.weights import PUBLISHED_NAMES, find_projector, load_projector, save_projector
from runs import run_task, training


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.draw_folder(tmp_path_factory.mktemp("data") / "own", ("key",))


def built(**options: object) -> FeatureProjector:
    """As the tiny training config builds it, with weights that no training starts at."""
    torch.manual_seed(7)
    return FeatureProjector((40, 112), **{"num_heads": 4, "num_references": 8, **options})


def continued(folder: Path, root: Path, start: Path, *overrides: str) -> dict[str, Tensor]:
    words = ["data=folder", f"data.root={root}", f"projector={start}", *overrides]
    run_task(train, training(folder, *words))
    return load_projector(folder / "projector.safetensors").state_dict()


STILL = "model.optimizer.lr=0"


def test_training_sets_out_with_the_weights_of_the_file(root: Path, tmp_path: Path) -> None:
    save_projector(built(), tmp_path / "start.safetensors")
    start = built().state_dict()
    still = continued(tmp_path / "still", root, tmp_path / "start.safetensors", STILL)
    assert all(torch.equal(start[name], still[name]) for name in start)
    moved = continued(tmp_path / "moved", root, tmp_path / "start.safetensors")
    changed = [name for name in start if not torch.equal(start[name], moved[name])]
    assert changed
    assert all((start[name] - moved[name]).abs().max() < 0.01 for name in start)


def test_a_projector_scaled_by_references_goes_on(root: Path, tmp_path: Path) -> None:
    save_projector(built(scale_by_references=True), tmp_path / "start.safetensors")
    start = built(scale_by_references=True).state_dict()
    words = ["model=reference_scale", STILL]
    still = continued(tmp_path / "still", root, tmp_path / "start.safetensors", *words)
    # Not put back to the identity that model=reference_scale starts at; the scale is the data's.
    assert all(torch.equal(start[name], still[name]) for name in start if name != "scale")
    assert (still["scale"] != 1).all()


def test_the_new_file_tells_what_it_started_from(root: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.safetensors"
    save_projector(
        built(), first, {"backbone": "efficientnet_lite0", "images": json.dumps(["/elsewhere"])}
    )
    continued(tmp_path / "second", root, first)
    second = find_projector(tmp_path / "second" / "projector.safetensors")
    assert second.protocol == "clean"
    seen = json.loads(second.metadata["images"])
    assert "/elsewhere" in seen
    assert str(root / "key" / "train" / "good") in seen
    continued(tmp_path / "third", root, second.path)
    third = find_projector(tmp_path / "third" / "projector.safetensors")
    assert json.loads(third.metadata["started_from"]) == [
        {"name": "first.safetensors", "sha256": find_projector(first).sha256},
        {"name": "projector.safetensors", "sha256": second.sha256},
    ]
    assert json.loads(third.metadata["images"]) == seen


def test_weights_chosen_on_test_data_stay_so(root: Path, tmp_path: Path) -> None:
    state = built().state_dict()
    published = {
        f"l{level + 1}_proj.{name}": state[f"blocks.{level}.{own}"]
        for level in range(2)
        for name, own in PUBLISHED_NAMES.items()
    }
    torch.save({"projectors": published}, tmp_path / "published.pth")
    # A published file does not say its number of heads: it is 16.
    still = continued(
        tmp_path / "still", root, tmp_path / "published.pth", STILL, "model.projector.num_heads=16"
    )
    assert all(torch.equal(state[name], still[name]) for name in published if name in state)
    assert torch.equal(state["blocks.0.references"], still["blocks.0.references"])
    found = find_projector(tmp_path / "still" / "projector.safetensors")
    assert found.protocol == "paper"
    assert [one["name"] for one in json.loads(found.metadata["started_from"])] == ["published.pth"]
    # Real-IAD is where the published weights come from, wherever its images lie.
    for set_name, seen in (("realiad", True), ("mvtec", False)):
        assert saw_images(found, SimpleNamespace(set_name=set_name, samples=[])) == seen


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_references": 5}, "To start from it, give model.projector.num_references=5."),
        ({"block": "mlp"}, "To start from it, give model.projector.block=mlp."),
        ({"on_residuals": False}, "To start from it, give model.residual=false."),
        (
            {"scale_by_references": True, "num_heads": 2},
            "give model.projector.num_heads=2 model.projector.scale_by_references=true.",
        ),
    ],
)
def test_a_projector_built_otherwise_is_refused(
    options: dict[str, object], said: str, root: Path, tmp_path: Path
) -> None:
    save_projector(built(**options), tmp_path / "start.safetensors")
    with pytest.raises(UserError, match=re.escape(said)):
        continued(tmp_path / "run", root, tmp_path / "start.safetensors")


def test_levels_that_were_scaled_stay_scaled(root: Path, tmp_path: Path) -> None:
    scaled = built()
    scaled.scale.fill_(3.0)
    save_projector(scaled, tmp_path / "start.safetensors")
    with pytest.raises(UserError, match=r"give model\.scale_levels=true"):
        continued(tmp_path / "run", root, tmp_path / "start.safetensors")


def test_a_projector_of_another_backbone_is_refused(root: Path, tmp_path: Path) -> None:
    save_projector(built(), tmp_path / "start.safetensors", {"backbone": "clip_l"})
    with pytest.raises(WeightsError, match=r"of backbone 'clip_l', but backbone 'efficientnet_"):
        continued(tmp_path / "run", root, tmp_path / "start.safetensors")
