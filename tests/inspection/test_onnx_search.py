"""The search of an ONNX graph against that of PyTorch, and the memory that it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from adpt.inspection.onnx_search import largest_products_in_parts as as_onnx
from adpt.inspection.onnx_search import nearest_squares_in_parts
from adpt.methods import nearest_patches
from adpt.methods.nearest_patches import NearestPatches, shadows
from adpt.nearest import largest_products
from graph_memory import growth

NO_PRODUCT = "donot_use_mm_for_euclid_dist"


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


def test_memory_does_not_grow_with_the_products(search: Path, tmp_path: Path) -> None:
    ones = {"queries": np.ones((2**13, 3), np.float32), "points": np.ones((2**14, 3), np.float32)}
    # 512 MB, were they all held; in kB.
    assert growth(search, tmp_path, ones, "queries") < 2**16


# ---- Patches --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("squares") / "squares.onnx"
    onnx.save(nearest_squares_in_parts.to_model_proto(), path)
    return path


def wide(count: int, noise: float, seed: int) -> Tensor:
    """Patches of 520 numbers near 20 directions, the same ones whatever the seed."""
    mixing = torch.randn(20, 520, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(count, 20, generator=generator) @ mixing
    return few + noise * torch.randn(count, 520, generator=generator)


def asked(search: NearestPatches, patches: Tensor) -> dict[str, Any]:
    """What an exported graph gives the search."""
    given: dict[str, Any] = {}

    def take(*tensors: Tensor) -> Tensor:
        names = ("patches", "points", "origin", "directions", "seen")
        given.update((name, one.numpy()) for name, one in zip(names, tensors, strict=True))
        return tensors[0].new_empty(len(tensors[0]))

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(nearest_patches, "squares_as_one_node", take)
        changed.setattr(nearest_patches, "is_exporting", lambda: True)
        search.squares(patches)
    return given


# The last two have too many that may be nearest: a few patches in a part, and all.
@pytest.mark.parametrize(
    ("patches", "points", "noise"),
    [(1, 2048, 0.1), (300, 2100, 0.1), (3000, 2048, 0.1), (700, 2500, 3.0), (40, 2500, 30.0)],
)
def test_patches_have_the_distances_that_pytorch_finds(
    patches: int, points: int, noise: float, squares: Path
) -> None:
    bank = wide(points, noise, 0)
    bank[7] = bank[3]
    search = NearestPatches(bank, directions=64)
    looked_for = torch.cat([wide(patches, noise, 1), bank[:5], 30 * wide(3, 1.0, 2)])
    session = onnxruntime.InferenceSession(squares)
    (found,) = session.run(None, asked(search, looked_for))
    literal = torch.cdist(looked_for.double(), bank.double(), compute_mode=NO_PRODUCT).amin(1)
    torch.testing.assert_close(
        torch.from_numpy(found).double(), literal.square(), rtol=1e-5, atol=0
    )
    assert found[patches : patches + 5].tolist() == [0] * 5
    torch.testing.assert_close(
        search.squares(looked_for), torch.from_numpy(found), rtol=1e-5, atol=0
    )


def test_points_that_few_dimensions_cannot_tell_apart_are_told_apart(squares: Path) -> None:
    # No product of all dimensions could either; not a multiple of 64.
    ones, moves = wide(1050, 0.0, 0), wide(1050, 0.0, 1)
    bank = torch.cat([ones, ones + 1e-4 * moves])
    session = onnxruntime.InferenceSession(squares)
    (found,) = session.run(None, asked(NearestPatches(bank, directions=64), bank))
    assert found.tolist() == [0] * 2100


def test_no_patches_have_no_distances(squares: Path) -> None:
    search = NearestPatches(wide(2048, 0.1, 0), directions=64)
    (found,) = onnxruntime.InferenceSession(squares).run(None, asked(search, wide(0, 0.1, 1)))
    assert found.shape == (0,)
    assert search.squares(wide(0, 0.1, 1)).shape == (0,)


def test_a_graph_is_given_the_points_shadows_and_half_their_squared_lengths() -> None:
    bank, patches = wide(2100, 0.1, 0), wide(5, 0.1, 1)
    search = NearestPatches(bank, directions=64)
    given = {name: torch.from_numpy(one) for name, one in asked(search, patches).items()}
    assert given["seen"].shape[0] % 64 == 0
    ones, others = (shadows(rows, given["origin"], given["directions"]) for rows in (patches, bank))
    products = torch.cat([ones, torch.ones(5, 1)], 1) @ given["seen"].T
    expected = ones @ others.T - others.square().sum(1) / 2
    torch.testing.assert_close(products[:, :2100], expected, rtol=1e-5, atol=1e-2)
    assert products[:, 2100:].isneginf().all()


def test_a_patch_that_is_no_number_is_none_alone(squares: Path) -> None:
    search = NearestPatches(wide(2048, 0.1, 0), directions=64)
    patches = wide(5, 0.1, 1)
    patches[2, 4] = torch.nan
    (found,) = onnxruntime.InferenceSession(squares).run(None, asked(search, patches))
    assert torch.from_numpy(found).isnan().tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("noise", [0.1, 30.0])
def test_memory_does_not_grow_with_the_pairs(noise: float, squares: Path, tmp_path: Path) -> None:
    search = NearestPatches(wide(2**13, noise, 0), directions=64)
    given = asked(search, wide(2**13, noise, 1))
    # All products would take 256 MB, and the differences of all pairs 128 GB; in kB.
    assert growth(squares, tmp_path, given, "patches") < 2**17
