"""What predict takes for input, and how it writes names that files may have."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import adpt
import drawn
import warm
from adpt.errors import DataError, UserError
from adpt.inspection import UnreadImage
from adpt.inspection.outputs import Outputs
from adpt.predict import predict
from adpt.running.whole_files import OUTPUT_MARK
from runs import command, composed, rows, run_task

RAW = os.fsdecode(b"caf\xe9.png")
NAMES = (
    "plain.png", RAW, f"{'漢' * 80}.png", f"{'a' * 251}.png", "two\nlines.png", "red\x1b[31m.png",
    "=1+1.png", "-dash.png", "@at.png", "~nosuchuser.png", "~$photo.png", "#anchor %20.png",
    "k[1].png", "<b>.png", "back\\slash.png", "u\u0308.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    photos = drawn.draw_mvtec(folder / "photos") / "bottle"
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    test = {"good_test": photos / "test" / "good", "defects": photos / "test" / "scratch"}
    good = photos / "train" / "good"
    path = folder / "bottle.adpt.safetensors"
    adpt.Inspector.fit(good, backbone=backbone, image_size=48, device="cpu", **test).save(path)
    return path


def photograph(path: Path, number: int = 0, defect: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn.picture("bottle", number, defect=defect)[0]).save(path, "PNG")
    return path


def run(*overrides: str) -> int:
    """Run the entry in this process; its exit code."""
    try:
        run_task(predict, composed("predict", "device=cpu", *overrides))
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_bytes().splitlines()]


# ---- What is input --------------------------------------------------------------------------


@pytest.mark.parametrize("places", [
    ["output_dir=."], ["output_dir=photos"], [], ["output_dir=photos/new", "heatmap_format=png"],
    pytest.param(["output_dir=out"], marks=pytest.mark.slow),
    pytest.param(["hydra.run.dir=photos/x"], marks=pytest.mark.slow),
])  # fmt: skip
def test_a_second_run_in_the_same_place_gives_the_same_scores(places, model, tmp_path) -> None:
    photograph(tmp_path / "photos" / "a.png")
    photograph(tmp_path / "photos" / "deep" / "b.png", 1, defect=True)

    def scored() -> list[tuple[str, str]]:
        done = command("predict", f"inspector={model}", "images=.", *places, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        (table,) = sorted(tmp_path.rglob("scores.csv"), key=os.path.getmtime)[-1:]
        return [(row["path"], row["score"]) for row in rows(table)]

    first = scored()
    assert [path for path, _ in first] == ["photos/a.png", "photos/deep/b.png"]
    assert scored() == first
    assert list(tmp_path.rglob("heatmaps/*.*g"))


def test_a_folder_of_results_as_input_is_refused_by_name(model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    photograph(Path("photos/a.png"))
    run(f"inspector={model}", "images=photos", "output_dir=out")
    Path("out/heatmaps").rename("moved")
    for option in ("images=moved", "images=out", "images=moved/000000_a.jpg"):
        with pytest.raises(DataError, match=rf"{option.split('/')[0]}.*adpt wrote.*{OUTPUT_MARK}"):
            run(f"inspector={model}", option, "output_dir=other")
    with pytest.raises(DataError, match=r"no image file fits that pattern.*what adpt wrote"):
        run(f"inspector={model}", "images=moved/*.jpg", "output_dir=other")
    with pytest.raises(DataError, match="fit=moved: adpt wrote"):
        run("fit=moved", "images=photos", "output_dir=other")
    (tmp_path / "moved" / OUTPUT_MARK).unlink()
    assert run(f"inspector={model}", "images=moved", "output_dir=other") in (0, 2)


def test_heatmaps_in_a_stream_are_answered_and_not_scored(
    model, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph(Path("a.png"))
    run(f"inspector={model}", "images=.", "output_dir=.")
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("a.png\nheatmaps/000000_a.jpg\n"))
    assert run(f"inspector={model}", "images=-", "output_dir=out") in (2, 3)
    own, heatmap = map(json.loads, capsys.readouterr().out.splitlines())
    assert own["score"] is not None
    assert heatmap["score"] is None
    assert "adpt wrote it" in heatmap["error"]


def test_the_users_own_folder_is_not_marked(model, tmp_path: Path) -> None:
    photograph(tmp_path / "photos" / "a.png")
    run(f"inspector={model}", f"images={tmp_path}/photos", f"output_dir={tmp_path}/photos")
    marked = [path.parent for path in tmp_path.rglob(OUTPUT_MARK)]
    assert marked == [tmp_path / "photos" / "heatmaps"]
    assert "not taken as input" in (marked[0] / OUTPUT_MARK).read_text()


def test_images_of_ones_own_in_a_folder_for_heatmaps_are_told(model, tmp_path, caplog) -> None:
    photograph(tmp_path / "heatmaps" / "own.png")
    images = f"images={photograph(tmp_path / 'a.png')}"
    run(f"inspector={model}", images, f"output_dir={tmp_path}")
    assert "own.png and whatever else lies in" in caplog.text
    caplog.clear()
    run(f"inspector={model}", images, f"output_dir={tmp_path}")
    assert "whatever else" not in caplog.text


def test_folders_named_like_images_and_pipes_hang_and_stop_nothing(model, tmp_path) -> None:
    photograph(tmp_path / "photos" / "png" / "a.png")
    photograph(tmp_path / "photos" / "b.png" / "c.png", 1)
    (tmp_path / "photos" / "empty.jpg").mkdir()
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    run(f"inspector={model}", f"images={tmp_path}/photos", f"output_dir={tmp_path}/out")
    assert [Path(row["path"]).name for row in lines(tmp_path / "out")] == ["c.png", "a.png"]
    with pytest.raises(DataError, match="no ordinary file"):
        run(
            f"inspector={model}", f"images={tmp_path}/photos/pipe.png", f"output_dir={tmp_path}/out"
        )
    results = adpt.Inspector.load(model, "cpu").predict_many(
        [tmp_path / "photos" / name for name in ("pipe.png", "png", "x" * 300)]
    )
    said = [one.error for one in results if isinstance(one, UnreadImage)]
    assert len(said) == 3
    assert "no ordinary file" in said[0]
    assert "folder" in said[1]
    assert "too long" in said[2]


@pytest.mark.parametrize("given", ["photos/png/*.png", "'k[1]/*.png'", "k[[]1]/*.png", "k[1]"])
def test_a_folder_of_any_name_in_a_pattern(given: str, model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("photos/png/a.png", "photos/jpg/b.png", "k[1]/a.png", "k1/b.png"):
        photograph(Path(place))
    value = given.strip("'")
    run(f"inspector={model}", f'images="{value}"', "output_dir=out")
    assert [Path(row["path"]).name for row in lines(Path("out"))] == ["a.png"]


def test_a_pattern_that_finds_nothing_says_where_it_looked(model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=rf"Looked in {tmp_path}/photos, .*\[ab\] stands for one"):
        run(f"inspector={model}", 'images="photos/k[1]/*.png"', "output_dir=out")
    with pytest.raises(DataError, match=r"images=~nosuchuser/x\.png: there is no such file"):
        run(f"inspector={model}", 'images="~nosuchuser/x.png"', "output_dir=out")


# ---- How names are written ------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of images with names of every kind."""
    for number, name in enumerate(NAMES):
        photograph(tmp_path / "odd" / name, number, defect=number % 2 == 0)
    return tmp_path / "odd"


def test_names_of_every_kind_are_scored_and_written(model, odd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(odd)
    out = tmp_path / "out"
    assert run(f"inspector={model}", "images=.", f"output_dir={out}") == 2
    found = lines(out)
    assert [row["error"] for row in found] == [""] * len(NAMES)
    assert len({row["path"] for row in found}) == len(NAMES)
    table = rows(out / "scores.csv")
    page = (out / "index.html").read_text(encoding="utf-8")
    for row, cells in zip(found, table, strict=True):
        assert (out / row["heatmap"]).is_file()
        assert len(Path(row["heatmap"]).name.encode()) < 143
        assert row["path"].isprintable()
        row["path"].encode()
        quoted = cells["path"]
        assert quoted.removeprefix("'") == row["path"]
        assert not quoted.startswith(("=", "+", "-", "@"))
        assert float(cells["score"]) == row["score"]
    assert "caf\\udce9.png" in page
    assert "\x1b" not in page
    assert "<b>.png" not in page


def test_the_same_names_come_in_a_stream(model, odd, tmp_path) -> None:
    told = [name for name in NAMES if "\n" not in name]
    done = warm.run(
        [sys.executable, "-m", "adpt.predict", f"inspector={model}", "images=-", "device=cpu",
         f"output_dir={tmp_path}/out"],
        cwd=odd, input=b"\n".join(map(os.fsencode, told)), capture_output=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [answer["error"] for answer in answers] == [""] * len(told)
    assert b"\x1b[31m.png" not in done.stdout + done.stderr
    assert answers == lines(tmp_path / "out")


def test_what_cannot_be_read_is_told_in_every_log(model, tmp_path) -> None:
    for name in (RAW, "red\x1b[31m.png", "two\nlines.png"):
        (tmp_path / name).write_text("no picture")
    done = command("predict", f"inspector={model}", "images=.", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    (log,) = tmp_path.rglob("predict.log")
    for said in (done.stderr, log.read_text(encoding="utf-8")):
        assert "caf\\udce9.png" in said
        assert "red\\x1b[31m.png" in said
        assert "two\\nlines.png" in said
        assert "Logging error" not in said


def test_a_word_that_is_no_text_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = command("predict", "inspector=x", f"images={RAW}", cwd=tmp_path)
    assert done.returncode == 1
    assert "adpt: images=caf\\udce9.png holds bytes that are no UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [OSError(36, "File name too long"), ValueError("odd picture")])
def test_a_heatmap_that_cannot_be_written_ends_nothing(
    error, model, tmp_path, monkeypatch, caplog
) -> None:
    save = Image.Image.save

    def failing(picture, place, *arguments, **options):
        if "000000_" in str(place):
            raise error
        save(picture, place, *arguments, **options)

    for number in range(2):
        photograph(tmp_path / "photos" / f"{number}.png", number)
    monkeypatch.setattr(Image.Image, "save", failing)
    run(f"inspector={model}", f"images={tmp_path}/photos", f"output_dir={tmp_path}/out")
    first, second = lines(tmp_path / "out")
    assert (first["heatmap"], first["error"]) == ("", "")
    assert first["score"] > 0
    assert (tmp_path / "out" / second["heatmap"]).is_file()
    assert "The heatmap of" in caplog.text
    assert "photos/0.png is left out" in caplog.text


def test_no_heatmaps_need_no_folder(model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "heatmaps").write_text("a file")
    inspector = adpt.Inspector.load(model, "cpu")
    with Outputs(out, inspector, heatmaps="none") as outputs:
        outputs.add(inspector.predict(photograph(tmp_path / "a.png")))
    with pytest.raises(UserError, match="Cannot write to"), Outputs(out, inspector):
        pass
    shutil.rmtree(out)
