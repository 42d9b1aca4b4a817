"""The cost on paper of torch models, against formulas worked out by hand and two other counters."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from host.compress.cost import count_cost, count_macs
from host.compress.vision_ops import build_classifier
from tests.tiny_models import make_tiny

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def count_layers_elsewhere(model: nn.Module, example: torch.Tensor) -> tuple[int, int]:
    """Torch-Pruning's multiply-accumulates of convolutions and linear layers, and its parameters.

    It counts norms, activations, pooling and biases too, so that only these layers are summed, and without
    their biases.
    """
    import torch_pruning

    bare = copy.deepcopy(model).eval()
    params = torch_pruning.utils.count_ops_and_params(bare, example)[1]
    for layer in bare.modules():
        if isinstance(layer, LAYERS):
            layer.register_parameter("bias", None)
    _, _, found, _ = torch_pruning.utils.count_ops_and_params(bare, example, layer_wise=True)
    return sum(int(found[layer] or 0) for layer in bare.modules() if isinstance(layer, LAYERS)), params


def test_a_cost_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 5, bias=False))
    with torch.no_grad():
        model.get_parameter("0.weight")[0].zero_()
    cost = count_cost(model, (1, 4, 4))
    assert cost.params == 2 * 9 + 2 + 32 * 5
    assert cost.params_nonzero == cost.params - 9
    assert cost.macs == 2 * 16 * 9 + 32 * 5


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(3, 4, 5), (3, 20), 4 * 16 * 3 * 5),
        (nn.Conv2d(6, 4, 3, groups=2), (6, 8, 8), 4 * 36 * 3 * 9),
        (nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6), (6, 8, 8), 6 * 16 * 9),
        (nn.Conv2d(3, 5, 3, dilation=2), (3, 8, 8), 5 * 16 * 3 * 9),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 3 * 27 * 2 * 8),
        # Each element of the input is spread over the kernel, whatever the stride.
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (3, 4, 4), 3 * 16 * 5 * 4),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 4, 4), 4 * 16 * 3 * 9),
        (nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1), (2, 8), 2 * 8 * 3 * 4),
        (nn.Linear(7, 5), (7,), 7 * 5),
        (nn.Linear(7, 5), (11, 7), 11 * 7 * 5),
        # Four projections of 6 tokens, and two products of tokens with tokens in each head.
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (6, 8),
            6 * 8 * (32 + 2 * 16) + 2 * 6 * 6 * 8,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_macs_of_a_layer_follow_its_formula(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(layer, torch.zeros(1, *shape)) == macs


class Functional(nn.Module):
    """Multiplies without any layer, as some architectures do."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.kernel)


def test_what_is_called_as_a_function_counts_as_a_layer_does() -> None:
    assert count_cost(Functional(), (3, 8, 8)) == (108, 108, 4 * 36 * 27)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mobilenet_v2", {"num_classes": 10}),
        ("efficientnet_b0", {"num_classes": 10}),
        ("resnet18", {"num_classes": 10}),
        ("shufflenet_v2_x0_5", {"num_classes": 10}),
    ],
)
def test_costs_agree_with_another_counter(name: str, arguments: dict[str, Any]) -> None:
    model = build_classifier(name, arguments)
    macs, params = count_layers_elsewhere(model, torch.zeros(1, 3, 32, 32))
    cost = count_cost(model, (3, 32, 32))
    assert (cost.macs, cost.params) == (macs, params)
    zeros = sum(int((tensor == 0).sum()) for tensor in model.parameters())
    assert cost.params_nonzero == params - zeros


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v2"])
def test_costs_agree_with_another_counter_after_channels_are_removed(name: str) -> None:
    import torch_pruning

    model = make_tiny() if name == "tiny" else build_classifier(name, {"num_classes": 10})
    example = torch.zeros(1, 1 if name == "tiny" else 3, 32, 32)
    dense = count_cost(model, example.shape[1:])
    classifier = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        example,
        torch_pruning.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[classifier],
    )
    pruner.step()
    cost = count_cost(model, example.shape[1:])
    assert (cost.macs, cost.params) == count_layers_elsewhere(model, example)
    assert cost.macs < 0.5 * dense.macs
    assert cost.params < 0.5 * dense.params


def test_zeros_cost_parameters_and_macs_and_are_no_nonzero_ones() -> None:
    model = make_tiny()
    before = count_cost(model, (1, 8, 8))
    with torch.no_grad():
        model.get_parameter("3.weight")[:, :8] = 0
    assert count_cost(model, (1, 8, 8)) == before._replace(params_nonzero=before.params_nonzero - 32 * 8 * 9)


def test_counting_changes_nothing() -> None:
    model = make_tiny().train()
    state = copy.deepcopy(model.state_dict())
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    count_cost(model, (1, 8, 8))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() == was_enabled
