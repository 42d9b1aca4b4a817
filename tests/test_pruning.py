from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from host.compress.data import load_split
from host.compress.pruning import find_output_layer, hold_zeros, make_pruner, plan_sparsities
from host.compress.training import fit
from host.errors import BuildError
from host.specs.recipe import Training
from host.specs.variant import Prune
from tests.tiny_images import make_images
from tests.tiny_models import make_tiny
from tests.tiny_plans import make_recipe

SHAPE = (1, 8, 8)
SHARES = st.floats(0.01, 0.99)
STEPS = st.integers(2, 100)


def prune_once(model: nn.Module, **changes: Any) -> float:
    prune = Prune(**{"granularity": "weight", "sparsity": 0.5, **changes})
    return make_pruner(model, prune, make_images(SHAPE)).prune_to(prune.target)


def test_one_shot_is_one_step_to_the_target() -> None:
    assert plan_sparsities(Prune(granularity="weight", sparsity=0.9)) == (0.9,)
    assert plan_sparsities(Prune(granularity="pattern", pattern="1:4")) == (0.75,)


def test_iterative_steps_each_leave_the_same_share_of_what_is_there() -> None:
    prune = Prune(granularity="weight", sparsity=0.875, schedule="iterative", steps=3)
    assert plan_sparsities(prune) == pytest.approx((0.5, 0.75, 0.875))


def test_cubic_steps_remove_much_at_first_and_little_at_last() -> None:
    prune = Prune(granularity="weight", sparsity=0.8, schedule="cubic", steps=2)
    assert plan_sparsities(prune) == pytest.approx((0.7, 0.8))


@given(sparsity=SHARES, steps=STEPS, schedule=st.sampled_from(["iterative", "cubic"]))
def test_a_plan_rises_to_exactly_the_target(sparsity: float, steps: int, schedule: str) -> None:
    plan = plan_sparsities(Prune(granularity="weight", sparsity=sparsity, schedule=schedule, steps=steps))
    assert len(plan) == steps
    assert plan[-1] == sparsity
    assert plan[0] > 0
    assert all(before <= after + 1e-12 for before, after in pairwise(plan))


@pytest.mark.parametrize("granularity", ["weight", "vector", "kernel", "pattern"])
def test_pruned_weights_stay_zero_through_fine_tuning(granularity: str) -> None:
    model = make_tiny()
    share: dict[str, Any] = {"pattern": "2:4", "sparsity": None} if granularity == "pattern" else {}
    reached = prune_once(model, granularity=granularity, **share)
    held = hold_zeros(model)
    before = [parameter.detach().clone() for parameter, _ in held]
    images = load_split(make_recipe(architecture="torchvision:resnet18")).training.take(128)
    fit(model, images, Training(epochs=1, learning_rate=0.1), tick=lambda advance=1, note="": None, held=held)
    zeros = sum(int((mask == 0).sum()) for _, mask in held)
    assert reached == pytest.approx(zeros / sum(mask.numel() for _, mask in held))
    assert zeros > 0
    for (parameter, mask), old in zip(held, before, strict=True):
        assert not parameter[mask == 0].any()
        assert not torch.equal(parameter, old)


def test_pruning_leaves_plain_parameters_and_no_gradients() -> None:
    model = make_tiny()
    names = set(model.state_dict())
    prune_once(model, criterion="taylor")
    assert set(model.state_dict()) == names
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(layer._forward_pre_hooks for layer in model.modules())


def test_masks_are_of_every_layer_that_can_be_pruned() -> None:
    model: Any = make_tiny()
    with torch.no_grad():
        model[0].weight[0] = 0.0
    held = hold_zeros(model)
    assert [id(parameter) for parameter, _ in held] == [id(model[at].weight) for at in (0, 3, 8)]
    assert [mask.shape for _, mask in held] == [model[at].weight.shape for at in (0, 3, 8)]
    assert [int((mask == 0).sum()) for _, mask in held] == [9, 0, 0]


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


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_a_model_without_layers_to_prune_is_an_error(granularity: str) -> None:
    with pytest.raises(BuildError, match="no convolution or linear layer"):
        prune_once(nn.Flatten(), granularity=granularity)
