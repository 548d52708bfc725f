"""Pictures of scored images: image, mask and one score map a kind of features, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from adpt.data import AnomalyDataModule
from adpt.downstream import Features
from adpt.plots import heatmap, outline, panel, save_png, score_range


def class_folder(class_name: str) -> str:
    """The name of a class's folder of pictures: one folder, also for `<set>/<class>`."""
    return class_name.replace("/", "_")


def choose_images(labels: Tensor, count: int) -> list[int]:
    """Which images to show: evenly spread ones, a quarter of them normal; always the same.

    Args:
        labels: (N,), 1 for anomalous.
        count: How many; fewer where there are not as many.
    """
    normal, anomalous = ((labels == label).nonzero().flatten().tolist() for label in (0, 1))
    wanted = min(len(normal), max(count // 4, count - len(anomalous)))
    chosen = _spread(anomalous, count - wanted) + _spread(normal, wanted)
    return sorted(chosen)


def write_panels(
    folder: Path,
    data: AnomalyDataModule,
    test: Features,
    maps: Mapping[str, Tensor],
    count: int,
) -> list[Path]:
    """Write a PNG for each of a few test images of a class.

    Args:
        folder: Where to write; a file is called `<defect or "normal">_<image>.png`.
        data: Reads the images again, as they were scored.
        test: The test images.
        maps: Kind of features to its score maps (N, H, W); each kind has its own colour scale,
            taken over all the class's maps.
        count: How many images.

    Returns:
        The files.
    """
    sample_of = {str(sample.image): sample for sample in data.samples}
    ranges = {kind: score_range(scores.numpy()) for kind, scores in maps.items()}
    written = []
    for index in choose_images(test.labels, count):
        sample = sample_of[test.paths[index]]
        image = data.read([sample]).image[0].permute(1, 2, 0).numpy()
        pictures = [
            ("image", image),
            ("mask", outline(image, test.masks[index].numpy())),
            *(
                (kind, heatmap(image, scores[index].numpy(), *ranges[kind]))
                for kind, scores in maps.items()
            ),
        ]
        kind_of = sample.defect if sample.label else "normal"
        path = folder / f"{kind_of}_{sample.image.stem}.png"
        save_png(panel(pictures), path)
        written.append(path)
    return written


def _spread(indices: list[int], count: int) -> list[int]:
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return [indices[int(place)] for place in places]
