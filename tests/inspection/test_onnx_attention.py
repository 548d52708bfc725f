"""The attention of an ONNX graph against that of PyTorch, and the memory that it takes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adpt.inspection.onnx_attention import attention_in_parts, unmasked_attention_in_parts
from graph_memory import growth


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attention") / "attention.onnx"
    onnx.save(unmasked_attention_in_parts.to_model_proto(), path)
    return path


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    ("images", "heads", "queries", "keys"),
    [
        (0, 3, 5, 7),
        (2, 3, 0, 7),
        (1, 1, 1, 1),
        (2, 3, 50, 7),
        (1, 4, 3001, 300),
        (3, 2, 700, 700),
        (1, 1, 2, 2**20 + 1),
    ],
)
def test_it_attends_as_pytorch(
    images: int, heads: int, queries: int, keys: int, attention: Path
) -> None:
    asked, known = drawn(images, heads, queries, 8), drawn(images, heads, keys, 8)
    valued = drawn(images, heads, keys, 5)
    given = {"queries": asked, "keys": known, "values": valued, "scale": torch.tensor(0.7)}
    session = onnxruntime.InferenceSession(attention)
    (found,) = session.run(None, {name: one.numpy() for name, one in given.items()})
    expected = F.scaled_dot_product_attention(asked, known, valued, scale=0.7)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_memory_does_not_grow_with_the_weights(attention: Path, tmp_path: Path) -> None:
    ones = np.ones((32, 32, 2**8, 8), np.float32)
    given = {"queries": ones, "keys": ones, "values": ones, "scale": np.float32(1)}
    # 256 MB, were they all held; in kB.
    assert growth(attention, tmp_path, given, "queries", axis=2) < 2**16


class Attending(nn.Module):
    def forward(self, one: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        attend = F.scaled_dot_product_attention
        return (
            attend(one, one, one),
            attend(one, one, one, scale=0.3),
            attend(one, one, one, attn_mask=mask),
            attend(one, one, one, is_causal=True),
            attend(one, one, one, attn_mask=mask, scale=0.3),
            attend(one, one[:, 2:], one[:, 2:], enable_gqa=True),
            attend(one.double(), one.double(), one.double()),
            attend(one[:1], one, one),
            attend(one[:, :1], one, one),
            attend(one, one[:, :1], one[:1]),
        )


def test_masks_scales_types_and_shared_parts_are_kept_in_a_graph(tmp_path: Path) -> None:
    one, mask = drawn(2, 4, 10, 8), drawn(10, 10)
    program = torch.export.export(Attending(), (one, mask), strict=False)
    exported = torch.onnx.export(
        program,
        dynamo=True,
        custom_translation_table={
            torch.ops.aten.scaled_dot_product_attention.default: attention_in_parts
        },
        verbose=False,
    )
    exported.save(tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    found = session.run(None, {"one": one.numpy(), "mask": mask.numpy()})
    expected = Attending()(one, mask)
    assert len({tuple(part.flatten()[:3].tolist()) for part in expected[:6]}) == 6
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
