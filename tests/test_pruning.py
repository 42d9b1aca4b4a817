from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from host.compress.cost import count_macs
from host.compress.data import load_split
from host.compress.pruning import find_output_layer, finish_pruning, prune_model
from host.compress.training import fit
from host.errors import BuildError
from host.specs.recipe import Training
from host.specs.variant import Prune
from tests.tiny_models import make_tiny
from tests.tiny_plans import make_recipe

SHAPE = (1, 8, 8)


def two_layers() -> nn.Sequential:
    """Weights whose ranking can be seen: 1 to 4 in the first layer, 5 to 8 in the second."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        model[2].weight.copy_(torch.tensor([[5.0, -6.0], [7.0, -8.0]]))
    return model


def weights(model: nn.Sequential) -> list[list[float]]:
    return [model[at].weight.flatten().tolist() for at in (1, 2)]


def prune_weights(model: nn.Module, **changes: Any) -> float:
    prune = Prune(granularity="weight", **changes)
    sparsity = prune_model(model, prune, SHAPE)
    finish_pruning(model, prune)
    return sparsity


def test_global_l1_takes_the_smallest_weights_of_the_whole_model() -> None:
    model = two_layers()
    assert prune_weights(model, sparsity=0.5) == 0.5
    assert weights(model) == [[0, 0, 0, 0], [5, -6, 7, -8]]


def test_scope_layer_takes_the_smallest_weights_of_each_layer() -> None:
    model = two_layers()
    assert prune_weights(model, sparsity=0.5, scope="layer") == 0.5
    assert weights(model) == [[0, 0, 3, -4], [0, 0, 7, -8]]


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_weight_sparsity_is_reached_within_a_tenth_of_a_point(sparsity: float, scope: str) -> None:
    model = make_tiny(width=32)
    reached = prune_weights(model, sparsity=sparsity, scope=scope)
    layers = [layer.weight for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in layers) / sum(weight.numel() for weight in layers)
    assert reached == pytest.approx(zeros)
    assert reached == pytest.approx(sparsity, abs=0.001)


def test_pruned_weights_stay_zero_through_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prune = make_tiny(), Prune(granularity="weight", sparsity=0.6)
    prune_model(model, prune, SHAPE)
    before = copy.deepcopy(model.state_dict())
    images = load_split(make_recipe(architecture="torchvision:resnet18")).training.take(256)
    fit(model, images, Training(epochs=1), epochs=1, learning_rate=0.1, tick=lambda advance=1, note="": None)
    finish_pruning(model, prune)
    for name, mask in ((name, mask) for name, mask in before.items() if name.endswith("_mask")):
        weight = model.state_dict()[name.removesuffix("_mask")]
        assert not weight[mask == 0].any()
        assert not torch.equal(weight, before[name.replace("_mask", "_orig")] * mask)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("round_to", [4, 8])
def test_channel_counts_are_multiples_of_round_to(round_to: int, scope: str) -> None:
    model = make_tiny(width=24)
    before = count_macs(model, torch.zeros(1, *SHAPE))
    prune = Prune(granularity="channel", criterion="l2", sparsity=0.4, round_to=round_to, scope=scope)
    reached = prune_model(model, prune, SHAPE)
    finish_pruning(model, prune)
    counts = [layer.out_channels for layer in model if isinstance(layer, nn.Conv2d)]
    assert all(count % round_to == 0 for count in counts)
    assert reached == pytest.approx(1 - sum(counts) / (24 + 48))
    assert count_macs(model, torch.zeros(1, *SHAPE)) < before
    assert model(torch.zeros(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize(("criterion", "kept"), [("l1", 0), ("l2", 1)])
def test_the_criterion_decides_which_channel_goes(criterion: str, kept: int) -> None:
    """Channel 0 has the larger sum of magnitudes, channel 1 the larger sum of squares."""
    model = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.Flatten(), nn.Linear(2 * 49, 10, bias=False))
    first = torch.tensor([[[[2.0, 2.0], [2.0, 2.0]]], [[[6.0, 0.0], [0.0, 0.0]]]])
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[2].weight.zero_()
    prune_model(model, Prune(granularity="channel", criterion=criterion, sparsity=0.5, round_to=1), SHAPE)
    assert torch.equal(model[0].weight, first[[kept]])


def test_layers_narrower_than_round_to_are_an_error_that_says_so() -> None:
    model = make_tiny(width=6)
    prune = Prune(granularity="channel", sparsity=0.5, round_to=16)
    with pytest.raises(BuildError, match="no channel was removed") as caught:
        prune_model(model, prune, SHAPE)
    assert "lower round_to" in str(caught.value)


def test_the_output_layer_is_the_one_that_runs_last() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 10), nn.Linear(64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(self.first(x.flatten(1)))
            return out

    model = Reversed()
    assert find_output_layer(model, torch.zeros(1, *SHAPE)) is model.last


def test_a_model_without_layers_to_prune_is_an_error() -> None:
    with pytest.raises(BuildError, match="no convolution or linear layer"):
        prune_model(nn.Flatten(), Prune(granularity="weight", sparsity=0.5), SHAPE)
