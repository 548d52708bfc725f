"""The input benchmark's literal pipeline against the project's."""

from pathlib import Path

import torch
from literal.input import two_views
from parts import input as part


def test_pictures_are_equal_and_views_within_the_tolerance(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(part, "IMAGES", 4)
    paths = part.draw(tmp_path)
    part.check(paths)
    views = part.normalised(part.ours(paths[0], 0))
    assert views.shape == two_views(paths[0], 0).shape == (2, 3, 224, 224)
    # ImageNet's constants leave black near -2.1 and white near 2.6.
    assert -2.2 < views.min() < views.max() < 2.7
    assert torch.isfinite(views).all()
