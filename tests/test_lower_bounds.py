"""The lower bounds that pyproject.toml states are such that adpt works with."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import drawn

ROOT = Path(__file__).parents[1]
TESTS = ("backbones/test_presets.py", "backbones/test_precision.py", "methods/test_padim.py",
         "methods/test_nearest_patches.py", "test_projector.py")  # fmt: skip


def lower_bounds() -> list[str]:
    """Each dependency at the lowest version that it is asked for with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.match(r"([\w.-]+)[>=]=([\w.]+)", one) for one in project["dependencies"]]
    assert all(found), "every dependency states a lower bound first"
    return [f"{one[1]}=={one[2]}" for one in found if one]


def run(*command: str | Path, cwd: Path) -> str:
    hidden = ("PYTHON", "ADPT_", "HYDRA_", "OMEGACONF_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_it_works_at_the_lower_bounds(tmp_path: Path) -> None:
    """Downloads some gigabytes where pip's index has PyTorch with CUDA alone."""
    place = tmp_path / "environment"
    run(sys.executable, "-m", "venv", place, cwd=tmp_path)
    python = place / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", *lower_bounds(), "pytest", cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", ROOT, cwd=tmp_path)
    photos = drawn.draw_mvtec(tmp_path / "photos") / "bottle"
    options = [f"images={photos / 'test'}", "output_dir=answers", "device=cpu"]
    fit = [f"fit={photos / 'train' / 'good'}", "inspector=one.adpt.safetensors"]
    # 2 says that something is anomalous.
    command = [python, "-m", "adpt.predict", *fit, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 2), done.stderr
    assert (tmp_path / "answers" / "scores.csv").is_file()
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=ROOT)
