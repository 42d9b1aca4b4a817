"""What a torch model costs on paper: parameters, those that are not zero, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Cost(NamedTuple):
    """`macs` are those of convolutions and linear layers for one inference at batch 1."""

    params: int
    params_nonzero: int
    macs: int


def count_cost(model: nn.Module, input_shape: Sequence[int]) -> Cost:
    """The cost of a model for one input of `input_shape` (C, H, W)."""
    parameters = list(model.parameters())
    return Cost(
        params=sum(parameter.numel() for parameter in parameters),
        params_nonzero=sum(int(parameter.count_nonzero()) for parameter in parameters),
        macs=count_macs(model, torch.zeros(1, *input_shape)),
    )


def count_macs(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-accumulates of every convolution and linear layer that runs, counted where it runs.

    A convolution makes each element of its output from `weight[0].numel()` products; a transposed one
    spends as many on each element of its input; a linear layer spends `in_features` on each output.
    Biases, norms and activations are not counted, as is usual.
    """
    total = 0

    def add(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        made = inputs[0] if getattr(layer, "transposed", False) else output
        total += made.numel() * layer.weight[0].numel()

    counted = (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
    )
    run_watched(model, (layer for layer in model.modules() if isinstance(layer, counted)), add, example)
    return total


def run_watched(
    model: nn.Module, layers: Iterable[nn.Module], watch: Callable[..., None], example: torch.Tensor
) -> None:
    """Run the model once; `watch` is called with each of the layers that runs, its inputs and its output."""
    hooks = [layer.register_forward_hook(watch) for layer in layers]
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        for hook in hooks:
            hook.remove()
