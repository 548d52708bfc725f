"""Scripts of experiments can be imported, and do their work only where they are started."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import warm

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
SCRIPTS = sorted(FOLDER.rglob("*.py"))
EXPERIMENTS = sorted({script.relative_to(FOLDER).parts[0] for script in SCRIPTS})
EXTRAS = {"anomalib": "anomalib", "onnx": "onnxruntime"}

# Work that begins would read the command line, or the folder that it names.
IMPORT = """
import runpy, sys
from pathlib import Path
folder, *scripts = sys.argv[1:]
for script in scripts:
    sys.path[0] = folder
    sys.argv = [script, "--nothing"]
    runpy.run_path(script, run_name="imported")
"""


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_script_is_imported_without_working(name: str, tmp_path: Path) -> None:
    extra = EXTRAS.get(name)
    if extra and find_spec(extra) is None:
        pytest.skip(f"{extra} is not installed: pip install 'adpt[{name}]'")
    scripts = [str(s) for s in SCRIPTS if s.relative_to(FOLDER).parts[0] == name]
    words = [sys.executable, "-c", IMPORT, FOLDER / name, *scripts]
    done = warm.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
