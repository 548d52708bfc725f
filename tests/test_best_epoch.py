"""`callbacks=best_epoch`: the projectors of the best checks, and what is known of them."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from torch import Tensor

from adpt.errors import DataError, UserError
from adpt.methods import FeatureNorm, PatchCore
from adpt.pretraining.best_epoch import BestEpoch
from adpt.pretraining.callbacks import SaveProjector
from adpt.running.checkpoints import LastCheckpoint
from adpt.weights import find_projector, load_projector, projector_metadata
from adpt.weights.variants import variant_of
from drawn import draw_folder
from runs import fitted, folder_data, published_pretraining, state

FIGURES = {"angle": [0.5, 0.7, 0.7, 0.6], "norm": [0.4, 0.3, 0.2, 0.9]}


class Planned(BestEpoch):
    """Measures what is in `FIGURES`."""

    def _check(self, trainer: Any, module: Any, kind: Any) -> dict[str, float]:
        epoch = trainer.current_epoch
        return {
            f"{self._where}/{variant}/pixel_aupro_paper/pretrained": values[epoch]
            for variant, values in FIGURES.items()
        }


def best_epoch(root: Path, folder: Path, kind: type[BestEpoch] = Planned, **options: Any) -> Any:
    methods = {"angle": partial(PatchCore, 48), "norm": partial(FeatureNorm, 48)}
    return kind(folder_data(root), methods, folder, shots=2, **options)


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    return draw_folder(tmp_path / "own", ("key",)), draw_folder(tmp_path / "test", ("cup",))


def chosen(folder: Path) -> list[str]:
    paths = [folder / f"projector_{variant}.safetensors" for variant in FIGURES]
    return [projector_metadata(path)["epoch"] for path in paths]


def test_the_projectors_of_the_best_checks_are_kept(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    after: list[dict[str, Tensor]] = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            after.append(state(module))

    saving = SaveProjector(run / "projector.safetensors", OmegaConf.create({}))
    checking = best_epoch(roots[1], run)
    fitted(
        folder_data(roots[0]),
        published_pretraining(),
        callbacks=[saving, checking, Watch()],
        max_epochs=4,
    )
    assert chosen(run) == ["2", "4"]
    assert checking.best == {"angle": 0.7, "norm": 0.9}
    for variant, epoch in (("angle", 2), ("norm", 4)):
        found = find_projector(variant_of(str(run), variant))
        assert found.protocol == "paper"
        assert not found.authors
        assert f"test set of {checking.data.set_name}" in found.metadata["selection"]
        assert json.loads(found.metadata["images"])
        kept = load_projector(found.path).state_dict()
        assert all(
            torch.equal(value, after[epoch - 1][f"projector.{name}"].float())
            for name, value in kept.items()
        )
    assert find_projector(run / "projector.safetensors").protocol == "clean"


def test_a_resumed_run_knows_its_best_epoch(roots: tuple[Path, Path], tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, ckpt_path: Path | None = None) -> None:
        saving = SaveProjector(folder / "projector.safetensors", OmegaConf.create({}))
        last = LastCheckpoint(folder / "checkpoints")
        fitted(
            folder_data(roots[0]),
            published_pretraining(),
            callbacks=[saving, best_epoch(roots[1], folder), last],
            max_epochs=epochs,
            ckpt_path=ckpt_path,
            enable_checkpointing=True,
        )

    run(tmp_path / "first", 2)
    for folder in ("second", "first"):
        run(tmp_path / folder, 3, tmp_path / "first" / "checkpoints" / "last.ckpt")
        assert chosen(tmp_path / folder) == ["2", "1"]
    (tmp_path / "first" / "projector_norm.safetensors").unlink()
    with pytest.raises(UserError, match=r"projector_norm\.safetensors nor"):
        run(tmp_path / "third", 4, tmp_path / "first" / "checkpoints" / "last.ckpt")


def test_checks_of_rounded_projectors_measure(roots: tuple[Path, Path], tmp_path: Path) -> None:
    saving = SaveProjector(tmp_path / "run" / "projector.safetensors", OmegaConf.create({}))
    checking = best_epoch(roots[1], tmp_path / "run", BestEpoch, reference_resize=96)
    checking.data.geometry = folder_data(roots[1], resize=64).geometry
    fitted(folder_data(roots[0]), published_pretraining(), callbacks=[saving, checking])
    assert chosen(tmp_path / "run") == ["1", "1"]
    assert all(0 < value <= 1 for value in checking.best.values())
    assert checking.reference_options["self_match"]
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"cup": ["cup/train/good/004.png"]}))
    listed = best_epoch(roots[1], tmp_path, BestEpoch, reference_lists=[str(lists)])
    listed._choose(None)
    encoded = listed._encode("cup", published_pretraining(), torch.device("cpu"))
    assert [Path(path).name for path in encoded.references.paths] == ["004.png"]


def test_epochs_between_checks_are_passed_over(roots: tuple[Path, Path], tmp_path: Path) -> None:
    checking = best_epoch(roots[1], tmp_path, every_n_epochs=2)
    checking._where = "check"
    checking.on_train_epoch_end(SimpleNamespace(current_epoch=2, is_global_zero=False), None)
    assert checking.best == {}
    checking.on_train_epoch_end(SimpleNamespace(current_epoch=3, is_global_zero=False), None)
    assert checking.best == {"angle": 0.6, "norm": 0.9}


def test_a_set_that_is_missing_is_told_from_the_one_that_is_trained_on(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    saving = SaveProjector(tmp_path / "run" / "projector.safetensors", OmegaConf.create({}))
    checking = best_epoch(tmp_path / "none", tmp_path / "run", BestEpoch)
    with pytest.raises(DataError, match=r"such as callbacks\.best_epoch\.data\.root"):
        fitted(folder_data(roots[0]), published_pretraining(), callbacks=[saving, checking])


def test_a_variant_that_there_is_not_is_refused(roots: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are angle, norm"):
        BestEpoch(folder_data(roots[1]), {"patchcore": partial(PatchCore, 48)}, tmp_path)
