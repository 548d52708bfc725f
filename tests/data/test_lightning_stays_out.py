"""Whatever reads pictures can be imported without Lightning, Hydra and the like."""

import sys

import warm

# The package itself offers the data modules, which are Lightning's.
IMPORTING = """
import importlib, sys, types
import adpt
folder = adpt.__path__[0] + "/data"
package = types.ModuleType("adpt.data")
package.__path__ = [folder]
sys.modules["adpt.data"] = package
for name in ("images", "transforms", "files", "listed", "reading", "references", "sampling"):
    importlib.import_module(f"adpt.data.{name}")
print([name for name in ("lightning", "hydra", "wandb", "matplotlib") if name in sys.modules])
"""


def test_reading_brings_no_lightning() -> None:
    done = warm.run(
        [sys.executable, "-c", IMPORTING], lean=True, check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
