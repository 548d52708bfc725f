"""What a line needs of predict: products, further good images, a watched folder, drift."""

import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import adpt
import drawn
from adpt.errors import UserError
from adpt.predict import predict
from runs import composed, quiet_logging, rows, run_task

BACKBONE = {"name": "efficientnet_lite0", "levels": [2, 3]}
OPTIONS = {"backbone": BACKBONE, "image_size": 48, "device": "cpu", "method": "padim"}
GOOD = 9


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad images of two products, and their inspectors, fitted on the first six."""
    folder = tmp_path_factory.mktemp("place")
    for product, texture in (("bottle", "bottle"), ("cap", "board")):
        for number in range(GOOD):
            good = drawn.picture(texture, number)[0]
            drawn.save(good, folder / f"good/{product}/{number}.png")
        for number in range(2):
            bad = drawn.picture(texture, 50 + number, defect=True)[0]
            drawn.save(bad, folder / f"new/{product}/{number}.png")
        drawn.save(drawn.picture(texture, 60)[0], folder / f"new/{product}/good.png")
        fit = [folder / f"good/{product}/{number}.png" for number in range(6)]
        defects = folder / f"new/{product}/0.png"
        made = adpt.Inspector.fit(
            fit, **OPTIONS, **({"defects": defects} if product == "cap" else {})
        )
        made.save(folder / f"models/{product}.adpt.safetensors")
    return folder


def run(*words: str) -> int:
    """Run the entry in this process, signals and all; its exit code."""
    try:
        with quiet_logging():
            predict(composed("predict", "device=cpu", "heatmaps=none", *words))
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def refused(*words: str) -> str:
    with pytest.raises(UserError) as error:
        run_task(predict, composed("predict", "device=cpu", "output_dir=unused", *words))
    return str(error.value)


# ---- Further good images --------------------------------------------------------------------


def test_an_inspector_takes_further_images_in(place: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    model = shutil.copy(place / "models/bottle.adpt.safetensors", tmp_path)
    before = Path(model).read_bytes()
    larger = tmp_path / "larger.safetensors"
    words = [f"inspector={model}", f"output_dir={tmp_path}/out"]
    assert run(*words, f"add='{place}/good/bottle/[5-8].png'", f"save_as={larger}") == 0
    assert Path(model).read_bytes() == before
    # The sixth was fitted on.
    assert "1 images are left out: they were taken in before" in caplog.text
    assert "3 further good images, 9 in all. The threshold is " in caplog.text
    assert "3 further" in (tmp_path / "out/good.html").read_text(encoding="utf-8")

    whole = adpt.Inspector.fit(place / "good/bottle", **OPTIONS)
    grown = adpt.Inspector.load(larger, "cpu")
    assert grown.settings.images == GOOD
    for one, other in zip(
        grown.predict_many(place / "new/bottle"), whole.predict_many(place / "new/bottle"),
        strict=True,
    ):  # fmt: skip
        assert one.score == pytest.approx(other.score, rel=1e-5)
    further, earlier = grown.grounds.good[6:], grown.grounds.good[:6]
    assert further == pytest.approx(whole.grounds.good[6:], rel=1e-5)
    assert earlier == pytest.approx(whole.grounds.good[:6], rel=0.3)
    assert grown.threshold == grown.grounds.threshold().value
    assert grown.threshold == pytest.approx(whole.threshold, rel=0.3)

    assert run(f"inspector={larger}", f"add={place}/good/bottle", f"output_dir={tmp_path}/out") == 1
    # In place of its own file.
    assert run(*words, f"add='{place}/good/bottle/[6-8].png'") == 0
    assert adpt.Inspector.load(model, "cpu").threshold == grown.threshold


@pytest.mark.parametrize("method", ["patchcore", "feature_norm"])
def test_other_methods_take_images_in_too(method: str, place: Path) -> None:
    good = sorted((place / "good/bottle").iterdir())
    options = OPTIONS | {"method": method}
    grown = adpt.Inspector.fit(good[:6], **options).with_images(good[6:])
    whole = adpt.Inspector.fit(good, **options)
    assert grown.threshold == pytest.approx(whole.threshold, rel=0.3)
    image = place / "new/bottle/0.png"
    assert grown.predict(image).score == pytest.approx(whole.predict(image).score, rel=0.3)


@pytest.mark.parametrize(
    ("method", "options"),
    [("patchcore", {"coreset_ratio": 1.0}), ("padim", {}), ("feature_norm", {})],
)
def test_copies_of_what_was_taken_in_are_left_out(
    method: str, options: dict[str, float], place: Path, tmp_path: Path, caplog
) -> None:
    good = sorted((place / "good/bottle").iterdir())
    fitted = adpt.Inspector.fit(good[:6], **OPTIONS | {"method": method, "method_options": options})
    copies = [tmp_path / f"{path.stem}.bmp" for path in good[:6]]
    for path, copy in zip(good, copies, strict=False):
        with Image.open(path) as picture:
            picture.save(copy)
    with pytest.raises(UserError, match="all of these images were taken in before"):
        fitted.with_images(copies)
    grown, without = fitted.with_images([*copies, *good[6:]]), fitted.with_images(good[6:])
    assert "6 images are left out" in caplog.text
    assert grown.grounds == without.grounds


def test_images_that_were_anomalous_are_named_when_they_are_taken_in(place: Path) -> None:
    fitted = adpt.Inspector.load(place / "models/bottle.adpt.safetensors", "cpu")
    bad, good = place / "new/bottle/0.png", place / "good/bottle/7.png"
    assert fitted.predict(bad).anomalous
    (told, *_, named) = fitted.with_images([bad, good]).good_images.remarks
    assert "The highest score of a good image is that of" in told
    assert re.match(
        r"1 of the further images were anomalous before: \S+/new/bottle/0.png \(", named
    )
    within = fitted.with_threshold(1e9).with_images([bad]).good_images.remarks
    assert not any("anomalous before" in remark for remark in within)


def test_the_threshold_follows_the_rule_of_the_fit(place: Path) -> None:
    fitted = adpt.Inspector.load(place / "models/cap.adpt.safetensors", "cpu")
    further = [place / f"good/cap/{number}.png" for number in (6, 7, 8)]
    grown = fitted.with_images(further)
    assert grown.threshold_origin.startswith("largest F1 score")
    assert len(grown.grounds.defects) == 1
    assert fitted.with_threshold(3.5).with_images(further).threshold == 3.5
    # What it was made of stays as it was.
    assert fitted.settings.images == 6
    assert len(fitted.grounds.good) == 6


def test_an_inspector_of_before_is_to_be_fitted_again(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with safe_open(place / "models/cap.adpt.safetensors", framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    content = json.loads(header["content"])
    del content["grounds"]
    save_file(tensors, path, header | {"content": json.dumps(content)})
    assert "saved before" in refused(f"inspector={path}", f"add={place}/good/cap")
    assert run(f"inspector={path}", f"images={place}/new/cap", f"output_dir={tmp_path}/out") == 2
    assert "known-0" not in (tmp_path / "out/index.html").read_text(encoding="utf-8")


# ---- Several products -----------------------------------------------------------------------


def test_folders_choose_among_several_inspectors(place: Path, tmp_path: Path, caplog) -> None:
    words = [f"inspector={place}/models", f"images={place}/new", f"output_dir={tmp_path}"]
    assert run(*words) == 2
    table = rows(tmp_path / "scores.csv")
    assert [(row["product"], Path(row["path"]).parent.name) for row in table] == [
        (product, product) for product in ("bottle", "cap") for _ in range(3)
    ]
    of = {
        name: adpt.Inspector.load(place / f"models/{name}.adpt.safetensors", "cpu")
        for name in ("bottle", "cap")
    }
    for row in table:
        one = of[row["product"]]
        assert float(row["score"]) == pytest.approx(one.predict(row["path"]).score, rel=1e-5)
        assert float(row["threshold"]) == one.threshold
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == ["bottle", "cap"]
    assert page.count('type="range"') == 2
    assert "missed of 1 known defects" in page
    # One for all.
    assert run(*words, "product=cap") == 2
    assert {row["product"] for row in rows(tmp_path / "scores.csv")} == {"cap"}


def test_what_several_inspectors_cannot_do_is_refused(place: Path, tmp_path: Path) -> None:
    models = f"inspector={place}/models"
    assert "product=<name>" in refused(models, "add=x")
    assert "product=<name>" in refused(models, "images=x", "threshold=3")
    assert "has no inspector of it" in refused(models, f"images={place}/new", "product=lid")
    one = f"inspector={place}/models/cap.adpt.safetensors"
    assert "folder of inspectors" in refused(one, f"images={place}/new", "product=cap")
    shutil.copytree(place / "new/cap", tmp_path / "mixed")
    assert "cannot be told" in refused(models, f"images={tmp_path}/mixed")


# ---- A watched folder -----------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_watched_folder_is_answered_until_it_is_stopped(
    signum, code, place: Path, tmp_path: Path, capsys
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "cap").mkdir(parents=True)
    shutil.copy(place / "new/cap/1.png", folder / "cap/old.png")

    def answered(count: int) -> bool:
        path = out / "scores.partial.jsonl"
        return path.exists() and len(path.read_text().splitlines()) >= count

    def camera() -> None:
        deadline = time.monotonic() + 60
        while not answered(0):
            time.sleep(0.05)
        for count, name in enumerate(("0.png", "good.png"), start=1):
            (folder / "cap" / name).write_bytes((place / "new/cap" / name).read_bytes())
            while not answered(count) and time.monotonic() < deadline:
                time.sleep(0.05)
        # Of no product.
        shutil.copy(place / "new/cap/0.png", folder / "x.png")
        while not answered(3) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signum)

    worker = threading.Thread(target=camera)
    worker.start()
    words = [f"inspector={place}/models", f"watch={folder}", "settle=0.1", f"output_dir={out}"]
    assert run(*words) == code
    worker.join()
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines
    assert [Path(line["path"]).name for line in lines] == ["0.png", "good.png", "x.png"]
    one = adpt.Inspector.load(place / "models/cap.adpt.safetensors", "cpu")
    assert lines[0]["score"] == one.predict(place / "new/cap/0.png").score
    assert [line["anomalous"] for line in lines] == [True, False, None]
    assert "none of its folders is called by a product" in lines[2]["error"]
    assert len(rows(out / "scores.csv")) == 3
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "interrupted" not in page
    assert "Of no product" in page


def test_what_cannot_be_watched_is_refused(place: Path, tmp_path: Path) -> None:
    one = f"inspector={place}/models/cap.adpt.safetensors"
    assert "there is no such folder" in refused(one, f"watch={tmp_path}/none")
    assert "give one of them" in refused(one, f"watch={place}/new", f"images={place}/new")


# ---- Drift ----------------------------------------------------------------------------------


def test_drift_stands_in_the_table_and_at_the_end(place: Path, tmp_path: Path, caplog) -> None:
    for number in range(8):
        shutil.copy(place / "new/cap/0.png", tmp_path / f"{number}.png")
    model = f"inspector={place}/models/cap.adpt.safetensors"
    words = [model, f"images={tmp_path}", "threshold=1e9", f"output_dir={tmp_path}/out"]
    assert run(*words, "drift.window=6") == 0
    drift = [row["drift"] for row in rows(tmp_path / "out/scores.csv")]
    assert drift[:5] == [""] * 5
    assert all(float(value) > 3 for value in drift[5:])
    assert "Scores of good images have moved, at image 6" in caplog.text
    caplog.clear()
    assert run(*words, "drift.window=6", "drift.above=1e6") == 0
    assert "have moved" not in caplog.text
