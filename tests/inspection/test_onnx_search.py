"""The search of an ONNX graph against that of PyTorch, and the memory that it takes."""

import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from adpt.inspection.onnx_search import largest_products_in_parts as as_onnx
from adpt.nearest import largest_products

PEAK = """
import re, sys
from pathlib import Path
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
def peak(rows):
    given = {"queries": np.ones((rows, 3), np.float32), "points": np.ones((2**14, 3), np.float32)}
    session.run(None, given)
    # Not ru_maxrss, which begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak(1)
print(peak(2**13) - before)
"""


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "search.onnx"
    onnx.save(as_onnx.to_model_proto(), path)
    return path


@pytest.mark.parametrize(
    ("queries", "points"),
    [(0, 5), (1, 1), (30, 20), (30, 64), (300, 65), (3000, 2000), (70000, 700), (2, 2**20 + 1)],
)
def test_it_finds_the_first_of_the_largest_in_any_number(
    queries: int, points: int, search: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Small whole numbers: many products are equal.
    ones, others = (
        torch.randint(-2, 3, (n, 3), generator=generator).float() for n in (queries, points)
    )
    session = onnxruntime.InferenceSession(search)
    (found,) = session.run(None, {"queries": ones.numpy(), "points": others.numpy()})
    assert found.tolist() == largest_products(ones, others).tolist()


class Search(nn.Module):
    """Twice the search among fixed points, with offsets and without."""

    def __init__(self, points: Tensor, offsets: Tensor) -> None:
        super().__init__()
        self.points, self.offsets = nn.Buffer(points), nn.Buffer(offsets)

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        return (
            largest_products(queries, self.points),
            largest_products(queries, self.points, self.offsets),
        )


def test_a_traced_search_is_one_node_and_finds_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    points, queries = (torch.randint(-2, 3, (n, 3), generator=generator).float() for n in (200, 50))
    offsets = torch.randint(-2, 3, (200,), generator=generator).float()
    offsets[:20] = -torch.inf
    module = Search(points, offsets)
    rows = {"queries": {0: torch.export.Dim("rows")}}
    traced = torch.export.export(module, (queries,), dynamic_shapes=rows, strict=False)
    nodes = [one for one in traced.graph.nodes if "largest_products" in str(one.target)]
    assert len(nodes) == 2
    for ours, theirs in zip(module(queries[:7]), traced.module()(queries[:7]), strict=True):
        assert torch.equal(ours, theirs)
    assert int(module(queries)[1].min()) >= 20


def test_memory_does_not_grow_with_the_products(search: Path) -> None:
    # 512 MB, were they all held; in kB.
    done = subprocess.run([sys.executable, "-c", PEAK, search], capture_output=True, text=True)
    assert int(done.stdout) < 2**16, done.stderr
