"""What `adpt.predict` spends its CPU time on: `python experiments/speed/stages.py <its options>`.

Prints CPU milliseconds a picture of each stage, of all threads, less the stages within it, and at
last what none of them accounts for. A picture is one that was decoded; imports do not count.
"""

import functools
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from typing import Any

STAGES = {
    "decoding": "adpt.data.images:read_image",
    "resizing": "adpt.data.transforms:Geometry.image",
    "copies for heatmaps": "adpt.inspection.inputs:make_smaller",
    "backbone": "adpt.backbones.base:Backbone.forward",
    "neighbourhoods": "adpt.methods.neighbourhood:embed_neighbourhoods",
    "search": "adpt.methods.nearest_patches:NearestPatches.find",
    "coreset": "adpt.methods.coreset:greedy_coreset",
    "PaDiM's fit": "adpt.methods.padim:PaDiM.learn",
    "PaDiM's distances": "adpt.methods.padim:PaDiM._distances",
    "left out": "adpt.inspection.fitting:Fitter.left_out",
    "score maps": "adpt.methods.maps:smooth",
    "regions": "adpt.inspection.regions:RegionRule.find",
    "map over the picture": "adpt.inspection.inspection:Inspection.map_at",
    "colouring": "adpt.page.plots:heatmap_of",
    "rest of the heatmap": "adpt.inspection.outputs:heatmap_over",
    "thumbnail": "adpt.inspection.outputs:thumbnail",
    "encoding": "PIL.Image:Image.save",
    "pages": "adpt.inspection.page:build_inspection_page",
    "backbone built": "adpt.inspection.spec:make_backbone",
    "inspector written": "adpt.inspection.model_file:write_model",
    "hashes of files": "adpt.running.whole_files:sha256",
}
spent: dict[str, float] = defaultdict(float)
calls: dict[str, int] = defaultdict(int)
_within = threading.local()


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its thread's CPU time added to a stage less that of stages within."""

    @functools.wraps(function)
    def wrapped(*given: Any, **named: Any) -> Any:
        outer = _within.__dict__.setdefault("stages", [])
        outer.append(0.0)
        start = time.thread_time()
        try:
            return function(*given, **named)
        finally:
            whole = time.thread_time() - start
            spent[name] += whole - outer.pop()
            calls[name] += 1
            if outer:
                outer[-1] += whole

    return wrapped


def watch(name: str, place: str) -> None:
    """Time a function wherever it was imported to."""
    module_name, _, path = place.partition(":")
    *owners, last = path.split(".")
    owner: Any = functools.reduce(getattr, owners, import_module(module_name))
    plain = getattr(owner, last)
    setattr(owner, last, timed(name, plain))
    for module in [one for key, one in sys.modules.items() if key.startswith("adpt.")]:
        for key, value in list(vars(module).items()):
            if value is plain:
                setattr(module, key, getattr(owner, last))


def main() -> None:
    """Run the command, and tell its stages."""
    from adpt.inspection import command
    from adpt.predict import main as predict

    for module in ("torch", "timm", "matplotlib", command.__name__, "adpt.inspection.answers"):
        import_module(module)
    for name, place in STAGES.items():
        watch(name, place)
    start = time.process_time()
    try:
        predict()
    finally:
        whole, pictures = time.process_time() - start, calls["decoding"] or 1
        for name, value in sorted(spent.items(), key=lambda item: -item[1]):
            print(f"{1000 * value / pictures:8.2f} ms  {name}, {calls[name]} times")
        print(f"{1000 * (whole - sum(spent.values())) / pictures:8.2f} ms  rest")
        print(f"{1000 * whole / pictures:8.2f} ms  of {pictures} pictures")


if __name__ == "__main__":
    main()
