"""AdamW whose step shrinks where a gradient is large for what came before."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class StableAdamW(torch.optim.Optimizer):
    """AdamW with AMSGrad, and Adafactor's clipping of the update (arXiv 2304.13013).

    A parameter's step is divided by the root mean square of its gradient over the root of the
    largest second moment so far, where that is above 1. Gives what Dinomaly's own gives. Arguments
    as of `torch.optim.AdamW`.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; returns what the closure does, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            for name in ("mean", "square", "largest"):
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        steps = int(state["step"])
        first, second = group["betas"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        torch.maximum(state["largest"], state["square"], out=state["largest"])
        deviation = (state["largest"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        excess = (gradient / deviation).square_().mean().sqrt_().clamp_(min=1)
        rate = group["lr"] / (1 - first**steps) / excess
        parameter.sub_(rate * state["mean"] / deviation)
