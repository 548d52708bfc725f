"""What the command line names and no config has: one line, with the nearest name."""

import re
import sys
from pathlib import Path
from subprocess import run

import pytest
from hydra._internal import utils
from hydra.errors import ConfigCompositionException

from adpt.cli import composing
from adpt.cli.command_line import hydras_words
from adpt.cli.composing import composition_message, told_in_one_line
from adpt.cli.keys import nearest
from runs import composed

LISTED = r" `python -m adpt\.{} --cfg job` lists the options\."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict thresold=0.5", r"there is no option thresold; did you mean threshold\?" + LISTED),
        ("predict metod=padim", r".* did you mean method\?" + LISTED),
        ("predict method.coreset_ratioo=1", r".* did you mean method\.patchcore\.coreset_ratio\?"),
        (
            "predict method.neighbors=3",
            r"there is no option method\.neighbors; there are patchcore",
        ),
        (
            "predict data.rot=/x",
            r".* there are image_size, resize, bit_depth\." + LISTED,
        ),
        (
            "predict method.padim.epsilon=1",
            r"there is no option method\.padim; there are patchc",
        ),
        ("predict fit.x=3", r"there is no option fit\.x: fit has none below it\." + LISTED),
        ("predict zzz.b=3", r"there is no option zzz\." + LISTED),
        ("predict method.patchcore.num_start=3", r".* method\.patchcore\.num_starts\?" + LISTED),
        (
            "predict method=patchcor",
            r"method has no patchcor; did you mean patchcore\? There are all",
        ),
        ("predict method=[padim,patchcor]", r"method has no patchcor; did you mean patchcore\?"),
        ("predict method=zzz", r"method has no zzz\. There are all, "),
        ("train trainer.zzz=3", r".* One of lightning\.Trainer .* takes a \+: \+trainer\.zzz=3\."),
        (
            "train experiment=clip_l",
            r"no file of experiment is .*: \+experiment=clip_l adds",
        ),
        ("train +experiment=clp", r"experiment has no clp; did you mean clip_l\?"),
        (
            "train +experiment=ablation/margin",
            r".* has no .*; did you mean ablation/margins\?",
        ),
        ("train +experiment=zzz/nope", r"experiment has no zzz/nope\. There are aligned, "),
        ("predict method='patchcor'", r"method has no patchcor; did you mean patchcore\?"),
        ("predict method=", r"it names no file of method\. There are all, "),
        (
            "train model.optimizer={lrr:1}",
            r"there is no option model\.optimizer\.lrr; did you mean model\.optimizer\.lr\?",
        ),
        ("train hydra.run={dri:x}", r"there is no option hydra\.run\.dri; did you mean hydra\.r"),
        ("evaluate train_data=mvtc", r"data has no mvtc; did you mean mvtec\?"),
        ("doctor backbone=clip_l", r"there is no option backbone\." + LISTED),
    ],
)
def test_what_is_not_there_is_named_in_one_line(line: str, said: str) -> None:
    command, word = line.split()
    words = hydras_words([word]) if command == "evaluate" else [word]
    with pytest.raises(ConfigCompositionException) as caught:
        composed(command, *words)
    message = composition_message(caught.value, command, [word])
    assert message is not None
    assert "\n" not in message
    assert re.match(re.escape(word) + ": " + said.format(command), message), message


def test_a_choice_in_a_file_is_told_to_stand_there(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    mine = "# @package _global_\ndefaults:\n  - override /backbone: dinov2_x\n"
    (tmp_path / "experiment/mine.yaml").write_text(mine)
    words = [f"hydra.searchpath=[{tmp_path}]", "+experiment=mine"]
    with pytest.raises(ConfigCompositionException) as caught:
        composed("train", *words)
    message = composition_message(caught.value, "train", words)
    assert message is not None
    assert message.startswith("backbone=dinov2_x in the defaults of a file: backbone has no")


def test_a_part_without_options_has_none_to_list(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method/mine.yaml").write_text("_target_: adpt.methods.PatchCore\n")
    words = [f"hydra.searchpath=[{tmp_path}]", "method=mine", "method.xyz=1"]
    with pytest.raises(ConfigCompositionException) as caught:
        composed("evaluate", *words)
    message = composition_message(caught.value, "evaluate", words)
    assert message is not None
    assert "there is no option method.xyz. One of adpt.methods.PatchCore" in message


@pytest.mark.parametrize(
    "line",
    [
        "train",
        "train -m",
        "train --help",
        "evaluate",
        "predict",
        "report",
        "doctor",
        "publish",
        "serve",
    ],
)
def test_an_entry_says_it_and_nothing_else(line: str, tmp_path: Path) -> None:
    module, *sweep = line.split()
    script = (
        f"import sys; sys.argv = {[module, 'titel=1', *sweep]!r}\n"
        "import atexit; atexit.register(lambda: print('TORCH', 'torch' in sys.modules))\n"
        f"from adpt.{module} import main; main()"
    )
    done = run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith("TORCH False\n")
    assert re.fullmatch(r"\nadpt: titel=1: there is no option titel.*\n", done.stderr), done.stderr


def test_hydra_tells_itself_where_the_trace_is_asked_for(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['report', 'titel=1']\nfrom adpt.report import main; main()"
    environment = {"HYDRA_FULL_ERROR": "1", "PYTHONPATH": ":".join(sys.path)}
    done = run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True,
               env=environment)  # fmt: skip
    assert "Traceback" in done.stderr
    assert "adpt: titel" not in done.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "hydra.jbo=1",
            r"there is no option hydra\.jbo; did you mean hydra\.job\?"
            r" `python -m adpt\.train --cfg hydra` lists the options\.",
        ),
        (
            "experiment=clip",
            r"experiment has no clip; did you mean clip_l\? There are aligned, .*, tsne\."
            r" \+experiment=<one of them> adds it\.",
        ),
        (
            "experiment=['clip_l', 'zzz']",
            r"experiment has no zzz\. There are .*\. \+experiment=<one of them> adds it\.",
        ),
        (
            "experiment=['clip_l', 'tsne']",
            r"no file of experiment is chosen yet: .*tsne'\] adds one\.",
        ),
        ("+model=closed_form", "model is chosen already: model=closed_form takes its place."),
    ],
)
def test_hydras_options_and_groups_without_a_choice_are_told_apart(word: str, said: str) -> None:
    with pytest.raises(ConfigCompositionException) as caught:
        composed("train", word)
    message = composition_message(caught.value, "train", [word])
    assert re.fullmatch(f"{re.escape(word)}: {said}", str(message)), message


@pytest.mark.parametrize(
    "folder",
    [
        "hydra.searchpath=[own]",
        "++hydra.searchpath=[own]",
        "--config-dir=own",
        "--config-dir own",
        "-cd own",
        "--config-path own",
    ],
)
def test_a_group_in_a_folder_of_ones_own_is_added(folder: str) -> None:
    with pytest.raises(ConfigCompositionException) as caught:
        composed("train", "experiment=mine")
    words = [*folder.split(), "experiment=mine"]
    message = composition_message(caught.value, "train", words)
    assert (
        message
        == "experiment=mine: no file of experiment is chosen yet: +experiment=mine adds one."
    )


def test_what_else_may_be_wrong_is_left_to_hydra() -> None:
    # The second is of files, where no word is to blame.
    for said in ("of another kind", "Multiple values for data. To override a value use ..."):
        assert composition_message(ConfigCompositionException(said), "train", ["seed=1"]) is None


def test_a_message_is_printed_harmlessly_and_hydras_own_way_comes_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(composing, "composition_message", lambda *_: "a\x1b[31mb")
    before = utils.run_and_report

    def refused() -> None:
        raise ConfigCompositionException

    with pytest.raises(SystemExit) as ended, told_in_one_line("train", []):
        utils.run_and_report(refused)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "\nadpt: a\\x1b[31mb\n"
    assert utils.run_and_report is before
    with pytest.raises(SystemExit), told_in_one_line("train", []):
        raise ConfigCompositionException


def test_the_nearest_name_is_the_shortest_place_and_near_enough() -> None:
    known = [("zone", "threshold"), ("threshold",), ("all", "far", "threshold")]
    assert nearest(("thresold",), [], known) == "threshold"
    assert nearest(("data", "thresold"), ["threshold"], []) == "data.threshold"
    assert nearest(("abcd",), [], [("abxy",)]) is None
    assert nearest(("a", "thresold"), [], [("b", "threshold"), ("a", "c", "threshold")]) == (
        "b.threshold"
    )
