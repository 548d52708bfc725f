"""Metrics gathered over batches and processes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from adpt.metrics.exact import anomaly_metrics, check_maps, check_per_image


class AnomalyMetrics(Metric):
    """Gather score maps over batches and ranks, and compute `anomaly_metrics` on all of them.

    Every image must be seen once: a sampler that repeats images to fill up ranks changes the
    result. A rank may have none. The maps stay on the device that they come on, 5 bytes a float32
    pixel, and `compute` gathers those of all ranks on each.

    Args:
        paper_aupro: Also give `pixel_aupro_paper`, see `aupro_paper`.
        **kwargs: torchmetrics' own, such as `sync_on_compute`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    maps: list[Tensor]
    masks: list[Tensor]
    image_scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, paper_aupro: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paper_aupro = paper_aupro
        for name in ("maps", "masks", "image_scores", "labels"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self,
        maps: Tensor,
        masks: Tensor,
        image_scores: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """Add a batch; arguments as in `anomaly_metrics`, which looks for NaN at the end.

        Raises:
            ValueError: Shapes that don't match, maps without pixels.
        """
        check_maps(tuple(maps.shape), tuple(masks.shape))
        anomalous = masks != 0
        image_scores = maps.amax(dim=(1, 2)) if image_scores is None else image_scores
        labels = anomalous.flatten(1).any(dim=1) if labels is None else labels != 0
        check_per_image(len(maps), tuple(image_scores.shape), "image_scores")
        check_per_image(len(maps), tuple(labels.shape), "labels")
        self.maps.append(maps.detach())
        self.masks.append(anomalous)
        self.image_scores.append(image_scores.detach())
        self.labels.append(labels)

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable[..., Any] | None = None,
    ) -> None:
        """Gather the images of all ranks; arguments as in torchmetrics."""
        if should_sync and torch.distributed.is_available() and torch.distributed.is_initialized():
            self._match_empty_states(process_group or self.process_group)
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _match_empty_states(self, group: Any | None) -> None:
        # Gathering needs one number of dimensions and one type on all ranks, and without images
        # torchmetrics sends one dimension and float32, at which the processes abort.
        states = (self.maps, self.masks, self.image_scores, self.labels)
        own = [(state[0].shape[1:], state[0].dtype) for state in states if len(state) > 0]
        of_ranks: list[list[Any]] = [[]] * torch.distributed.get_world_size(group)
        torch.distributed.all_gather_object(of_ranks, own, group=group)
        if not own:
            for state, (shape, dtype) in zip(
                states, next(filter(None, of_ranks), []), strict=False
            ):
                state.append(torch.empty((0, *shape), dtype=dtype, device=self.device))

    def compute(self) -> dict[str, float]:
        """Compute the metrics of all images; result and errors as in `anomaly_metrics`."""
        if len(self.maps) == 0:
            raise ValueError("AnomalyMetrics holds no images: call update() before compute().")
        return anomaly_metrics(
            dim_zero_cat(self.maps),
            dim_zero_cat(self.masks),
            dim_zero_cat(self.image_scores),
            labels=dim_zero_cat(self.labels),
            paper_aupro=self.paper_aupro,
        )
