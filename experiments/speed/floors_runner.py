"""`adpt.evaluate`, and the operations that it cannot do without, for parts/floors.py: a JSON job.

The job is {"do": "evaluate" | "floors", "options": of the command}. Prints JSON: CPU seconds and
seconds of the clock, by what was done.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

IMPORTED = (
    "adpt.backbones", "adpt.data.texture_defects", "adpt.evaluation.panels",
    "adpt.evaluation.evaluation", "adpt.methods.training", "adpt.page", "adpt.results",
    "adpt.tracking", "adpt.weights", "matplotlib.figure",
)  # fmt: skip
Spent = dict[str, list[float]]


def main() -> None:
    """Do the job; what is imported does not count on either side."""
    from hydra import compose, initialize_config_dir

    from adpt.evaluate import evaluate
    from adpt.running.paths import conf_dir

    for module in IMPORTED:
        import_module(module)

    job = json.loads(sys.argv[1])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("evaluate", job["options"])
    spent: Spent = {}
    if job["do"] == "floors":
        floors(config, spent)
    else:
        with counted(spent, "evaluate"):
            evaluate(config)
    print()
    print(json.dumps(spent))


def floors(config: Any, spent: Spent) -> None:
    """Decode and encode each image once; fit and score each method on features at hand."""
    import torch
    from hydra.utils import instantiate

    from adpt.data.images import read_image
    from adpt.evaluation import extract
    from adpt.evaluation.run import score
    from adpt.evaluation.specs import method_specs
    from adpt.metrics import anomaly_metrics

    cpu = torch.device("cpu")
    with counted(spent, "backbone built"):
        backbone = instantiate(config.backbone)
    data = instantiate(config.data)
    data.setup("test")
    for name in data.classes:
        parts = {part: data.select(part, class_name=name) for part in ("train", "test")}
        for samples in parts.values():
            with counted(spent, "decoding"):
                images = [data.geometry.image(read_image(sample.image, name)) for sample in samples]
            with counted(spent, "backbone"), torch.no_grad():
                for batch in torch.stack(images).split(data.batch_size):
                    backbone(batch)
        train, test = (extract(backbone, data, samples, device=cpu) for samples in parts.values())
        for method, spec in method_specs(config.method).items():
            fitted = spec.make["own"]()
            with counted(spent, method):
                fit(fitted, train, parts["train"], backbone, data, config)
                scores = score(fitted, test, data.batch_size, cpu)
            with counted(spent, "metrics"):
                anomaly_metrics(scores.maps, test.masks)


def fit(method: Any, train: Any, samples: Any, backbone: Any, data: Any, config: Any) -> None:
    """Fit on features in memory; drawn defects are among what a method needs."""
    import torch
    from hydra.utils import instantiate

    from adpt.evaluation.defect_pool import DefectPool
    from adpt.methods.trained import TrainedMethod

    cpu = torch.device("cpu")
    if not isinstance(method, TrainedMethod):
        method.fit(train.batches(data.batch_size, cpu))
        return
    defects = None
    if method.uses_defects:
        defects = DefectPool(
            samples,
            data.geometry,
            backbone,
            instantiate(config.defects.draw, geometry=data.geometry),
            batch_size=data.batch_size,
            device=cpu,
            refresh=config.defects.refresh,
        )
    method.train_on(train.source, cpu, defects=defects)


@contextmanager
def counted(spent: Spent, name: str) -> Iterator[None]:
    """Add what is done within to `spent`."""
    clocks: tuple[Callable[[], float], ...] = (time.process_time, time.perf_counter)
    start = [clock() for clock in clocks]
    yield
    before = spent.get(name, [0.0, 0.0])
    spent[name] = [b + clock() - s for b, clock, s in zip(before, clocks, start, strict=True)]


if __name__ == "__main__":
    main()
