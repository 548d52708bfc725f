"""Published numbers stand beside ours only where set, backbone, method and protocol agree."""

from pathlib import Path
from typing import Any

import pytest

from adpt.errors import UserError
from adpt.results import Record, summarise
from adpt.results.reported import Reported, read_reported, reported_table
from recorded import a_record

PAIR = {"image_auroc": 0.95, "pixel_aupro_paper": 0.88}
PUBLISHED = {"as_published": True}
PLAIN: dict[str, Any] = {
    "backbone": "imagebind",
    "protocol": "paper",
    "setting": PUBLISHED,
    "metrics": PAIR,
}


def visa(classes: int = 12, **changes: Any) -> list[Record]:
    return [
        a_record(features, class_name=f"c{i:02}", **{**PLAIN, **changes})
        for i in range(classes)
        for features in ("own", "pretrained")
    ]


FILE = Path(__file__).parents[2] / "experiments" / "main_table" / "reported.yaml"


@pytest.fixture(scope="module")
def reported() -> Reported:
    return read_reported(FILE)


def test_published_numbers_stand_beside_the_same_experiment(reported: Reported) -> None:
    table = reported_table(summarise(visa()), reported)
    assert table is not None
    (block,) = table.blocks
    assert block.name == "visa · imagebind · padim"
    assert [
        (line.name, *(" / ".join(figure.text for figure in cell) for cell in line.cells))
        for line in block.lines
    ] == [
        ("ours", "95.0 / 88.0", "95.0 / 88.0", "0.0 / 0.0"),
        ("published, Table 2", "92.6 / 86.3", "95.4 / 88.7", "+2.8 / +2.4"),
        ("ours − published", "+2.4 / +1.7", "−0.4 / −0.7", "–"),
        ("published, no residual", "–", "93.5 / 86.1", "–"),
        ("published, angle loss only", "–", "93.9 / 85.2", "–"),
        ("published, norm loss only", "–", "93.7 / 85.3", "–"),
    ]
    assert "AUPRO (paper's variant)" in table.caption
    assert "to be checked against the paper" in table.notes[0]


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "clean"},
        {"backbone": "clip_l"},
        {"dataset": "mvtec"},
        {"method": "cflow"},
        {"setting": {}},
        {"setting": {"resize": 224}},
        {"setting": PUBLISHED | {"train_fraction": 0.1}},
        {"setting": PUBLISHED | {"few_shot": True}},
        {"setting": {"aligned": 10}},
        {"options": {"regularisation": 0.1}},
        {"classes": 11},
    ],
)
def test_published_numbers_are_left_out_where_anything_differs(
    change: dict[str, Any], reported: Reported
) -> None:
    assert reported_table(summarise(visa(**change)), reported) is None


def test_other_numbers_of_references_are_left_out(reported: Reported) -> None:
    records = visa()[::2] + [
        a_record("pretrained", class_name=f"c{i:02}", **PLAIN | {"shots": 4}) for i in range(12)
    ]
    assert reported_table(summarise(records), reported) is None


def test_a_mean_over_fewer_classes_is_left_out(reported: Reported) -> None:
    assert reported_table(summarise(visa()[:-1]), reported) is None


def test_exact_aupro_does_not_stand_beside_the_published_one(reported: Reported) -> None:
    table = reported_table(
        summarise(visa(metrics={"image_auroc": 0.95, "pixel_aupro": 0.88})), reported
    )
    assert table is not None
    ours = [" / ".join(figure.text for figure in cell) for cell in table.blocks[0].lines[0].cells]
    assert ours == ["95.0 / –", "95.0 / –", "0.0 / –"]


def test_ablation_stands_below_and_gains_alone_have_no_features(reported: Reported) -> None:
    table = reported_table(summarise(visa(method="patchcore")), reported)
    assert table is not None
    lines = {line.name: line.cells for line in table.blocks[0].lines}
    assert [figure.text for figure in lines["published, norm loss only"][1]] == ["90.9", "84.5"]
    records = visa(15, dataset="mvtec", backbone="dinov2_b", method="patchcore")
    table = reported_table(summarise(records), reported)
    assert table is not None
    own, pretrained, gained = table.blocks[0].lines[1].cells
    assert [own[0].text, pretrained[0].text] == ["–", "–"]
    assert [figure.text for figure in gained] == ["+3.5", "+4.7"]


def test_each_experiment_is_reported_once(reported: Reported) -> None:
    keys = [(one.dataset, one.backbone, one.method) for one in reported.results]
    assert len(set(keys)) == len(keys) == 8
    (summary,) = summarise(visa())
    assert reported.of(summary) is reported.results[0]


def test_without_a_file_nothing_stands_beside_ours() -> None:
    assert reported_table(summarise(visa()), None) is None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("gain: [3.5, 4.7]", "gain: [3.5]", "not as many figures as metrics"),
        ("gain: [3.5, 4.7]", "gain: [3.5, high]", "high"),
        ("gain: [3.5, 4.7]", "gains: [3.5, 4.7]", "gains"),
        ("shots: 8", "shots: few", "shots"),
        ("shots: 8\n", "", "shots"),
        ("metrics: [image_auroc", "metrics: [image_acc", "image_acc"),
        ("results:", "results: [", "reported"),
    ],
)
def test_a_file_of_another_make_is_refused_by_name(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "reported.yaml"
    path.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_reported(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml"):
        read_reported(tmp_path / "none.yaml")
