"""Published numbers stand beside ours only where set, backbone, method and protocol agree."""

from typing import Any

import pytest

from adpt.results import Record, summarise
from adpt.results.published import PUBLISHED, published_for, published_table
from recorded import a_record

PAIR = {"image_auroc": 0.95, "pixel_aupro_paper": 0.88}
PLAIN: dict[str, Any] = {"backbone": "imagebind", "protocol": "paper", "metrics": PAIR}


def visa(classes: int = 12, **changes: Any) -> list[Record]:
    return [
        a_record(features, class_name=f"c{i:02}", **{**PLAIN, **changes})
        for i in range(classes)
        for features in ("own", "pretrained")
    ]


def test_published_numbers_stand_beside_the_same_experiment() -> None:
    table = published_table(summarise(visa()))
    assert table is not None
    (block,) = table.blocks
    assert block.name == "visa · imagebind · padim"
    assert [
        (line.name, *(" / ".join(figure.text for figure in cell) for cell in line.cells))
        for line in block.lines
    ] == [
        ("ours", "95.0 / 88.0", "95.0 / 88.0", "0.0 / 0.0"),
        ("published", "92.6 / 86.3", "95.4 / 88.7", "+2.8 / +2.4"),
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
        {"setting": {"train_fraction": 0.1}},
        {"setting": {"few_shot": True}},
        {"setting": {"aligned": 10}},
        {"options": {"regularisation": 0.1}},
        {"classes": 11},
    ],
)
def test_published_numbers_are_left_out_where_anything_differs(change: dict[str, Any]) -> None:
    assert published_table(summarise(visa(**change))) is None


def test_other_numbers_of_references_are_left_out() -> None:
    records = visa()[::2] + [
        a_record("pretrained", class_name=f"c{i:02}", **PLAIN | {"shots": 4}) for i in range(12)
    ]
    assert published_table(summarise(records)) is None


def test_a_mean_over_fewer_classes_is_left_out() -> None:
    assert published_table(summarise(visa()[:-1])) is None


def test_exact_aupro_does_not_stand_beside_the_published_one() -> None:
    table = published_table(summarise(visa(metrics={"image_auroc": 0.95, "pixel_aupro": 0.88})))
    assert table is not None
    ours = [" / ".join(figure.text for figure in cell) for cell in table.blocks[0].lines[0].cells]
    assert ours == ["95.0 / –", "95.0 / –", "0.0 / –"]


def test_ablation_stands_below_and_gains_alone_have_no_features() -> None:
    table = published_table(summarise(visa(method="patchcore")))
    assert table is not None
    lines = {line.name: line.cells for line in table.blocks[0].lines}
    assert [figure.text for figure in lines["published, norm loss only"][1]] == ["90.9", "84.5"]
    records = visa(15, dataset="mvtec", backbone="dinov2_b", method="patchcore")
    table = published_table(summarise(records))
    assert table is not None
    own, pretrained, gained = table.blocks[0].lines[1].cells
    assert [own[0].text, pretrained[0].text] == ["–", "–"]
    assert [figure.text for figure in gained] == ["+3.5", "+4.7"]


def test_each_experiment_is_published_once() -> None:
    keys = [(one.dataset, one.backbone, one.method) for one in PUBLISHED]
    assert len(set(keys)) == len(keys)
    (summary,) = summarise(visa())
    assert published_for(summary) is PUBLISHED[0]
