"""Pruning: single weights to zero by magnitude, or whole channels removed by their norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from host.compress.cost import run_watched
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.specs.variant import Prune

PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
"""The layers that hold nearly all of a network's weights; the rest (norms, biases) is left alone."""


def prune_model(model: nn.Module, prune: Prune, input_shape: Sequence[int]) -> float:
    """Prune the model in place. The reached sparsity: a share of weights, or of channels.

    Weights are held at zero by masks until `finish_pruning`. `input_shape` is (C, H, W).
    """
    if prune.granularity == "weight":
        return _mask_weights(model, prune)
    return _remove_channels(model, prune, torch.zeros(1, *input_shape))


def finish_pruning(model: nn.Module, prune: Prune) -> None:
    """Make the masks of weight pruning permanent; channels are already gone."""
    if prune.granularity == "weight":
        for layer in _prunable_layers(model):
            torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]


def _prunable_layers(model: nn.Module) -> list[Any]:
    layers = [module for module in model.modules() if isinstance(module, PRUNABLE)]
    if not layers:
        raise BuildError("the model has no convolution or linear layer to prune")
    return layers


def _mask_weights(model: nn.Module, prune: Prune) -> float:
    """Mask the smallest weights. By single weights, the L1 and the L2 norm rank alike."""
    layers = _prunable_layers(model)
    parameters = [(layer, "weight") for layer in layers]
    if prune.effective_scope == "global":
        torch_prune.global_unstructured(
            parameters, pruning_method=torch_prune.L1Unstructured, amount=prune.sparsity
        )
    else:
        for layer, name in parameters:
            torch_prune.l1_unstructured(layer, name, amount=prune.sparsity)  # type: ignore[no-untyped-call]
    masks: list[torch.Tensor] = [layer.weight_mask for layer in layers]
    kept = sum(int(mask.count_nonzero()) for mask in masks)
    return 1 - kept / sum(mask.numel() for mask in masks)


def _remove_channels(model: nn.Module, prune: Prune, example: torch.Tensor) -> float:
    """Remove the channels of the smallest norm, and all that depends on them, with Torch-Pruning."""
    import torch_pruning

    last = find_output_layer(model, example)
    before = _count_channels(model, last)
    outputs = _count_outputs(model, example)
    norm = 1 if prune.criterion == "l1" else 2
    with blame_code("Torch-Pruning cannot remove channels of this model"):
        pruner = torch_pruning.pruner.MagnitudePruner(
            model,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=norm),
            global_pruning=prune.effective_scope == "global",
            pruning_ratio=prune.sparsity,
            round_to=prune.effective_round_to,
            ignored_layers=[last],
        )
        pruner.step()
    _check_outputs(model, example, outputs)
    after = _count_channels(model, last)
    if after == before:
        raise BuildError(
            f"no channel was removed at sparsity {prune.sparsity:g} with round_to {prune.effective_round_to}",
            "The layers are too narrow for it: lower round_to or the sparsity, or prune granularity: weight.",
        )
    return 1 - after / before


def find_output_layer(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """The convolution or linear layer that runs last: it makes the outputs, which must all stay."""
    ran: list[nn.Module] = []
    layers = _prunable_layers(model)
    run_watched(model, layers, lambda layer, _inputs, _output: ran.append(layer), example)
    if not ran:
        raise BuildError("none of the model's convolution or linear layers runs")
    return ran[-1]


def _count_channels(model: nn.Module, kept: nn.Module) -> int:
    """Output channels of all prunable layers but one."""
    layers = (layer for layer in _prunable_layers(model) if layer is not kept)
    return sum(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in layers)


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
