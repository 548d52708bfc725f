"""Projectors in closed form: the matrix, the weights of products, and runs that make a file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adpt.data import Folder
from adpt.errors import UserError
from adpt.evaluate import evaluate
from adpt.pretraining import Pretraining
from adpt.pretraining.closed_form import ClosedForm
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from adpt.projector.moments import ResidualMoments, fill, loudness
from adpt.results import read_records
from adpt.train import train
from adpt.weights import load_projector
from drawn import draw_folder
from runs import TINY_TRAINING, composed, evaluation, fitted, folder_data, rows, run_task
from small import ShortFeatures


def moment(width: int, seed: int) -> Tensor:
    drawn = torch.randn(4 * width, width, generator=torch.Generator().manual_seed(seed)).double()
    return drawn.T @ drawn / len(drawn)


def module(**options: object) -> ClosedForm:
    return ClosedForm(ShortFeatures(), ReferencePool(pool_size=4, shots=(2,)), **options)  # type: ignore[arg-type]


# ---- The matrix -------------------------------------------------------------------------------


def test_matrix_is_the_anomalous_moment_where_normal_residuals_are_white() -> None:
    normal, anomalous = moment(6, 0), moment(6, 1)
    matrix = loudness(normal, anomalous, 1, 0)
    # N^(1/2) from the eigenvectors gives A back.
    values, vectors = torch.linalg.eigh(normal)
    root = vectors @ values.sqrt().diag() @ vectors.T
    torch.testing.assert_close(root @ matrix @ root, anomalous)
    torch.testing.assert_close(loudness(normal, 3 * normal, 1, 0), 3 * torch.eye(6).double())


def test_full_shrinkage_leaves_the_anomalous_moment() -> None:
    normal, anomalous = moment(5, 0), moment(5, 1)
    expected = anomalous / normal.diagonal().mean()
    torch.testing.assert_close(loudness(normal, anomalous, 1, 1), expected)


def test_powers_multiply_and_0_leaves_all_directions_alike() -> None:
    normal, anomalous = moment(5, 0), moment(5, 1)
    half = loudness(normal, anomalous, 0.5, 0.1)
    torch.testing.assert_close(half @ half, loudness(normal, anomalous, 1, 0.1))
    torch.testing.assert_close(loudness(normal, anomalous, 0, 0.1), torch.eye(5).double())


def test_neither_many_images_nor_many_patches_count_for_more() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(number, 4, generator=generator) for number in (3, 50))
    once, often = ResidualMoments([4]), ResidualMoments([4])
    for patches, times in ((first, 1), (second, 1)):
        once.add("normal", 0, patches, 1)
        for _ in range(10 * times):
            often.add("normal", 0, torch.cat([patches, patches]), 1 / 10)
    torch.testing.assert_close(once.mean("normal", 0), often.mean("normal", 0))
    expected = sum(rows.double().T @ rows.double() / len(rows) for rows in (first, second)) / 2
    torch.testing.assert_close(once.mean("normal", 0), expected, atol=1e-6, rtol=1e-6)


def test_projected_normal_patches_are_of_the_length_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    moments = ResidualMoments([4, 7])
    drawn = [torch.randn(90, width, generator=generator) * torch.rand(width) for width in (4, 7)]
    for level, patches in enumerate(drawn):
        moments.add("normal", level, patches, 1)
        moments.add("anomalous", level, torch.randn(30, patches.shape[1]), 1)
    projector = FeatureProjector([4, 7], block="linear", start_at_identity=True)
    fill(projector, moments, [0.3, 2.0], 0.25, 0.1)
    for patches, output, length in zip(
        drawn, projector([r.T[None, :, :, None] for r in drawn]), (0.3, 2.0), strict=True
    ):
        assert output.shape[2] == len(patches)
        assert output.square().sum(1).mean().sqrt().item() == pytest.approx(length, rel=1e-4)


# ---- Runs -------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    """Two products: 6 + 3 normal images and 3 with a defect each."""
    return folder_data(draw_folder(tmp_path / "own", ("key", "cup")), batch_size=5)


def matrices(made: Pretraining) -> list[Tensor]:
    return [made.projector.get_parameter(f"blocks.{level}.linear.weight") for level in (0, 1)]


def test_run_makes_a_projector_of_the_lengths_asked_for(data: Folder) -> None:
    made, _ = fitted(data, module(length=0.5))
    assert isinstance(made, ClosedForm)
    assert made.projector.on_residuals
    assert made.projector.scale_by_references
    for level, matrix in enumerate(matrices(made)):
        torch.testing.assert_close(matrix, matrix.T)
        shown = made.moments.mean("normal", level).float()
        length = (matrix @ shown @ matrix).trace().sqrt().item()
        assert length == pytest.approx(0.25 if level else 0.5, rel=1e-4)


def test_matrices_do_not_depend_on_batches(data: Folder, tmp_path: Path) -> None:
    made, _ = fitted(data, module())
    again, _ = fitted(folder_data(tmp_path / "own", batch_size=24), module())
    for first, second in zip(matrices(made), matrices(again), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


def test_level_without_an_anomalous_patch_is_refused(data: Folder) -> None:
    data.setup("fit")
    data.samples = [s for s in data.samples if not s.label]
    data.defects.share = 1e-9
    with pytest.raises(UserError, match=r"level 1 has no normal or no anomalous patch.*larger"):
        fitted(data, module())


def test_command_writes_a_file_that_evaluate_reads(data: Folder, tmp_path: Path) -> None:
    words = [word for word in TINY_TRAINING if not word.startswith("model.")]
    words += ["data=folder", "model=closed_form", "trainer.limit_train_batches=1.0"]
    words += [f"data.root={data.root}", f"output_dir={tmp_path}", "run_name=tiny"]
    run_task(train, composed("train", *words))
    file = tmp_path / "projector.safetensors"
    assert rows(tmp_path / "metrics.csv")[0]["data/skipped_images"] == "0.0"
    projector = load_projector(file)
    assert (projector.block, projector.scale_by_references) == ("linear", True)
    words = ["data=folder", f"data.root={data.root}", "method=feature_norm", f"projector={file}"]
    run_task(evaluate, evaluation(tmp_path / "scores", *words))
    records = read_records(tmp_path / "scores" / "results.jsonl")
    assert {record.features for record in records} == {"own", "residual", "pretrained"}
