"""What a run of predict leaves when it is stopped, killed or fails: nothing by half."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

import adpt
import drawn
import warm
from adpt.inspection.inspector import Inspector
from adpt.inspection.outputs import Outputs
from adpt.predict import predict
from runs import composed, quiet_logging, rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    photos = drawn.draw_mvtec(folder / "photos") / "bottle"
    path = folder / "bottle.adpt.safetensors"
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    good = photos / "train" / "good"
    adpt.Inspector.fit(good, backbone=backbone, image_size=48, device="cpu").save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(drawn.picture("bottle", number)[0]).save(folder / f"{number}.png")
    return folder


def run(*words: str) -> int:
    """Run the entry in this process, signals and all; its exit code."""
    try:
        with quiet_logging():
            predict(composed("predict", "device=cpu", "batch_size=1", *words))
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def signalled(
    monkeypatch: pytest.MonkeyPatch, signum: int, after: int, fails: bool = False
) -> None:
    """A signal comes when so many images were scored, where code may fail for it."""
    plain = Inspector.predict_many

    def predict_many(self, *arguments, **options) -> Iterator:
        for number, result in enumerate(plain(self, *arguments, **options)):
            if number == after:
                try:
                    os.kill(os.getpid(), signum)
                    time.sleep(5)
                finally:
                    if fails:
                        raise AttributeError("half made")
            yield result

    monkeypatch.setattr(Inspector, "predict_many", predict_many)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("words", "fails"), [([], False), (["exit_code=false"], True)])
def test_a_stopped_run_writes_the_page_of_what_was_scored(
    signum, code, words, fails, model, photos, tmp_path, monkeypatch, capsys
) -> None:
    signalled(monkeypatch, signum, 2, fails)
    out = tmp_path / "out"
    assert run(f"inspector={model}", f"images={photos}", f"output_dir={out}", *words) == code
    found = lines(out / "scores.partial.jsonl")
    assert [Path(row["path"]).name for row in found] == ["0.png", "1.png"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    assert "(interrupted)" in page
    assert all((out / row["heatmap"]).is_file() for row in found)
    assert not (out / "scores.csv").exists()
    assert not (out / "scores.jsonl").exists()
    assert "scores.partial.jsonl" in capsys.readouterr().err
    assert not [path for path in out.rglob(".*") if path.name != ".adpt-output"]


def test_a_stopped_run_leaves_the_one_before_as_it_was(
    model, photos, tmp_path, monkeypatch
) -> None:
    words = [f"inspector={model}", f"output_dir={tmp_path}/out"]
    run(*words, f"images={photos}")
    before = content(tmp_path / "out")
    with monkeypatch.context() as patched:
        signalled(patched, signal.SIGTERM, 2)
        assert run(*words, f"images='{photos}/[3-5].png'") == 143
    after = content(tmp_path / "out")
    new = after.keys() - before.keys()
    assert {name: after[name] for name in before} == before
    partial = [row["heatmap"] for row in lines(tmp_path / "out" / "scores.partial.jsonl")]
    assert new == {"scores.partial.jsonl", "index.partial.html", *partial}
    # The next whole run clears up.
    run(*words, f"images={photos}/5.png")
    assert set(content(tmp_path / "out")) == {
        "scores.csv", "scores.jsonl", "index.html", "heatmaps/000000_5.jpg",
        "heatmaps/.adpt-output", ".adpt-output",
    }  # fmt: skip


def test_a_killed_run_leaves_the_one_before_and_a_readable_table(
    model, photos, tmp_path, capsys
) -> None:
    words = [f"inspector={model}", "output_dir=out"]
    out = tmp_path / "out"
    run(words[0], f"output_dir={out}", f"images={photos}")
    before = content(out)
    process = warm.Forked(
        [sys.executable, "-m", "adpt.predict", *words, "images=-", "device=cpu"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(os.fsencode(photos / "3.png") + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert run(words[0], f"output_dir={out}", f"images={photos}") == 1
    assert f"Process {process.pid} " in (said := capsys.readouterr().err)
    assert "is at work in" in said
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert lines(out / "scores.partial.jsonl") == [answer]
    assert {name: content(out)[name] for name in before} == before


def test_a_stopped_stream_is_whole(model, photos, tmp_path, monkeypatch) -> None:
    given = "".join(f"{photos}/{number}.png\n" for number in range(3))
    plain = Inspector.predict_many

    def predict_many(self, images, *arguments, **options) -> Iterator:
        if str(images[0]).endswith("2.png"):
            os.kill(os.getpid(), signal.SIGTERM)
        yield from plain(self, images, *arguments, **options)

    monkeypatch.setattr(Inspector, "predict_many", predict_many)
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert run(f"inspector={model}", "images=-", f"output_dir={tmp_path}") == 143
    assert len(lines(tmp_path / "scores.jsonl")) == len(rows(tmp_path / "scores.csv")) == 2
    assert "interrupted" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_an_error_leaves_the_one_before_too(model, photos, tmp_path, monkeypatch) -> None:
    inspector = adpt.Inspector.load(model, "cpu")
    with Outputs(tmp_path, inspector) as outputs:
        outputs.add(inspector.predict(photos / "0.png"))
    before = content(tmp_path)
    outputs = Outputs(tmp_path, inspector)
    broken = iter([inspector.predict(photos / "1.png")])
    with suppress(StopIteration), outputs:
        while True:
            outputs.add(next(broken))
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(lines(tmp_path / "scores.partial.jsonl")) == 1
    # What a kill leaves half-written goes with the next run.
    (tmp_path / "heatmaps" / ".000000_1.jpg.abc.part").touch()
    with Outputs(tmp_path, inspector):
        pass
    assert set(content(tmp_path)) == {"scores.csv", "scores.jsonl", "heatmaps/.adpt-output"}
    assert not list(tmp_path.rglob("*.jpg"))
