"""The command: what it prints, writes and exits with."""

import importlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from adpt.data import Folder
from adpt.data.examination import Examination, examine
from adpt.doctor import doctor
from adpt.errors import UserError
from faults import cut
from runs import command, composed, run_task


def config(root: Path, *more: str):
    return composed("doctor", "data=folder", f"data.root={root}", "workers=2", *more)


def test_the_command_lists_faults_writes_json_and_exits_with_one(
    folder_root: Path, tmp_path: Path
) -> None:
    cut(folder_root / "key/train/good/001.png")
    (folder_root / "key/test/de[n]t").mkdir()
    before = sorted(tmp_path.iterdir())
    done = command(
        "doctor", "data=folder", f"data.root={folder_root}", "json=found.json", cwd=tmp_path
    )
    assert done.returncode == 1
    assert f"{folder_root}/key/train/good/001.png ends too early" in done.stdout
    assert f"{folder_root}/key/test/de[n]t holds no image" in done.stdout
    assert "Faults: 2, in 24 images and 6 masks (classes: 2)." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "found.json"])
    content = json.loads((tmp_path / "found.json").read_text())
    assert (content["set"], content["root"], content["sound"]) == (
        "folder", str(folder_root), False
    )  # fmt: skip
    assert (content["classes"], content["images"], content["masks"]) == (2, 24, 6)
    assert [(f["kind"], f["path"], f["class"], f["fault"]) for f in content["findings"]] == [
        ("folder without images", f"{folder_root}/key/test/de[n]t", "key", True),
        ("truncated", f"{folder_root}/key/train/good/001.png", "key", True),
    ]
    assert content["summary"] == [
        {"kind": "folder without images", "class": "key", "fault": True, "count": 1},
        {"kind": "truncated", "class": "key", "fault": True, "count": 1},
    ]


def test_a_folder_that_is_not_there_is_told_and_no_bar_is_shown(tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        run_task(doctor, config(tmp_path / "nowhere"))
    assert capsys.readouterr().out == ""


def test_a_sound_set_ends_with_one_clear_line(folder_root: Path, tmp_path: Path, capsys) -> None:
    run_task(doctor, config(folder_root, f"json={tmp_path}/found.json"))
    said = capsys.readouterr().out.splitlines()
    assert "The set is sound: no fault in 24 images and 6 masks (classes: 2)." in said
    assert json.loads((tmp_path / "found.json").read_text())["sound"] is True


def test_remarks_alone_are_no_failure_and_the_first_are_shown(folder_root: Path, capsys) -> None:
    folder = folder_root / "key/train/good"
    for number in range(10, 18):
        shutil.copy(folder / "000.png", folder / f"{number:03d}.png")
    run_task(doctor, config(folder_root))
    said = capsys.readouterr().out
    assert "remark: same picture twice (8)" in said
    assert "014.png shows the same" in said
    assert "015.png shows the same" not in said
    assert "and 3 more" in said


def test_a_name_that_is_no_utf8_is_told(folder_root: Path, tmp_path: Path, capsys) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (folder_root / "key/train/good" / name).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(SystemExit):
        run_task(doctor, config(folder_root, f"json={tmp_path}/found.json"))
    assert "caf\\udce9.png holds no byte" in capsys.readouterr().out
    content = json.loads((tmp_path / "found.json").read_text())
    assert Path(content["findings"][0]["path"]).name == "caf\\udce9.png"


def test_an_interrupt_ends_with_one_line(folder_root: Path, tmp_path: Path, monkeypatch, capsys):
    module = importlib.import_module("adpt.data.examination.examine")
    read = module.examine_sample

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return read(*arguments)

    monkeypatch.setattr(module, "examine_sample", interrupted)
    with pytest.raises(SystemExit) as ended:
        run_task(doctor, config(folder_root, f"json={tmp_path}/found.json"))
    assert ended.value.code == 130
    assert "adpt: Interrupted" in capsys.readouterr().err
    assert not (tmp_path / "found.json").exists()


@pytest.mark.parametrize("wrong", ["workers=0", "max_megapixels=0"])
def test_an_option_that_makes_no_sense(wrong: str, folder_root: Path) -> None:
    with pytest.raises(UserError, match=wrong):
        run_task(doctor, config(folder_root, wrong))


def test_progress_ends_at_the_number_of_images(folder_root: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    examined: Examination = examine(
        Folder(folder_root), workers=3, progress=lambda *step: steps.append(step)
    )
    assert steps[-1] == ("reading", examined.images, examined.images)
    assert [done for what, done, _ in steps if what == "reading"] == list(range(1, 25))
