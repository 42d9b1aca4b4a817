"""Pruning in steps: weights become zero where they are, or whole channels are removed."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from host.compress.channel_pruning import ChannelPruner
from host.compress.cost import run_watched
from host.compress.data import Images
from host.compress.weight_pruning import WeightPruner
from host.errors import BuildError
from host.specs.variant import Prune

PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
"""The layers that hold nearly all of a network's weights; the rest (norms, biases) is left alone."""


class Pruner(Protocol):
    """Prunes one model in place, step by step; between steps the model may learn."""

    def prune_to(self, sparsity: float) -> float:
        """Prune to this share of the dense model's weights or channels; the share that is reached."""


def plan_sparsities(prune: Prune) -> tuple[float, ...]:
    """The share that is gone after each step, of the dense model's; the last is the target.

    `iterative` leaves the same part of what is there in each step; `cubic` is Zhu and Gupta's (2017).
    """
    target, steps = prune.target, prune.steps or 1
    done = [step / steps for step in range(1, steps)]
    if prune.schedule == "iterative":
        return (*(1 - (1 - target) ** share for share in done), target)
    return (*(target * (1 - (1 - share) ** 3) for share in done), target)


def make_pruner(model: nn.Module, prune: Prune, images: Images) -> Pruner:
    """What prunes the model as the variant says, for one `prune_to` for each of the planned sparsities.

    `images` are training images, which `taylor` takes its gradients from. Raises BuildError where the
    model has nothing to prune, or Torch-Pruning cannot follow it.
    """
    layers = find_prunable_layers(model)
    if prune.granularity != "channel":
        return WeightPruner(model, layers, prune, images)
    last = find_output_layer(model, torch.zeros(1, *images.seen.shape))
    return ChannelPruner(model, layers, last, prune, images)


def hold_zeros(model: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """The weights of every layer that can be pruned, with masks that are 0 where they are now 0, else 1."""
    weights = [layer.weight for layer in find_prunable_layers(model)]
    return [(weight, (weight != 0).to(weight.dtype)) for weight in weights]


def find_prunable_layers(model: nn.Module) -> list[Any]:
    """The convolutions and linear layers of the model. Raises BuildError where there is none."""
    layers = [module for module in model.modules() if isinstance(module, PRUNABLE)]
    if not layers:
        raise BuildError("the model has no convolution or linear layer to prune")
    return layers


def find_output_layer(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """The convolution or linear layer that runs last: it makes the outputs, which must all stay."""
    ran: list[nn.Module] = []
    layers = find_prunable_layers(model)
    run_watched(model, layers, lambda layer, _inputs, _output: ran.append(layer), example)
    if not ran:
        raise BuildError("none of the model's convolution or linear layers runs")
    return ran[-1]
