"""An inspector as an ONNX graph: pixels in; map, score and decision out, without PyTorch.

Needs the extra `adpt[onnx]`; nothing else here imports this module before a graph is asked for.
"""

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adpt.backbones import Backbone
from adpt.errors import UserError
from adpt.inspection.model_file import Model, read_model, write_model
from adpt.inspection.scorer import Scorer
from adpt.running.whole_files import replacing
from adpt.version import __version__

_log = logging.getLogger(__name__)

INPUT = "images"
OUTPUTS = ("map", "score", "anomalous")

_LARGEST = 2**31 - 2**20
"""Bytes of tensors that an ONNX file holds, a protocol buffer, with some room for the graph."""

_TOLERANCE = 1e-4
"""Of the largest score; how far apart PyTorch and onnxruntime may be."""


class Graph(nn.Module):
    """A scorer with its threshold, to be exported.

    Args:
        scorer: On the CPU.
        threshold: An image whose score is above it is anomalous.
    """

    threshold: Tensor

    def __init__(self, scorer: Scorer, threshold: float) -> None:
        super().__init__()
        self.scorer = scorer
        self.register_buffer("threshold", _rounded_down(threshold))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inspect images.

        Args:
            images: (B, 3, H, W) uint8.

        Returns:
            Maps (B, H, W) and scores (B,), float32, and whether they are anomalous (B,), bool.
        """
        maps, score = self.scorer(images)
        # What is no number is not normal.
        return maps, score, ~(score <= self.threshold)


def require_onnx() -> None:
    """Make sure that the extra is installed.

    Raises:
        UserError: It is not.
    """
    needed = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(f"An export to ONNX needs {', '.join(missing)}: pip install 'adpt[onnx]'.")


def write_onnx(model: Model, path: Path) -> None:
    """Write a model as an ONNX file, whole or not at all.

    Before the file takes its name it is run, and its scores are compared with those of PyTorch. The
    graph computes in float32, also where the backbone's precision is another.

    Args:
        model: The model.
        path: The file, replaced if it exists.

    Raises:
        UserError: The extra is not installed, the model is too large for one file, its network
            cannot be expressed in ONNX or gives other scores there, or the file cannot be written.
    """
    require_onnx()
    model = _on_cpu(model)
    backbone = model.scorer.backbone
    with _in_float32(backbone):
        _write(model, path)
    if backbone.precision != "float32":
        _log.warning(
            "The graph computes in float32, the inspector's backbone in %s: their scores differ a"
            " little, and the threshold is the inspector's",
            backbone.precision,
        )


def _write(model: Model, path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    graph = Graph(model.scorer, model.threshold.value).eval()
    _check_size(graph)
    height, width = model.scorer.method.image_size
    generator = torch.Generator().manual_seed(0)
    shape = (3, 3, height, width)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    # Also makes what is computed once and kept: while tracing there are no values to keep.
    expected = graph(images)
    with replacing(path) as temporary:
        with _quiet():
            exported = _export(graph, images)
            # It names the lines of code that each node comes from, by their paths.
            ClearMetadataAndDocStringPass()(exported.model)
        exported.model.metadata_props.update(describe(model))
        exported.model.graph.doc_string = (
            f"images: (batch, 3, {height}, {width}) uint8 RGB. map: (batch, {height}, {width}), the"
            " score of each pixel. score: (batch,) score of each image. anomalous: (batch,) whether"
            " it is above the threshold."
        )
        exported.save(temporary, external_data=False)
        _compare(temporary, images, expected)


def describe(model: Model) -> dict[str, str]:
    """All that a user of the file needs to know, for its `metadata_props`.

    Returns:
        Texts; numbers, pairs and null as JSON.
    """
    settings, scorer = model.settings, model.scorer
    return {
        "adpt": __version__,
        "threshold": json.dumps(model.threshold.value),
        "threshold_origin": model.threshold.origin,
        "method": settings.method,
        "features": scorer.kind,
        "backbone": scorer.backbone.name,
        "backbone_sha256": scorer.backbone.fingerprint,
        "inspector_precision": settings.backbone.get("precision", "float32"),
        "image_size": json.dumps(settings.image_size),
        "resize": json.dumps(settings.resize),
        "bit_depth": json.dumps(settings.bit_depth),
        "normal_map": json.dumps(settings.normal_map),
        "fitted_on": json.dumps(settings.images),
    }


def _on_cpu(model: Model) -> Model:
    """The model on the CPU, whose arithmetic the graph is compared with."""
    if model.scorer.device.type == "cpu":
        return model
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.adpt.safetensors"
        write_model(model, file)
        return read_model(file, torch.device("cpu"), trusted=model.targets)


def _export(graph: Graph, images: Tensor) -> Any:
    from adpt.inspection.onnx_attention import attention_in_parts
    from adpt.inspection.onnx_search import largest_products_in_parts, nearest_squares_in_parts

    try:
        # Traced here, not by torch.onnx, which fixes the batch's size where tracing fails.
        batch = {"images": {0: torch.export.Dim("batch")}}
        with torch.no_grad():
            program = torch.export.export(graph, (images,), dynamic_shapes=batch, strict=False)
        return torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={"images": {0: "batch"}},
            custom_translation_table={
                torch.ops.adpt.largest_products.default: largest_products_in_parts,
                torch.ops.adpt.nearest_squares.default: nearest_squares_in_parts,
                torch.ops.aten.scaled_dot_product_attention.default: attention_in_parts,
            },
            verbose=False,
        )
    # What has no counterpart in ONNX fails in many ways.
    except Exception as error:
        scorer = graph.scorer
        raise UserError(
            f"{type(scorer.method).__name__} with backbone '{scorer.backbone.name}' cannot be"
            f" exported to ONNX by torch {torch.__version__}: {error}"
        ) from error


def _check_size(graph: Graph) -> None:
    tensors = [*graph.state_dict().values()]
    if graph.scorer.references is not None:
        tensors += graph.scorer.references.levels
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > _LARGEST:
        raise UserError(
            f"The model takes {size / 1e9:.1f} GB, and an ONNX file holds at most 2 GB. Take a"
            " smaller backbone, fewer levels or, for PatchCore, a smaller coreset_ratio; PaDiM"
            " is smaller when it is fitted on fewer images."
        )


def _compare(path: Path, images: Tensor, expected: tuple[Tensor, Tensor, Tensor]) -> None:
    """Run the file, on one image and on several, and compare with PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for count in (1, len(images)):
        found = session.run(None, {INPUT: images[:count].numpy()})
        for name, ours, theirs in zip(OUTPUTS[:2], expected, found, strict=False):
            largest = float(ours[:count].abs().max())
            # The median: where two references are equally near to a patch, rounding chooses, and
            # what that patch reaches is farther apart.
            apart = float(np.median(np.abs(theirs - ours[:count].numpy())))
            if not apart <= _TOLERANCE * largest:
                raise UserError(
                    f"The ONNX graph gives another {name} than PyTorch: {apart:.3g} apart, where"
                    f" the largest is {largest:.3g}. Nothing was written."
                )


def _rounded_down(threshold: float) -> Tensor:
    """The largest float32 number that is not above a threshold.

    A float32 score is above one exactly if it is above the other.
    """
    rounded = np.float32(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-math.inf))
    return torch.tensor(rounded)


@contextmanager
def _in_float32(backbone: Backbone) -> Iterator[None]:
    """Let a backbone compute as the graph does."""
    before = backbone.precision
    backbone.precision = "float32"
    try:
        yield
    finally:
        backbone.precision = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch and onnxscript say of their own work."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
