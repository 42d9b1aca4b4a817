"""Pruning of whole channels: they are removed, with all that depends on them, and the model gets smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch_pruning
from torch import nn

from host.compress.criteria import make_importance, ready_to_score
from host.compress.data import Images
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.specs.variant import Prune

HAIR = 1e-9
"""What makes no difference to a share or a score, but tells equal ones apart.

Torch-Pruning cuts `channels * (1 - share)` down to an integer: of 10 channels at 0.9 it would be 0.99…
that stay, so none.
"""


class ChannelPruner:
    """Removes the channels that matter least with Torch-Pruning, in place, in as many steps as planned.

    Every step counts from the dense model's channels, so the last one leaves as many as one step to the
    same share would. `round_to` counts channels of a layer, and in a grouped layer those of a group. All
    outputs of the layer `last` stay.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[Any], last: nn.Module, prune: Prune, images: Images
    ) -> None:
        self._model = model
        self._layers = [layer for layer in layers if layer is not last]
        self._prune = prune
        self._images = images
        self._example = torch.zeros(1, *images.seen.shape)
        self._dense = self._count_channels()
        self._outputs = _count_outputs(model, self._example)
        self._shares = [0.0]  # after 0, 1, … steps
        importance = make_importance(model, prune.criterion)
        with _blaming():
            self._pruner = _RoundingPruner(
                model,
                self._example,
                importance=importance,
                global_pruning=prune.effective_scope == "global",
                pruning_ratio=prune.target,
                iterative_steps=prune.steps or 1,
                iterative_pruning_ratio_scheduler=lambda _share, _steps: self._shares,
                round_to=prune.effective_round_to,
                ignored_layers=[last],
            )

    def prune_to(self, sparsity: float) -> float:
        """Remove channels up to this share of the dense model's; the share that is gone.

        Raises BuildError if the model no longer runs, or has all its channels after the last step.
        """
        self._shares.append(sparsity - HAIR)
        with ready_to_score(self._model, self._prune, self._images), _blaming():
            self._pruner.step()
        _check_outputs(self._model, self._example, self._outputs)
        left = self._count_channels()
        if left == self._dense and sparsity >= self._prune.target:
            raise BuildError(
                f"no channel was removed at sparsity {sparsity:g} with round_to "
                f"{self._prune.effective_round_to}",
                "The layers are too narrow for it: lower round_to, or prune granularity: weight.",
            )
        return 1 - left / self._dense

    def _count_channels(self) -> int:
        """Output channels of all layers that may lose some."""
        return sum(
            layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            for layer in self._layers
        )


class _RoundingPruner(torch_pruning.pruner.BasePruner):  # type: ignore[misc]  # it has no types
    """Torch-Pruning's pruner, which leaves something of every layer.

    Its own rounds down, and where that leaves nothing of a layer, it leaves all of it. And where layers
    compete, it may take nearly all of one; here each keeps at least half of the share that the model keeps.
    Channels of equal scores would all go at once, such as those of norms that have learned nothing.
    """

    def estimate_importance(self, group: Any) -> torch.Tensor | None:
        scores: torch.Tensor | None = super().estimate_importance(group)
        if scores is None or not self.global_pruning:
            return scores
        dense = self.layer_init_out_ch[group[0].dep.target.module]
        kept = min(len(scores), math.ceil(dense * (1 - self.pruning_ratio) / 2))
        unequal = scores.double() + HAIR * torch.rand(len(scores))
        return unequal.index_fill(0, unequal.topk(kept).indices, torch.inf)

    def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
        """How many channels go: to the nearest multiple, but not to 0, and not to more than there are."""
        nearest = (current_channels - n_pruned + round_to // 2) // round_to * round_to
        highest = current_channels - current_channels % round_to
        return max(0, current_channels - max(round_to, min(nearest, highest)))


def _blaming() -> AbstractContextManager[None]:
    return blame_code("Torch-Pruning cannot remove channels of this model")


def _count_outputs(model: nn.Module, example: torch.Tensor) -> int:
    with torch.no_grad():
        return int(model.eval()(example).shape[-1])


def _check_outputs(model: nn.Module, example: torch.Tensor, expected: int) -> None:
    """The pruned model must still run, and answer in the same shape."""
    hint = "Try another sparsity or round_to, or prune granularity: weight."
    try:
        found = _count_outputs(model, example)
    except RuntimeError as error:
        raise BuildError(
            f"the model no longer runs after its channels were removed: {error}", hint
        ) from error
    if found != expected:
        raise BuildError(f"removing channels left {found} outputs of {expected}", hint)
