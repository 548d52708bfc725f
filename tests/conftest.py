"""Fixtures that draw a tiny data set in each published layout."""

import atexit
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import drawn
import parsed
import warm

parsed.remember()
gc.disable()  # While modules are imported, nothing is garbage.
atexit.register(gc.unfreeze)


def pytest_configure(config: pytest.Config) -> None:
    """Workers share one server of forks."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        warm.listen()


def pytest_collection_finish() -> None:
    """What was imported stays: no collection looks through it again, and there are fewer."""
    if "small" in sys.modules:
        sys.modules["small"].read_once()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are cached in the test's own folder, in other processes too."""
    monkeypatch.setenv("ADPT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def no_module_of_a_former_test() -> Iterator[None]:
    """A module `mine` that a test writes is not taken for the next test's."""
    yield
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product bottle in MVTec AD's layout, for a module's tests to read."""
    return drawn.draw_mvtec(tmp_path_factory.mktemp("photos")) / "bottle"


@pytest.fixture
def mvtec_root(tmp_path: Path) -> Path:
    """MVTec AD with bottle and cable: 6 training, 3 good and 3 defective images each."""
    return drawn.draw_mvtec(tmp_path / "mvtec", ("bottle", "cable"))


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """Own products `key` and `bottle`, in MVTec AD's layout."""
    return drawn.draw_folder(tmp_path / "own", ("bottle", "key"))


@pytest.fixture
def visa_root(tmp_path: Path) -> Path:
    """VisA with candle and pcb1."""
    return drawn.draw_visa(tmp_path / "visa", ("candle", "pcb1"))


@pytest.fixture
def btad_root(tmp_path: Path) -> Path:
    """BTAD, all three classes."""
    return drawn.draw_btad(tmp_path / "btad")


@pytest.fixture
def mvtec3d_root(tmp_path: Path) -> Path:
    """MVTec 3D-AD with bagel."""
    return drawn.draw_mvtec3d(tmp_path / "mvtec3d")


@pytest.fixture
def mpdd_root(tmp_path: Path) -> Path:
    """MPDD with connector."""
    return drawn.draw_mpdd(tmp_path / "mpdd")


@pytest.fixture
def mvtec_ad2_root(tmp_path: Path) -> Path:
    """MVTec AD 2 with can and vial."""
    return drawn.draw_mvtec_ad2(tmp_path / "mvtec_ad2", ("can", "vial"))


@pytest.fixture
def mvtec_loco_root(tmp_path: Path) -> Path:
    """MVTec LOCO with pushpins and screw_bag."""
    return drawn.draw_mvtec_loco(tmp_path / "mvtec_loco", ("pushpins", "screw_bag"))


@pytest.fixture
def kolektorsdd2_root(tmp_path: Path) -> Path:
    """KolektorSDD2."""
    return drawn.draw_kolektorsdd2(tmp_path / "kolektorsdd2")


@pytest.fixture
def dagm_root(tmp_path: Path) -> Path:
    """DAGM with Class1 and Class10."""
    return drawn.draw_dagm(tmp_path / "dagm")


@pytest.fixture
def realiad_root(tmp_path: Path) -> Path:
    """Real-IAD with audiojack and zipper: 3 normal and 3 defective products, 5 views each."""
    return drawn.draw_realiad(tmp_path / "realiad", ("audiojack", "zipper"))
