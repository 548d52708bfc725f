"""The configuration is found in a checkout and in a wheel, and its absence is explained."""

from pathlib import Path

import pytest

from adpt.errors import UserError
from adpt.running import paths

ROOT = Path(__file__).parents[1]


def installed_at(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package.mkdir(parents=True)
    monkeypatch.setattr(paths, "__file__", str(package / "running" / "paths.py"))


def test_checkout_uses_conf_beside_pyproject() -> None:
    assert paths.conf_dir() == ROOT / "conf"


def test_wheel_uses_conf_inside_the_package_before_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lib" / "site-packages" / "adpt"
    installed_at(package, monkeypatch)
    (package / "conf").mkdir()
    (tmp_path / "lib" / "conf").mkdir()
    assert paths.conf_dir() == package / "conf"


def test_missing_conf_names_both_places_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "adpt"
    installed_at(package, monkeypatch)
    with pytest.raises(UserError, match="make setup") as caught:
        paths.conf_dir()
    assert str(package / "conf") in str(caught.value)
    assert str(tmp_path / "conf") in str(caught.value)


def test_indices_lie_beside_the_cached_features(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ADPT_CACHE", str(tmp_path / "features"))
    assert paths.index_dir() == tmp_path / "index"
    monkeypatch.delenv("ADPT_CACHE")
    assert paths.index_dir() == Path.home() / ".cache" / "adpt" / "index"
