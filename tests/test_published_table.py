"""The published table's one command, on drawn trees of all five sets with the authors' formats."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import drawn
from adpt.projector import FeatureProjector
from adpt.results import Record, read_records
from adpt.weights.published import PUBLISHED_NAMES
from runs import TINY, command

SETS = {
    "mvtec": (drawn.draw_mvtec, ("bottle", "wood"), "{name}/train/good/{n:03d}.png"),
    "visa": (drawn.draw_visa, ("candle",), "{name}/Data/Images/Normal/{n:04d}.JPG"),
    "btad": (drawn.draw_btad, ("02",), "{name}/train/ok/{n:04d}.png"),
    "mvtec3d": (drawn.draw_mvtec3d, ("bagel",), "{name}/train/good/rgb/{n:03d}.png"),
    "mpdd": (drawn.draw_mpdd, ("tubes",), "{name}/train/good/{n:03d}.png"),
}
SMALL = [
    "method.cflow.epochs=2", "method.glass.epochs=2", "method.glass.embedding_dim=32",
    "method.glass.hidden_dim=32", "method.glass.ascent_steps=5", "method.uniad.epochs=2",
    "method.uniad.hidden_dim=16", "method.uniad.num_heads=2", "method.uniad.num_layers=1",
    "method.uniad.feedforward_dim=32", "shots=2", "heatmaps=0", "device=cpu", "cache=null",
]  # fmt: skip


def draw_lists(lists: Path, root: Path, set_name: str, classes: tuple[str, ...], form: str) -> None:
    """`8shot/<set>` as copies of images and `aligned/references/<set>` as JSON, as published."""
    found = [path for path in root.rglob("*") if "test" in path.parts or "Images" in path.parts]
    for name in classes:
        images = [path for path in found if path.is_file() and name in path.parts]
        names = [root / form.format(name=name, n=number) for number in (3, 1)]
        there = [path for path in names if path.is_file()]
        assert there, f"no reference of {set_name} at {names[0]}"
        copies = lists / "8shot" / set_name / name / "train" / "good"
        copies.mkdir(parents=True)
        for path in there:
            shutil.copy(path, copies)
        file = lists / "aligned" / "references" / set_name / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        start = f"/data/theirs/{set_name}"
        near = [f"{start}/{path.relative_to(root)}" for path in there]
        file.write_text(json.dumps({f"{start}/{p.relative_to(root)}": near for p in images}))


def write_weights(folder: Path) -> None:
    """Both variants of a projector, as the authors' .pth files name and hold them."""
    theirs = {own: name for name, own in PUBLISHED_NAMES.items()}
    for seed, variant in enumerate(("angle", "norm")):
        torch.manual_seed(seed)
        made = FeatureProjector([40, 112], num_references=8)
        state = {}
        for name, tensor in made.state_dict().items():
            if name.startswith("blocks."):
                level, own = name.split(".", 2)[1:]
                state[f"l{int(level) + 1}_proj.{theirs[own]}"] = tensor
        for kind in ("img", "pix", "pro"):
            path = folder / f"checkpoints_{kind}_{variant}.pth"
            torch.save({"projectors": state, "img_auc": 0.9, "pix_auc": 0.9, "pix_pro": 0.8}, path)


@pytest.mark.slow
def test_one_command_makes_the_table_in_the_published_setting(tmp_path: Path) -> None:
    data, weights = tmp_path / "data", tmp_path / "weights"
    weights.mkdir()
    write_weights(weights)
    for set_name, (draw, classes, form) in SETS.items():
        root = draw(data / set_name, classes, size=60)
        draw_lists(data / "lists", root, set_name, classes, form)
        for name in classes:
            for number in range(12):
                for file in (f"{number:03d}.png", f"{number:04d}.JPG"):
                    if set_name in ("mvtec", "visa"):
                        whole = np.full((60, 60), 255, np.uint8)
                        drawn.save(whole, data / "fg_mask" / name / file)
    drawn.save(drawn.picture("board", 1)[0], data / "dtd/images/woven/0.png")
    done = command(
        "evaluate", "-m", "+experiment=published_table", *TINY, *SMALL, f"data_dir={data}",
        f"projector={weights}", f"hydra.sweep.dir={tmp_path}/table", f"data={','.join(SETS)}",
        cwd=tmp_path, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "are not as published" not in done.stderr
    records: list[Record] = read_records(tmp_path / "table")
    assert {record.dataset for record in records} == set(SETS)
    # Six methods on own and on pretrained features of six classes.
    assert len(records) == 6 * 2 * 6
    for record in records:
        assert record.setting == {"as_published": True, "image_size": [48, 48]}, record
        assert record.protocol == "paper"
        if record.features == "pretrained":
            variant = "angle" if record.method in ("padim", "patchcore") else "norm"
            assert str(record.projector).endswith(f"checkpoints_pro_{variant}.pth")
            assert len(record.references) in (1, 2)
