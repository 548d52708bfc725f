"""The published table's one command, on drawn trees of all five sets with the authors' formats."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import drawn
from adpt.projector import FeatureProjector
from adpt.results import Record, read_records
from adpt.weights.authors_file import PUBLISHED_NAMES
from runs import TINY

ROOT = Path(__file__).parents[1]
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


def write_reported(path: Path) -> None:
    """The published numbers, as if they were of the drawn sets and the small backbone."""
    text = (ROOT / "experiments" / "main_table" / "reported.yaml").read_text(encoding="utf-8")
    for before, after in (
        ("{as_published: true}", "{as_published: true, image_size: [48, 48]}"),
        ("shots: 8", "shots: 2"),
        ("visa: 12, mvtec: 15, mpdd: 6", "visa: 1, mvtec: 2, mpdd: 1"),
        ("backbone: imagebind", "backbone: efficientnet_lite0"),
    ):
        assert before in text
        text = text.replace(before, after)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def difference(records: list[Record], features: str) -> list[float]:
    """Ours less the published figures of PaDiM on VisA, in points."""
    (found,) = (
        record
        for record in records
        if (record.dataset, record.method, record.features) == ("visa", "padim", features)
    )
    published = {"own": (92.6, 86.3), "pretrained": (95.4, 88.7)}[features]
    ours = (found.metrics[name] for name in ("image_auroc", "pixel_aupro_paper"))
    return [100 * value - theirs for value, theirs in zip(ours, published, strict=True)]


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
    write_reported(tmp_path / "experiments" / "main_table" / "reported.yaml")
    python = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", ROOT / "experiments" / "published_table" / "run.sh", *TINY, *SMALL,
         f"data_dir={data}", f"projector={weights}", f"data={','.join(SETS)}"],
        env=os.environ | {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"},
        cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "are not as published" not in done.stderr
    records: list[Record] = read_records(tmp_path / "outputs" / "published_table")
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
    # Beside them the published numbers, with the differences.
    told = (tmp_path / "outputs" / "published_table" / "report.md").read_text(encoding="utf-8")
    assert "arXiv 2511.05245" in told
    block = told.partition("· padim**")[2].splitlines()
    line = next(line for line in block if line.startswith("| ours − published"))
    for features in ("own", "pretrained"):
        for points in difference(records, features):
            assert f"{points:+.1f}".replace("-", "−") in line, (told, points)
