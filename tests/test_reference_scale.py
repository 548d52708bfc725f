"""Scaling by the class's own references, in pretraining and downstream."""

from functools import partial
from pathlib import Path

import pytest
import torch

from adpt.errors import UserError
from adpt.evaluation import encode_class
from adpt.evaluation.converting import convert_features
from adpt.pretraining.reference_pool import ReferencePool
from adpt.projector import FeatureProjector
from adpt.residual import reference_scale, residual_features
from drawn import draw_folder
from runs import fitted, folder_data, pretraining

BY_REFERENCES = partial(
    FeatureProjector,
    num_heads=4,
    num_references=8,
    start_at_identity=True,
    scale_by_references=True,
)


def test_pretraining_divides_each_image_by_the_scale_of_its_class(tmp_path: Path) -> None:
    data = folder_data(draw_folder(tmp_path, ("bottle", "key")))
    module, _ = fitted(data, pretraining(projector=BY_REFERENCES), limit_train_batches=1)
    module.references.redraw(0)
    pool = module.references
    one_a_class = [
        next(s for s in data.pretraining_samples() if s.class_name == name)
        for name in ("bottle", "key")
    ]
    scale = pool.scale_of([str(sample.image) for sample in one_a_class])
    for name, found in zip(("bottle", "key"), scale, strict=True):
        rows = [pool._row[index] for index in pool._pool[name, ""][:2]]  # shots are (1, 2)
        expected = reference_scale([level[rows] for level in pool._levels])
        torch.testing.assert_close(found, expected)
    assert not torch.allclose(scale[0], scale[1])


def test_centres_are_of_scaled_residuals(tmp_path: Path) -> None:
    data = folder_data(draw_folder(tmp_path, ("bottle", "key")))
    module, _ = fitted(data, pretraining(projector=BY_REFERENCES), limit_train_batches=1)
    module.references.redraw(0)
    sums = [torch.zeros(width) for width in module.backbone.channels]
    patches = [0, 0]
    # In the same batches: rounding decides between references that are about as near.
    for batch in data.loader([s for s in data.pretraining_samples() if s.label == 0]):
        levels = module.backbone(batch.image)
        residuals = residual_features(levels, module.references.draw(batch.path, 4))
        for image, scale in enumerate(module.references.scale_of(batch.path)):
            for level, residual in enumerate(residuals):
                sums[level] += residual[image].sum((1, 2)) / scale[level]
                patches[level] += residual[image, 0].numel()
    for level, centre in enumerate(module.centres):
        torch.testing.assert_close(centre.data, sums[level] / patches[level], rtol=1e-4, atol=1e-5)


def test_without_a_pool_it_is_refused(tmp_path: Path) -> None:
    data = folder_data(draw_folder(tmp_path, ("bottle",)))
    references = ReferencePool(pool_size=None, shots=(1,))
    with pytest.raises(UserError, match="pool_size"):
        fitted(data, pretraining(projector=BY_REFERENCES, references=references))


@pytest.mark.parametrize("shots", [1, 3])
def test_downstream_divides_by_the_scale_of_the_references(tmp_path: Path, shots: int) -> None:
    data = folder_data(draw_folder(tmp_path, ("bottle",)))
    data.setup()
    backbone = pretraining().backbone
    projector = BY_REFERENCES(channels=backbone.channels).eval()
    projector.scale.fill_(5.0)
    encoded = encode_class(
        data, "bottle", backbone, shots=shots, seed=0, device=torch.device("cpu")
    )
    own = encoded.references.levels
    scale = torch.tensor([5.0, 5.0]) if shots == 1 else reference_scale(own)
    residuals = residual_features(encoded.test.levels, [level.flatten(0, 1) for level in own])
    made = convert_features(encoded.test, encoded.references, projector).levels
    for level, (actual, residual) in enumerate(zip(made, residuals, strict=True)):
        torch.testing.assert_close(actual, residual / scale[level], rtol=1e-4, atol=1e-5)
