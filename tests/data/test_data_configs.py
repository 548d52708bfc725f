"""Every file of conf/data composes, and becomes the data module it names."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from adpt.data import AnomalyDataModule, Mixed
from adpt.errors import DataError

CONF = Path(__file__).resolve().parents[2] / "conf"
SETS = sorted(file.stem for file in (CONF / "data").glob("*.yaml") if file.stem != "base")


def build(*overrides: str) -> AnomalyDataModule:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=["+seed=3", "+data_dir=/sets", *overrides])
    return instantiate(config.data)


@pytest.mark.parametrize("name", [name for name in SETS if name != "mixed"])
def test_each_file_becomes_its_data_module(name: str) -> None:
    data = build(f"+data={name}", "data.image_size=[64,96]", "data.batch_size=8")
    assert isinstance(data, AnomalyDataModule)
    assert data.set_name == name
    assert data.geometry.image_size == (64, 96)
    assert (data.seed, data.batch_size) == (3, 8)
    assert data.pretrain_splits == ("train", "test")
    assert str(data.root).startswith("/sets")


def test_all_sets_of_the_issue_are_there() -> None:
    assert {"realiad", "mvtec", "visa", "btad", "mvtec3d", "mpdd", "folder", "mixed"} <= set(SETS)


def test_mixed_takes_its_sets_from_the_config_group() -> None:
    data = build(
        "+data=mixed",
        "+data@data.sets.visa=visa",
        "+data@data.sets.own=folder",
        "data.sets.own.root=/parts",
        "data.sets.visa.pretrain_splits=[train]",
        "data.image_size=64",
    )
    assert isinstance(data, Mixed)
    assert data.set_name == "visa+own"
    assert data.geometry.image_size == (64, 64)
    assert str(data.sets["own"].root) == "/parts"
    assert data.sets["visa"].pretrain_splits == ("train",)


def test_mixed_without_sets_says_how_to_name_them() -> None:
    with pytest.raises(InstantiationException, match=r"\+data@data\.sets\.visa=visa") as caught:
        build("+data=mixed")
    assert isinstance(caught.value.__cause__, DataError)


def test_btad_classes_from_the_command_line(btad_root: Path) -> None:
    data = build("+data=btad", f"data.root={btad_root}", "data.classes=[01,3]")
    data.setup()
    assert data.classes == ["01", "03"]
