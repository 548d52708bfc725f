"""The command as a user types it, and what it leaves on disk."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from hydra.errors import OverrideParseException
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
import drawn
import warm
from adpt.errors import UserError
from adpt.inspection.command import trusted
from adpt.predict import predict
from adpt.projector import FeatureProjector
from adpt.weights import save_projector
from runs import command, composed, rows, run_all, run_task

TINY = ["backbone.levels=[2,3]", "data.image_size=48"]


@pytest.fixture(scope="module")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted, with a threshold between the good and the bad test images."""
    path = tmp_path_factory.mktemp("model") / "bottle.adpt.safetensors"
    test = {"good_test": photos / "test" / "good", "defects": photos / "test" / "scratch"}
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    good = photos / "train" / "good"
    adpt.Inspector.fit(good, backbone=backbone, image_size=48, device="cpu", **test).save(path)
    return path


def run(folder: Path, *overrides: str) -> int:
    """Run the entry in this process; its exit code."""
    config = composed("predict", f"output_dir={folder}", "device=cpu", *overrides)
    try:
        run_task(predict, config)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_one_command_fits_saves_and_scores(photos: Path, tmp_path: Path) -> None:
    done = command(
        "predict",
        f"fit={photos}/train/good",
        "inspector=own.safetensors",
        f"images={photos}/test",
        "output_dir=out",
        *TINY,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    with safe_open(tmp_path / "own.safetensors", framework="pt") as file:
        settings = json.loads(file.metadata()["content"])["settings"]
    assert settings["backbone"]["name"] == "efficientnet_lite0"
    table = rows(tmp_path / "out" / "scores.csv")
    assert [row["path"] for row in table] == sorted(map(str, (photos / "test").rglob("*.png")))
    lines = (tmp_path / "out" / "scores.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["score"] for line in found] == [float(row["score"]) for row in table]
    loaded = adpt.Inspector.load(tmp_path / "own.safetensors", device="cpu")
    again = [one.score for one in loaded.predict_many(photos / "test")]
    assert again == [line["score"] for line in found]
    normalised = [one.normalised for one in loaded.predict_many(photos / "test")]
    assert normalised == [line["normalised"] for line in found]
    assert [float(row["normalised"]) for row in table] == normalised
    assert "The highest score of a good image is that of " in done.stderr
    assert "Fitting: fitting the method, 0 of 6" in done.stderr
    assert 'href="good.html"' in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "each scored as if it had not been fitted on" in (
        tmp_path / "out" / "good.html"
    ).read_text(encoding="utf-8")


def test_exit_code_says_what_was_found(model: Path, photos: Path, tmp_path: Path) -> None:
    good, bad = photos / "test" / "good", photos / "test" / "scratch"
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.png").write_bytes(next(good.iterdir()).read_bytes())
    (mixed / "b.png").write_bytes(b"no image")
    out, of = tmp_path / "out", f"inspector={model}"
    assert run(out, of, f"images={good}") == 0
    assert run(out, of, f"images={bad}") == 2
    assert run(out, of, f"images={bad}", "exit_code=false") == 0
    assert run(out, of, f"images={mixed}") == 3
    table = rows(out / "scores.csv")
    assert [(row["anomalous"], row["score"] == "") for row in table] == [
        ("False", False),
        ("", True),
    ]
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert [line["anomalous"] for line in lines] == [False, None]
    assert "cannot be read as an image" in table[1]["error"]
    (mixed / "c.png").write_bytes(next(bad.iterdir()).read_bytes())
    assert run(out, of, f"images={mixed}") == 2
    assert run(out, of, f"images={mixed}", "threshold=1e9") == 3
    assert run(out, of, f"images={mixed}/a*.png") == 0


@pytest.mark.parametrize(
    ("side", "image_format", "size"), [(None, "png", (90, 60)), (45, "jpg", (45, 30))]
)
def test_heatmaps_have_the_size_that_was_asked_for(
    side, image_format, size, model: Path, photos: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / "new" / folder).mkdir(parents=True)
        picture = Image.open(next((photos / "test" / "scratch").iterdir())).resize((90, 60))
        picture.save(tmp_path / "new" / folder / "same name.png")
    given = f"heatmap_size={'null' if side is None else side}"
    out = tmp_path / "out"
    run(
        out, f"inspector={model}", f"images={tmp_path}/new", given, f"heatmap_format={image_format}"
    )
    maps = [out / row["heatmap"] for row in rows(out / "scores.csv")]
    assert len(set(maps)) == 2
    for path in maps:
        assert Image.open(path).size == size
        assert Image.open(path).format == {"png": "PNG", "jpg": "JPEG"}[image_format]


def test_a_score_at_the_threshold_is_normal(model, photos: Path, tmp_path: Path) -> None:
    image = next((photos / "test" / "scratch").glob("*.png"))
    words = [f"inspector={model}", f"images={image}"]
    run(tmp_path / "first", *words)
    score = json.loads((tmp_path / "first" / "scores.jsonl").read_text())["score"]
    assert run(tmp_path / "at", *words, f"threshold={score!r}") == 0
    below = float(np.nextafter(score, -np.inf))
    assert run(tmp_path / "below", *words, f"threshold={below!r}") == 2


def test_only_anomalous_images_get_a_heatmap_where_asked(model, photos, tmp_path) -> None:
    run(tmp_path, f"inspector={model}", f"images={photos}/test", "heatmaps=anomalous")
    table = rows(tmp_path / "scores.csv")
    assert [row["heatmap"] != "" for row in table] == [row["anomalous"] == "True" for row in table]
    run(tmp_path / "none", f"inspector={model}", f"images={photos}/test", "heatmaps=none")
    assert not (tmp_path / "none" / "heatmaps").exists()


def test_the_heatmap_is_brightest_on_the_defect(photos: Path, tmp_path: Path) -> None:
    pixels, mask = drawn.picture("bottle", 2, defect=True)
    drawn.save(pixels, tmp_path / "new" / "x.png")
    model = tmp_path / "fine.safetensors"
    test = {"good_test": photos / "test" / "good", "defects": photos / "test" / "scratch"}
    small = {"backbone": {"name": "efficientnet_lite0", "levels": [2, 3]}, "image_size": 96}
    adpt.Inspector.fit(photos / "train" / "good", device="cpu", **small, **test).save(model)
    run(tmp_path, f"inspector={model}", f"images={tmp_path}/new/x.png", "heatmap_format=png")
    (row,) = rows(tmp_path / "scores.csv")
    drawn_map = np.asarray(Image.open(tmp_path / row["heatmap"]).convert("RGB")).astype(int)
    red = drawn_map[..., 0] - drawn_map[..., 2]
    assert red[mask > 0].mean() > red[mask == 0].mean() + 50


def test_the_page_shows_every_image_and_asks_for_no_other_file(model, photos, tmp_path) -> None:
    new = tmp_path / "new"
    drawn.save(drawn.picture("bottle", 1)[0], new / "<b>&.png")
    (new / "broken.png").write_bytes(b"")
    drawn.save(drawn.picture("bottle", 3, defect=True)[0], new / "bad.png")
    run(tmp_path / "out", f"inspector={model}", f"images={new}", "title='My <bottles>'")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "My &lt;bottles&gt;" in page
    assert "<b>&." not in page
    assert page.count("<figure") == 3
    assert page.index("broken.png") < page.index('alt="' + str(new / "bad.png"))
    assert len(re.findall(r'src="data:image/jpeg', page)) == 2
    assert not re.findall(r'src="(?!data:)', page)
    for link in re.findall(r'href="([^"]+)"', page):
        assert (tmp_path / "out" / link).is_file()
    assert "1 of 3 images are anomalous, 1 could not be read." in page


def test_a_stream_is_answered_line_by_line(model: Path, photos: Path, tmp_path: Path) -> None:
    words = [f"inspector={model}", "images=-", "output_dir=out", "device=cpu"]
    process = warm.Forked(
        [sys.executable, "-m", "adpt.predict", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    bad = next((photos / "test" / "scratch").iterdir())
    for path in (bad, tmp_path / "none.png", next((photos / "test" / "good").iterdir())):
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        # Answered while the stream is still open.
        answer = json.loads(process.stdout.readline())
        assert answer["path"] == str(path)
        lines = (tmp_path / "out" / "scores.partial.jsonl").read_text().splitlines()
        assert json.loads(lines[-1]) == answer
    process.stdin.close()
    assert process.stdout.read() == ""
    assert process.wait(timeout=60) == 2
    assert (tmp_path / "out" / "scores.jsonl").read_text().splitlines() == lines
    assert not (tmp_path / "out" / "scores.partial.jsonl").exists()
    assert len(rows(tmp_path / "out" / "scores.csv")) == 3
    assert (tmp_path / "out" / "index.html").is_file()


def stream(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))


@pytest.mark.parametrize("lines", ["", "\n\r\n"])
def test_an_empty_stream_is_a_mistake(lines: str, model, tmp_path: Path, monkeypatch) -> None:
    stream(lines, monkeypatch)
    with pytest.raises(UserError, match="images=-: standard input is empty"):
        run(tmp_path, f"inspector={model}", "images=-")


def test_a_stream_says_null_of_what_it_cannot_read(model, tmp_path, monkeypatch, capsys) -> None:
    stream("none.png\n", monkeypatch)
    assert run(tmp_path, f"inspector={model}", "images=-") == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["score"], answer["anomalous"]) == (None, None)


def test_a_stream_whose_reader_leaves_ends_quietly(model, photos, tmp_path: Path) -> None:
    pictures = "\n".join(map(str, sorted((photos / "test").rglob("*.png"))))
    reader, writer = os.pipe()
    os.close(reader)
    done = warm.run(
        [sys.executable, "-m", "adpt.predict", f"inspector={model}", "images=-", "output_dir=out"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        input=pictures,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    assert len(rows(tmp_path / "out" / "scores.csv")) == 1
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_second_run_removes_the_heatmaps_of_the_first_and_nothing_else(
    model, photos: Path, tmp_path: Path
) -> None:
    given = f"inspector={model}"
    run(tmp_path, given, f"images={photos}/test/good")
    before = {path.name for path in (tmp_path / "heatmaps").glob("*.jpg")}
    assert len(before) == 3
    own = [tmp_path / "heatmaps" / name for name in ("own.jpg", "000009_own.jpg")]
    own.append(tmp_path / "000000_000.jpg")
    for path in own:
        path.touch()
    with (tmp_path / "scores.jsonl").open("a") as table:
        table.write('{"heatmap": "000000_000.jpg"}\n{"heatmap": "heatmaps/own.jpg"}\n')
        table.write('{"heatmap": "heatmaps/../000000_000.jpg"}\n[]\n{"heat')
    run(tmp_path, given, f"images={photos}/test/scratch/000.png", "heatmap_format=png")
    assert all(path.is_file() for path in own)
    left = {path.name for path in (tmp_path / "heatmaps").glob("*.[jp]*g")}
    assert left == {"own.jpg", "000009_own.jpg", "000000_000.png"}


def test_weights_that_lie_elsewhere_now_are_given_on_the_command_line(
    photos: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), first)
    good = photos / "train" / "good"
    backbone = {"name": "test_resnet", "weights": str(first), "levels": [0]}
    made = adpt.Inspector.fit(good, backbone=backbone, image_size=48, device="cpu")
    made.save(tmp_path / "m.safetensors", backbone_weights=False)
    first.rename(second)
    given = [f"inspector={tmp_path}/m.safetensors", f"images={photos}/test"]
    with pytest.raises(UserError, match=r"first\.safetensors.*\n.*backbone_weights=<file>"):
        run(tmp_path / "out", *given)
    run(tmp_path / "out", *given, f"backbone_weights={second}")
    found = [float(row["score"]) for row in rows(tmp_path / "out" / "scores.csv")]
    assert found == [one.score for one in made.predict_many(photos / "test")]


def test_a_path_of_any_characters_is_given_in_quotes(model, photos, tmp_path: Path) -> None:
    folder = tmp_path / "ünï (1) a=b"
    shutil.copytree(photos / "test" / "good", folder)
    with pytest.raises(OverrideParseException):
        run(tmp_path / "out", f"inspector={model}", f"images={folder}")
    assert run(tmp_path / "out", f"inspector={model}", f'images="{folder}"') == 0
    assert len(rows(tmp_path / "out" / "scores.csv")) == 3


def test_pictures_of_types_that_are_not_read_are_counted(model, photos, tmp_path, caplog) -> None:
    (tmp_path / "new" / "in").mkdir(parents=True)
    for name in ("a.gif", "in/b.GIF", "c.heic", "notes.txt"):
        (tmp_path / "new" / name).touch()
    drawn.save(drawn.picture("bottle", 1)[0], tmp_path / "new" / "d.png")
    run(tmp_path / "out", f"inspector={model}", f"images={tmp_path}/new")
    (told,) = [record.getMessage() for record in caplog.records if "left out" in record.message]
    assert "3 files are left out, of types that are not read (gif: 2, heic: 1)" in told
    assert len(rows(tmp_path / "out" / "scores.csv")) == 1
    caplog.clear()
    run(tmp_path / "out", f"inspector={model}", f"images={photos}/test")
    assert "left out" not in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give fit=<folder of good images>"),
        (["inspector={model}"], "There is nothing to do: give images="),
        (["fit={photos}"], "or inspector=<file> to save it"),
        (["inspector={model}", "images=nowhere"], "images=nowhere: there is no such file"),
        (["inspector={model}", "images=*.none"], "no image file fits that pattern"),
        (["inspector=none", "images={photos}"], "There is no inspector file"),
        (["inspector={model}", "images={photos}", "heatmaps=few"], "heatmaps=few: one of all,"),
        (
            ["inspector={model}", "images={photos}", "batch_size=0"],
            "batch_size=0: a whole number of at least 1",
        ),
        (["fit={photos}", "images={photos}", "method=[padim,patchcore]"], "one method, not 2"),
        (["inspector={model}", "images={photos}", "threshold=nan"], "threshold=nan must be"),
        (["inspector={model}", "images={photos}", "threshold=inf"], "threshold=inf must be"),
        (["fit=none", "inspector={photos}"], "is a folder: give the name of a file"),
        (["fit=none", "inspector={model}/x"], "/x cannot be written: Not a directory"),
        (["inspector={model}", "export={model}/x"], "/x cannot be written: Not a directory"),
        (["fit=none", "inspector=x", "backbone_weights=x"], "it is true or false"),
        (
            ["fit=none", "inspector=x", "false_positive_rate=0.1", "threshold=1"],
            "false_positive_rate and threshold contradict each other",
        ),
        (
            ["fit=none", "inspector=x", "defects=none", "threshold=1"],
            "defects and threshold contradict each other",
        ),
        (["inspector={model}", "images={photos}", "backbone_weights=x"], "leave x out"),
    ],
)
def test_a_mistake_is_told(words, said, model: Path, photos: Path, tmp_path: Path) -> None:
    given = [word.format(model=model, photos=photos) for word in words]
    with pytest.raises(UserError, match=re.escape(said)):
        run(tmp_path, *given)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shots=2", r"adpt: shots: settled when"),
        ("colour=blue", r"adpt: colour=blue: there is no option colour\."),
        ("backbone_weights=true", r"adpt: backbone_weights: settled when .*=<file>\."),
        ("fit=none quantile=0.9 false_positive_rate=0.1", r"quantile and false_positive_rate cont"),
    ],
)
def test_a_mistake_ends_the_command_with_one_message(word, said, photos, tmp_path) -> None:
    done = command("predict", "inspector=x", f"images={photos}", *word.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert len(re.findall(said, done.stderr)) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_help_and_config_come_without_torch(words: list[str], tmp_path: Path) -> None:
    script = (
        f"import sys; sys.argv = ['predict', *{words!r}]\n"
        "import atexit; atexit.register(lambda: print('TORCH', 'torch' in sys.modules))\n"
        "from adpt.predict import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("TORCH False\n")
    assert ("Exit code: 0 all images are normal" in done.stdout) == (words == ["--help"])


# ---- Backbones and methods of one's own ---------------------------------------------------------

MINE = """
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from adpt.backbones import Backbone
from adpt.methods import Scores
from adpt.methods.fitted import FittedMethod
from adpt.methods.maps import upsample

Path("imported").touch()


class Squares(Backbone):
    def __init__(self, sides: tuple[int, ...] = (4, 8)) -> None:
        super().__init__("squares", [3 for _ in sides], (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self.indices = tuple(sides)
        self.freeze()

    def levels(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, side) for side in self.indices]


class Means(FittedMethod):
    learned = ("mean",)

    def __init__(self, image_size: int = 224, power: float = 1.0) -> None:
        super().__init__(image_size)
        if power <= 0:
            raise ValueError(f"power is {power}: give one above 0.")
        self.power = power

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        read = list(self.read(batches))
        found = torch.cat([levels[-1] for levels in read])
        shapes = [tuple(level.shape[1:]) for level in read[0]]
        self.remember(shapes, {"mean": found.mean(0)})

    def score(self, levels: list[Tensor]) -> Scores:
        self.check_fitted(levels)
        far = (levels[-1].float() - self.mean).norm(dim=1) ** self.power
        maps = upsample(far, self.image_size, align_corners=False)
        return Scores(maps, maps.amax((1, 2)))
"""


def write_own(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    for group in ("backbone", "method"):
        (folder / "conf" / group).mkdir(parents=True)
    (folder / "conf/backbone/squares.yaml").write_text("_target_: mine.Squares\nsides: [4, 8]\n")
    (folder / "conf/method/means.yaml").write_text(
        "# @package method.means\n_target_: mine.Means\n_partial_: true\n"
        "image_size: ${data.image_size}\npower: 2.0\npretrained:\n  power: 1.0\n"
    )


@pytest.fixture(scope="module")
def own(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module, a folder of configuration, and an inspector that was fitted there."""
    folder = tmp_path_factory.mktemp("own")
    write_own(folder)
    done = command(
        "predict", "--config-dir", "conf", "backbone=squares", "method=means", "device=cpu",
        f"fit={photos}/train/good", f"images={photos}/test/good", "inspector=own.adpt",
        "data.image_size=48", "output_dir=fitted", "exit_code=false", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


GAIN = """
from adpt.projector import ProjectorBlock
from torch import nn, ones


class Gain(ProjectorBlock):
    def __init__(self, channels, num_heads, num_references):
        super().__init__()
        self.gain = nn.Parameter(2 * ones(channels))

    def forward(self, tokens, references=None):
        return tokens * self.gain
"""


def test_a_projector_with_a_block_of_ones_own(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gain.py").write_text(GAIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_projector(FeatureProjector([40, 112], block="gain.Gain"), tmp_path / "p.safetensors")
    named = "projector_block=gain.Gain"
    fit = [
        "fit={photos}/train/good", "projector=p.safetensors", "backbone=efficientnet_lite0",
        "backbone.levels=[2,3]", "data.image_size=48", "method=padim", "shots=2",
        "images={photos}/test",
    ]  # fmt: skip
    again = ["images={photos}/test", "inspector=gained.adpt"]
    lines = [
        [*fit, "output_dir=unnamed"],
        [*fit, "output_dir=fitted", named, "inspector=gained.adpt"],
        [*again, "output_dir=unnamed"],
        [*again, "output_dir=again", named],
        [*again, "output_dir=other", "projector_block=gain.Other"],
    ]
    said = []
    for words in lines:
        given = [word.format(photos=photos) for word in words]
        done = command("predict", *given, "device=cpu", "exit_code=false", cwd=tmp_path)
        said.append(done.stderr)
        assert done.returncode == (0 if words[-1] in (named, "inspector=gained.adpt") else 1)
    for refused in (said[0], said[2], said[4]):
        assert re.search(r"made with the block gain\.Gain, .* projector_block=gain\.Gain", refused)
        assert "Traceback" not in refused
    fitted, loaded = (
        [row["score"] for row in rows(tmp_path / n / "scores.csv")] for n in ("fitted", "again")
    )
    assert fitted == loaded


def score_again(folder: Path, photos: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return command(
        "predict", *words, "inspector=own.adpt", f"images={photos}/test/good", "device=cpu",
        "output_dir=again", "exit_code=false", cwd=folder,
    )  # fmt: skip


AGAIN = ["inspector=own.adpt", "images={photos}/test/good", "device=cpu", "exit_code=false"]
FITTED = ["fit={photos}/train/good", "images={photos}/test", "device=cpu", "data.image_size=48"]

COMMANDS = {
    # Loaded where it is named
    "output_dir=a": (AGAIN, None),
    "output_dir=b backbone=squares": (AGAIN, None),
    "output_dir=c backbone=squares method=means": (AGAIN, None),
    # Settled
    "backbone=squares backbone.sides=[4]": (
        AGAIN,
        r"adpt: backbone\.sides: settled when own\.adpt",
    ),
    "method=padim": (AGAIN, r"adpt: method: settled when own\.adpt was fitted"),
    "method=means inspector={model}": (AGAIN[1:], r"adpt: method=means: settled when "),
    "projector_block=own.Gain inspector={model}": (
        AGAIN[1:],
        r"adpt: projector_block=own\.Gain: settled when ",
    ),
    # Refused
    "method=means method.means.power=0": (FITTED, r"adpt: method=means: power is 0"),
    "method=means +method.means.powr=1": (FITTED, r"method\.means\.powr=1 .* method\.means\.power"),
    "method=padim method.padim.image_size=32": (FITTED, r"its maps must be of the images' size"),
    "method=cflow method.cflow.published_maps=true": (
        FITTED,
        r"method=cflow: its options make the scores of an image depend on the others",
    ),
    "method=patchcore method.patchcore.coreset_ratio=7": (FITTED, r"method=patchcore: coreset_rat"),
    "backbone=imagebind": (FITTED, r"adpt: imagebind needs its published weights"),
}
"""Words, those that come with them, and what is said; None for a run that goes well."""


@pytest.fixture(scope="module")
def outcomes(own: Path, photos: Path, model: Path) -> dict[str, tuple[int, str]]:
    lines = [
        [word.format(photos=photos, model=model) for word in (*further, *line.split())]
        for line, (further, _) in COMMANDS.items()
    ]
    done = run_all([["predict", "--config-dir", "conf", *words] for words in lines], own)
    return dict(zip(COMMANDS, done, strict=True))


@pytest.mark.parametrize("line", COMMANDS)
def test_backbones_and_methods_of_ones_own(line: str, outcomes, own: Path) -> None:
    code, said = outcomes[line]
    wanted = COMMANDS[line][1]
    if wanted:
        assert code == 1
        assert re.search(wanted, said), said
        assert "Traceback" not in said
        assert "Fitting: " not in said
        return
    assert code == 0, said
    again = own / line.partition("=")[2].split()[0]
    columns = ("path", "score", "threshold")
    before, after = (
        [[row[name] for name in columns] for row in rows(folder / "scores.csv")]
        for folder in (own / "fitted", again)
    )
    assert before == after
    assert "means on own features of squares" in (again / "index.html").read_text()


def test_a_file_that_names_what_the_command_does_not_is_refused(own: Path, photos: Path) -> None:
    (own / "imported").unlink(missing_ok=True)
    words = [word.format(photos=photos) for word in AGAIN]
    done = command("predict", *words, cwd=own)
    assert done.returncode == 1
    assert "own.adpt names mine.Squares, mine.Means: code that is not adpt's" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (own / "imported").exists()


def test_a_server_takes_a_backbone_and_a_method_of_ones_own_where_they_are_named(
    own: Path,
) -> None:
    words = ["-u", "-m", "adpt.serve", "inspector=own.adpt", "device=cpu", "port=0"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": own}
    with warm.Forked([sys.executable, *words], **streams) as refused:
        assert "own.adpt names mine.Squares, mine.Means: code that" in refused.communicate()[0]
    with warm.Forked([sys.executable, *words, "--config-dir", "conf"], **streams) as served:
        said = next((line for line in served.stdout if "Listening on" in line), "it did not come")
        served.terminate()
        said += served.communicate()[0]
    assert (refused.returncode, served.returncode, "http://" in said) == (1, 0, True)


def test_a_server_is_told_of_a_block_of_ones_own() -> None:
    assert trusted(composed("serve", "inspector=a")) == set()
    assert trusted(composed("serve", "inspector=a", "projector_block=gain.Gain")) == {"gain.Gain"}


def test_what_the_command_and_its_folder_name_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trusted(composed("predict", "fit=a")) == set()
    words = ["fit=a", "backbone._target_=mine.Squares", "+method._target_=mine.Means"]
    config = composed("predict", *words)
    assert trusted(config) == {"mine.Squares", "mine.Means"}
    (tmp_path / "method" / "further").mkdir(parents=True)
    (tmp_path / "method" / "further" / "medians.yaml").write_text("_target_: mine.Medians")
    monkeypatch.setattr("adpt.inspection.command.own_folders", lambda: [tmp_path])
    assert trusted(config) == {"mine.Squares", "mine.Means", "mine.Medians"}
