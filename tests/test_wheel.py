"""The wheel holds what it should and works in an environment without the checkout."""

import email
import os
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    # Variables of the calling shell must not lead back to the checkout or colour the output.
    hidden = ("PYTHON", "ADPT_", "HYDRA_", "OMEGACONF_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: set[str]) -> Message:
    (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(zipfile.ZipFile(wheel).read(path))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, which borrows the dependencies alone from this one."""
    place = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python3*/site-packages")
    # A .pth file adds folders without reading their own .pth files: an editable adpt stays out.
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=place)
    return place


def test_wheel_holds_the_package_its_configuration_and_its_licence(names: set[str]) -> None:
    modules = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src/adpt").rglob("*.py")}
    templates = ROOT / "src/adpt/page/templates"
    modules |= {p.relative_to(ROOT / "src").as_posix() for p in templates.iterdir()}
    config = {f"adpt/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert modules | config | {"adpt/py.typed"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_wheel_holds_nothing_but_the_package(names: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in names} == {"adpt"}
    inside = {part for name in names for part in Path(name).parts}
    assert not inside & {"tests", "experiments", "__pycache__"}


def test_metadata_names_the_extras_and_no_address(metadata: Message) -> None:
    assert {"dev", "slurm"} <= set(metadata.get_all("Provides-Extra", []))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert not [line for line in metadata.get_all("Requires-Dist", []) if "://" in line]


def test_environment_imports_the_wheel_and_not_the_checkout(environment: Path) -> None:
    code = "from adpt.running import paths; print(paths.__file__); print(paths.conf_dir())"
    module, conf = run(environment / "bin/python", "-c", code, cwd=environment).splitlines()
    assert Path(module).is_relative_to(environment)
    assert Path(conf) == Path(module).parents[1] / "conf"


@pytest.mark.parametrize("entry", [["bin/python", "-m", "adpt.train"], ["bin/adpt-train"]])
def test_training_entry_prints_the_composed_config(environment: Path, entry: list[str]) -> None:
    arguments = [*entry[1:], "+experiment=clip_l", "--cfg", "job"]
    config = OmegaConf.create(run(environment / entry[0], *arguments, cwd=environment))
    assert config.backbone.name == "clip_l"
    assert config.backbone._target_ == "adpt.backbones.build_backbone"
    assert {"data", "model", "trainer"} <= set(config)
