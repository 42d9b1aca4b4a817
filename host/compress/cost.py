"""What a torch model costs on paper: parameters, those that are not zero, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """`macs` are those of convolutions and matrix products for one inference at batch 1."""

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
    """Multiply-accumulates of every convolution and matrix product that runs, those inside attention too.

    torch's own counter sees the operators themselves, so that what is called as a function counts as a layer
    does; a multiplication and an addition are two operations for it, and one here. Biases, norms and
    activations are not counted, as is usual.
    """
    with FlopCounterMode(display=False) as counter, _attention_in_the_open(), torch.no_grad():
        model.eval()(example)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _attention_in_the_open() -> Iterator[None]:
    """Without the fused operators of inference, which that counter does not know."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


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
