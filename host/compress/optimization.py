"""What turns gradients into weights: optimizers, learning rates over time, losses, and means of weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from host.specs.recipe import Training
from host.specs.variant import Distill


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over all parameters."""
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(),
            lr=training.learning_rate,
            betas=(training.momentum, 0.999),
            weight_decay=training.weight_decay,
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.momentum > 0,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, training: Training, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over all steps: up and down by cosines, or only down.

    In one cycle the momentum falls and rises against it, by 0.05 around its own value (Smith, 2018).
    """
    if training.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    # A warm-up of exactly one step has no length, and torch would divide by it.
    warmup = training.warmup + (1e-9 if math.isclose(training.warmup * steps, 1) else 0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        training.learning_rate,
        total_steps=steps,
        pct_start=warmup,
        cycle_momentum=training.momentum > 0,
        base_momentum=max(0.0, round(training.momentum - 0.05, 9)),
        max_momentum=min(0.999, round(training.momentum + 0.05, 9)),
    )


def mix_losses(
    own: torch.Tensor, scores: torch.Tensor, wanted: torch.Tensor, distill: Distill
) -> torch.Tensor:
    """The labels' loss and the teacher's, Kullback-Leibler at a temperature (Hinton et al., 2015).

    The square of the temperature keeps the size of its gradients.
    """
    heat = distill.temperature
    taught = functional.kl_div(
        functional.log_softmax(scores / heat, dim=1),
        functional.log_softmax(wanted / heat, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - distill.weight) * own + distill.weight * heat**2 * taught


class Average:
    """An exponential mean of a model's weights and of its norms' statistics, over the steps.

    Early on the mean is over the few steps that there are: the decay rises from 0.1 to what was asked.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._live = [value for value in model.state_dict().values() if value.is_floating_point()]
        self._means = [value.clone() for value in self._live]
        self._decay = decay
        self._steps = 0

    def update(self) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        torch._foreach_lerp_(self._means, self._live, 1 - decay)

    def replace_live(self) -> None:
        """Make the mean the weights of the model that is averaged."""
        with torch.no_grad():
            torch._foreach_copy_(self._live, self._means)

    def state_dict(self) -> dict[str, Any]:
        return {"means": self._means, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch._foreach_copy_(self._means, state["means"])
        self._steps = int(state["steps"])
