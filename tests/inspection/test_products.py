"""Inspectors of several products: which one is an image's."""

from pathlib import Path
from typing import Any

import pytest

from adpt.errors import DataError, UserError
from adpt.inspection.products import Products, file_of, inspector_files


def products(*names: str) -> Products:
    loaded: Any = lambda name: f"inspector of {name}"  # noqa: E731
    return Products(names, loaded)


def test_a_folder_of_an_image_chooses() -> None:
    found = products("bottle", "cap")
    images = [Path("photos/cap/b.png"), Path("photos/bottle/monday/a.png"), Path("x/cap/a.png")]
    assert found.grouped(images) == {"cap": [images[0], images[2]], "bottle": [images[1]]}
    assert found.inspectors == {}
    assert found.inspector("cap") == "inspector of cap"
    found.load_all()
    assert set(found.inspectors) == {"bottle", "cap"}


def test_the_only_one_is_everybodys() -> None:
    one: Any = "an inspector"
    assert Products.of_one(one).product_of("anywhere.png") == ""
    assert Products.of_one(one, "cap").grouped([Path("bottle/a.png")]) == {
        "cap": [Path("bottle/a.png")]
    }


def test_only_folders_name_a_product_those_above_too(tmp_path: Path, monkeypatch) -> None:
    assert products("bottle", "cap").product_of("cap/bottle") == "cap"
    with pytest.raises(DataError, match=r"none of its folders"):
        products("cap").product_of("elsewhere/a.png")
    (tmp_path / "cap").mkdir()
    monkeypatch.chdir(tmp_path / "cap")
    assert products("bottle", "cap").product_of("a.png") == "cap"


def test_images_of_no_product_or_of_two_are_named() -> None:
    found = products("bottle", "cap")
    with pytest.raises(DataError) as refused:
        found.grouped([Path(f"new/{n}.png") for n in range(4)] + [Path("cap/bottle/x.png")])
    said = str(refused.value)
    assert "new/0.png: none of its folders is called by a product (bottle, cap)" in said
    assert "and 2 more" in said
    with pytest.raises(DataError, match="two products, bottle and cap: say which by product="):
        found.product_of("cap/bottle/x.png")


def test_files_are_called_by_their_product(tmp_path: Path) -> None:
    for name in ("cap.adpt.safetensors", "Flasche 0,5.adpt.safetensors", "cap.onnx", ".x.part",
                 ".cap.adpt.safetensors"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "no.adpt.safetensors").mkdir()
    assert set(inspector_files(tmp_path)) == {"cap", "Flasche 0,5"}
    assert file_of(tmp_path, "cap").name == "cap.adpt.safetensors"
    with pytest.raises(UserError, match=r"product=lid: .* has no inspector of it; it has Flasche"):
        file_of(tmp_path, "lid")
    with pytest.raises(UserError, match="there is no inspector in that folder"):
        inspector_files(tmp_path / "no.adpt.safetensors")
    for name in ("\u00d6l.adpt.safetensors", "O\u0308l.adpt.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="are called alike"):
        inspector_files(tmp_path)
