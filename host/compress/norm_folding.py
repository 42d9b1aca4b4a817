"""Batch norms folded into the layers before them: the same answers from fewer layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

TOLERANCE = 1e-3
"""How far folding may move an answer, relative to the largest; rounding in float32 moves it by about 1e-6."""


def fold_norms(model: nn.Module, example: torch.Tensor) -> int:
    """Fold every batch norm that directly follows a convolution or linear layer, in place; their number.

    What follows what is seen while the model runs, so it need not be traceable. Where somebody else reads
    the layer's output too, folding changes the answers and is taken back.
    """
    count = 0
    answers = _answer(model, example)
    for layer, norm, place in _find_pairs(model, example):
        parent, _, child = place.rpartition(".")
        before = layer.weight, layer.bias
        layer.weight, layer.bias = _fuse(layer, norm)
        setattr(model.get_submodule(parent), child, nn.Identity())
        if (_answer(model, example) - answers).abs().max() <= TOLERANCE * answers.abs().max().clamp_min(1):
            count += 1
        else:
            layer.weight, layer.bias = before
            setattr(model.get_submodule(parent), child, norm)
    return count


def _answer(model: nn.Module, example: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model.eval()(example)
    return answer


def _find_pairs(model: nn.Module, example: torch.Tensor) -> list[tuple[Any, Any, str]]:
    """Layers, the norms that read just what they made, and the norms' names; each of them runs once."""
    made: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # the tensors are kept, so that no address is reused
    runs: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def note_output(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        runs[layer] = runs.get(layer, 0) + 1
        made[id(output)] = layer, output

    def note_input(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        runs[norm] = runs.get(norm, 0) + 1
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], norm))

    hooks = [
        module.register_forward_hook(note_output)
        if isinstance(module, FOLDABLE)
        else module.register_forward_pre_hook(note_input)
        for module in model.modules()
        if isinstance(module, FOLDABLE) or (isinstance(module, NORMS) and module.track_running_stats)
    ]
    try:
        _answer(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in model.named_modules()}
    return [(layer, norm, names[norm]) for layer, norm in pairs if runs[layer] == runs[norm] == 1]


def _fuse(layer: Any, norm: Any) -> tuple[nn.Parameter, nn.Parameter]:
    weight, bias = fuse_conv_bn_weights(
        layer.weight,
        layer.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
