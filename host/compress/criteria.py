"""How much a weight or a channel matters: the scores by which pruning chooses what goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn import functional

from host.compress.data import Images
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.specs.variant import Criterion, Prune

GRADIENT_IMAGES = 256
"""How many training images the gradients of `taylor` are taken from, in batches of `GRADIENT_BATCH`."""

GRADIENT_BATCH = 32

WEIGHT_SCORES: dict[Criterion, Callable[[Any], torch.Tensor]] = {
    "l1": lambda weight: weight.abs(),
    "l2": lambda weight: weight.square(),
    "lamp": lambda weight: weight.square(),
    "taylor": lambda weight: (weight * weight.grad).abs(),
}
"""The score of each weight; a group of weights is worth its mean, of which `lamp` takes `find_shares`.

`random` draws one for each group.
"""

CHANNEL_SCORES: dict[Criterion, Callable[[], Any]] = {
    "l1": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=2),
    "random": torch_pruning.importance.RandomImportance,
    "taylor": torch_pruning.importance.GroupTaylorImportance,
    "lamp": torch_pruning.importance.LAMPImportance,
    "bn-scale": torch_pruning.importance.BNScaleImportance,
}
"""Torch-Pruning's importances: the mean over all layers of a group that lose a channel together.

- l1, l2: the norm of a channel's weights, outgoing and ingoing (Fang et al., DepGraph, 2023);
- taylor: |w · dL/dw| (Molchanov et al., 2019);
- lamp: its share of the norm of what is not less than it (Lee et al., 2021);
- bn-scale: the factor of its batch norms (Liu et al., 2017).
"""


def make_importance(model: nn.Module, criterion: Criterion) -> Any:
    """Torch-Pruning's importance of a channel. Raises BuildError where the model has nothing to score."""
    norms = (layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    if criterion == "bn-scale" and not any(norm.affine for norm in norms):
        raise BuildError(
            "criterion bn-scale ranks channels by the factors of batch norms, and the model has none",
            "Choose another criterion, such as l2 or taylor.",
        )
    return CHANNEL_SCORES[criterion]()


def find_shares(squares: torch.Tensor) -> torch.Tensor:
    """Layer-adaptive scores (Lee et al., 2021): each one's share of the sum of those that are not less.

    The greatest has 1 in every layer, so layers can be compared, and none loses all that it has.
    """
    order = squares.argsort(descending=True, stable=True)
    greater = squares[order].cumsum(0, dtype=torch.float64)
    shares = torch.empty_like(squares)
    shares[order] = (squares[order] / greater).to(squares.dtype)
    return shares


@contextmanager
def ready_to_score(model: nn.Module, prune: Prune, images: Images) -> Iterator[None]:
    """What the criterion needs is there in the block: gradients for `taylor`, a seed for `random`.

    The process's own generator goes on as if nothing had been drawn, and no gradients are left behind.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(prune.seed)
        try:
            if prune.criterion == "taylor":
                gather_gradients(model, images)
            yield
        finally:
            model.zero_grad()


def gather_gradients(model: nn.Module, images: Images) -> None:
    """Give every parameter the gradient of the mean cross entropy over some of the images.

    The generator picks them. The model runs as in inference, so its norms keep their statistics; a
    parameter that does not take part has a gradient of zeros.
    """
    model.eval()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen = torch.randperm(len(images))[:GRADIENT_IMAGES]
    with blame_code("criterion taylor cannot take gradients of this model"):
        for part in torch.split(chosen, GRADIENT_BATCH):
            batch = images.pick(part.numpy())
            scores = model(torch.from_numpy(batch.x))
            loss = functional.cross_entropy(scores, torch.from_numpy(batch.y), reduction="sum")
            (loss / len(chosen)).backward()  # type: ignore[no-untyped-call]
