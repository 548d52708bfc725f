"""A job of anomalib's as one process, for parts/whole.py and scoring.py: a JSON job.

`do` is "fit" (and predict), "engine" or "torch" (predict with what was fitted), or
"cells", which predicts several folders and tells what each took. The last line printed is JSON:
paths and scores of `images`, or CPU seconds and seconds of the clock a picture. anomalib is
imported where it is needed, for the file must be importable without it.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Scored = list[tuple[str, float]]


def main() -> None:
    """Do the job that the command line gives."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    job: dict[str, Any] = json.loads(sys.argv[1])
    if job["do"] == "fit":
        answer: Any = fit(job)
    elif job["do"] == "cells":
        answer = [timed(predictor(job | cell), cell["images"]) for cell in job["cells"]]
    else:
        answer = predictor(job)(job["images"])
    print(json.dumps(answer))


def engine_of(job: dict[str, Any]) -> Any:
    """The engine, on the CPU, its files in the job's folder."""
    from anomalib.engine import Engine

    return Engine(
        accelerator="cpu",
        default_root_dir=Path(job["folder"]) / "results",
        logger=False,
        enable_progress_bar=False,
    )


def build(job: dict[str, Any]) -> Any:
    """The method on the backbone of the job, with its very weights."""
    import timm
    from anomalib.models import Padim, Patchcore
    from safetensors.torch import load_file
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    kind = {"patchcore": Patchcore, "padim": Padim}[job["method"]]
    more = (
        {"coreset_sampling_ratio": job["coreset"]}
        if kind is Patchcore
        else {"n_features": job["features"]}
    )
    size = (job["size"], job["size"])
    model = kind(
        backbone=job["backbone"],
        layers=job["layers"],
        pre_trained=False,
        pre_processor=kind.configure_pre_processor(size),
        visualizer=job["heatmaps"],
        evaluator=False,
        **more,
    )
    transform = Compose([Resize(size, antialias=True), Normalize(job["mean"], job["std"])])
    model.pre_processor.transform = transform
    model.pre_processor.export_transform = transform
    extractor = model.model.feature_extractor
    if job["arguments"]:
        # Padding as its weights were trained with, which the extractor takes no argument for.
        extractor.feature_extractor = timm.create_model(
            job["backbone"], features_only=True, out_indices=extractor.idx, **job["arguments"]
        ).eval()
    weights = load_file(job["weights"])
    network = extractor.feature_extractor
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return model


def fit(job: dict[str, Any]) -> Scored:
    """Fit, with a threshold from its default's half of the test pictures, and score `images`."""
    from anomalib.data import Folder

    model, engine = build(job), engine_of(job)
    data = Folder(
        "product",
        normal_dir=job["good"],
        normal_test_dir=job["normal_test"],
        abnormal_dir=job["abnormal"],
        train_batch_size=job["batch"],
        eval_batch_size=job["batch"],
        num_workers=0,
        seed=0,
    )
    engine.fit(model, datamodule=data)
    folder = Path(job["folder"])
    engine.trainer.save_checkpoint(folder / "model.ckpt")
    for kind in job["export"]:
        engine.export(model, kind, export_root=folder)
    return by_engine(engine, model, job, job["images"], None)


def predictor(job: dict[str, Any]) -> Callable[[str], Scored]:
    """Scores a folder's pictures with what was fitted."""
    folder = Path(job["folder"])
    if job["do"] in {"cells", "engine"}:
        model, engine = build(job), engine_of(job)
        return lambda images: by_engine(engine, model, job, images, str(folder / "model.ckpt"))

    from anomalib.deploy import TorchInferencer

    found = TorchInferencer(folder / "weights/torch/model.pt", device="cpu")

    def one_by_one(images: str) -> Scored:
        with torch.inference_mode():
            paths = sorted(Path(images).iterdir())
            return [(str(path), float(found.predict(path).pred_score)) for path in paths]

    return one_by_one


def by_engine(
    engine: Any, model: Any, job: dict[str, Any], images: str, checkpoint: str | None
) -> Scored:
    """Scores by the engine, whose visualiser writes heatmaps where it is asked to."""
    from anomalib.data import PredictDataset
    from torch.utils.data import DataLoader

    pictures = PredictDataset(images)
    loader = DataLoader(pictures, batch_size=job["batch"], collate_fn=pictures.collate_fn)
    return [
        (path, float(score))
        for batch in engine.predict(model, dataloaders=loader, ckpt_path=checkpoint)
        for path, score in zip(batch.image_path, batch.pred_score, strict=True)
    ]


def timed(predict: Callable[[str], Scored], images: str) -> list[float]:
    """CPU seconds and seconds of the clock a picture."""
    start = time.process_time(), time.perf_counter()
    many = len(predict(images))
    ends = time.process_time(), time.perf_counter()
    return [(end - begin) / many for begin, end in zip(start, ends, strict=True)]


if __name__ == "__main__":
    main()
