"""Pruning by zeros: single weights, rows, kernels or an N:M pattern. The model keeps its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune as torch_prune

from host.compress.criteria import WEIGHT_SCORES, find_shares, ready_to_score
from host.compress.data import Images
from host.specs.variant import Prune

GONE_BEFORE = -1.0
"""The score of a unit that is zero already: below every other, so that it is the first to count."""


class Units(NamedTuple):
    """A layer's weights by the units that go or stay as one.

    `number` has the shape of the weights and names the unit of each; `scores` and `sizes` have one
    element for each unit.
    """

    number: torch.Tensor
    scores: torch.Tensor
    sizes: torch.Tensor


class WeightPruner:
    """Sets the weights that matter least to zero, in place, in as many steps as asked.

    In the global scope units of different sizes compete by the mean of their weights' scores.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Any], prune: Prune, images: Images) -> None:
        self._model = model
        self._layers = layers
        self._prune = prune
        self._images = images

    def prune_to(self, sparsity: float) -> float:
        """Prune to this share of the weights; the share of zeros that is reached.

        What is zero already counts first. A pattern holds at once, whatever the share.
        """
        with ready_to_score(self._model, self._prune, self._images), torch.no_grad():
            for layer, gone in zip(self._layers, self._choose(sparsity), strict=True):
                torch_prune.custom_from_mask(layer, "weight", ~gone)  # type: ignore[no-untyped-call]
                torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        weights: list[torch.Tensor] = [layer.weight for layer in self._layers]
        left = sum(int(weight.count_nonzero()) for weight in weights)
        return 1 - left / sum(weight.numel() for weight in weights)

    def _choose(self, sparsity: float) -> list[torch.Tensor]:
        """For each layer, which of its weights go."""
        units = [make_units(layer, self._prune) for layer in self._layers]
        if self._prune.granularity == "pattern":
            return [
                find_outside_pattern(layer, part.scores.view(layer.weight.shape), *self._prune.group)
                for layer, part in zip(self._layers, units, strict=True)
            ]
        if self._prune.effective_scope == "layer":
            chosen = [choose_lowest(part.scores, part.sizes, sparsity) for part in units]
        else:
            scores, sizes = (torch.cat([part[at] for part in units]) for at in (1, 2))
            counts = [len(part.sizes) for part in units]
            chosen = list(torch.split(choose_lowest(scores, sizes, sparsity), counts))
        return [gone[part.number] for gone, part in zip(chosen, units, strict=True)]


def make_units(layer: Any, prune: Prune) -> Units:
    """A layer's units and how much each matters: the mean of its weights' scores, or a random number."""
    number = number_blocks(layer.weight.shape, find_block(layer, prune))
    flat = number.flatten()
    sizes = flat.bincount()
    if prune.criterion == "random":
        scores = torch.rand(len(sizes))
    else:
        score = WEIGHT_SCORES[prune.criterion](layer.weight).flatten()
        scores = torch.zeros(len(sizes)).index_add_(0, flat, score) / sizes
    if prune.criterion == "lamp":
        scores = find_shares(scores)
    alive = torch.zeros(len(sizes)).index_add_(0, flat, (layer.weight != 0).float().flatten())
    return Units(number, scores.masked_fill(alive == 0, GONE_BEFORE), sizes)


def find_block(layer: Any, prune: Prune) -> tuple[int, ...]:
    """How many neighbours along each axis of the weights make a unit.

    A vector is a row of a kernel; where a row is a single weight (1×1, k×1 and linear layers), it is
    `vector_size` inputs, and the last of them may be fewer.
    """
    kernel = tuple(layer.weight.shape[2:])
    if prune.granularity == "kernel":
        return (1, 1, *kernel)
    block = [1] * layer.weight.dim()
    if prune.granularity == "vector" and kernel and kernel[-1] > 1:
        block[-1] = kernel[-1]
    elif prune.granularity == "vector":
        block[0 if _is_transposed(layer) else 1] = prune.effective_vector_size
    return tuple(block)


def _is_transposed(layer: Any) -> bool:
    """Whether the weights are (inputs, outputs, …) as those of transposed convolutions are."""
    return bool(getattr(layer, "transposed", False))


def number_blocks(shape: Sequence[int], block: Sequence[int]) -> torch.Tensor:
    """An array of `shape` that is cut into blocks: for each element, the number of its block.

    Where a block does not divide an axis, the last one is smaller.
    """
    number = torch.zeros((), dtype=torch.int64)
    for extent, size in zip(shape, block, strict=True):
        number = number.unsqueeze(-1) * -(-extent // size) + torch.arange(extent) // size
    return number


def choose_lowest(scores: torch.Tensor, sizes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Which units go: those of the lowest scores, as many as come nearest to the share of the weights."""
    order = scores.argsort(stable=True)
    removed = functional.pad(sizes[order].cumsum(0), (1, 0))  # weights, after 0, 1, … units
    count = int((removed - round(sparsity * int(removed[-1]))).abs().argmin())
    gone = torch.zeros(len(scores), dtype=torch.bool)
    gone[order[:count]] = True
    return gone


def find_outside_pattern(layer: Any, scores: torch.Tensor, left: int, of: int) -> torch.Tensor:
    """Which weights go so that at most `left` of every `of` neighbouring inputs stay: the highest scores.

    Neighbours have the output and the place in the kernel in common, and lie `of` by `of` from the first
    input on, as sparse matrix units expect it (Mishra et al., 2021). A last group that is not full keeps
    `left` as well, so the pattern holds however a runtime fills it; a depthwise convolution has one input
    for each output and keeps them all.
    """
    by_input = _view_inputs_last(layer, scores)
    inputs = by_input.shape[-1]
    groups = torch.unflatten(functional.pad(by_input, (0, -inputs % of), value=2 * GONE_BEFORE), -1, (-1, of))
    stay = torch.zeros(groups.shape, dtype=torch.bool).scatter_(-1, groups.topk(left).indices, value=True)
    gone = torch.empty(scores.shape, dtype=torch.bool)
    _view_inputs_last(layer, gone).copy_(~stay.flatten(-2)[..., :inputs])
    return gone


def _view_inputs_last(layer: Any, weights: torch.Tensor) -> torch.Tensor:
    """A view of the weights whose last axis is the inputs of one output."""
    if _is_transposed(layer):
        return torch.unflatten(weights, 0, (layer.groups, -1)).movedim(1, -1)
    return weights.movedim(1, -1)
