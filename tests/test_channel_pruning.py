from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from host.compress.cost import count_macs
from host.compress.export import export_model
from host.compress.pruning import make_pruner, plan_sparsities
from host.compress.vision_ops import build_classifier
from host.errors import BuildError
from host.specs.variant import Prune
from tests.tiny_images import make_images
from tests.tiny_models import make_tiny

SHAPE = (1, 8, 8)


def prune_in_steps(model: nn.Module, shape: tuple[int, int, int] = SHAPE, **changes: Any) -> list[float]:
    prune = Prune(**{"granularity": "channel", "sparsity": 0.5, **changes})
    pruner = make_pruner(model, prune, make_images(shape))
    return [pruner.prune_to(asked) for asked in plan_sparsities(prune)]


def counts(model: nn.Module) -> list[int]:
    return [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("round_to", [4, 8])
def test_channel_counts_are_multiples_of_round_to(round_to: int, scope: str) -> None:
    model = make_tiny(width=24)
    before = count_macs(model, torch.zeros(1, *SHAPE))
    (reached,) = prune_in_steps(model, criterion="l2", sparsity=0.4, round_to=round_to, scope=scope)
    assert all(count % round_to == 0 for count in counts(model))
    assert reached == pytest.approx(1 - sum(counts(model)) / (24 + 48))
    assert count_macs(model, torch.zeros(1, *SHAPE)) < before
    assert model(torch.zeros(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize(("criterion", "kept"), [("l1", 0), ("l2", 1)])
def test_the_criterion_decides_which_channel_goes(criterion: str, kept: int) -> None:
    """Channel 0 has the larger sum of magnitudes, channel 1 the larger sum of squares."""
    model: Any = nn.Sequential(
        nn.Conv2d(1, 2, 2, bias=False), nn.Flatten(), nn.Linear(2 * 49, 10, bias=False)
    )
    first = torch.tensor([[[[2.0, 2.0], [2.0, 2.0]]], [[[6.0, 0.0], [0.0, 0.0]]]])
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[2].weight.zero_()
    prune_in_steps(model, criterion=criterion, round_to=1)
    assert torch.equal(model[0].weight, first[[kept]])


@pytest.mark.parametrize(
    ("sparsity", "round_to", "left"),
    [
        (0.5, 8, [16, 24]),  # 12 and 24: a tie goes up
        (0.6, 8, [8, 16]),  # 9 and 19
        (0.9, 8, [8, 8]),  # 2 and 4, but round_to stays
        (0.9, 1, [2, 4]),
        (0.25, 16, [16, 32]),  # 18 and 36
    ],
)
def test_each_layer_keeps_the_multiple_that_is_nearest_to_its_share(
    sparsity: float, round_to: int, left: list[int]
) -> None:
    model = make_tiny(width=24)
    prune_in_steps(model, sparsity=sparsity, round_to=round_to)
    assert counts(model) == left


@pytest.mark.parametrize("schedule", ["iterative", "cubic"])
@pytest.mark.parametrize(("sparsity", "round_to"), [(0.5, 1), (0.7, 4), (0.9, 1), (0.3, 8)])
def test_steps_leave_as_many_channels_as_one_shot(schedule: str, sparsity: float, round_to: int) -> None:
    once, stepwise = make_tiny(width=40), make_tiny(width=40)
    (reached,) = prune_in_steps(once, sparsity=sparsity, round_to=round_to)
    steps = prune_in_steps(stepwise, sparsity=sparsity, round_to=round_to, schedule=schedule, steps=4)
    assert counts(stepwise) == counts(once)
    assert steps[-1] == reached
    assert steps == sorted(steps)


def test_steps_of_the_global_scope_leave_as_many_channels_in_all() -> None:
    once, stepwise = make_tiny(width=40), make_tiny(width=40)
    prune_in_steps(once, scope="global", round_to=1)
    prune_in_steps(stepwise, scope="global", round_to=1, schedule="iterative", steps=5)
    assert sum(counts(stepwise)) == sum(counts(once)) == 60


def test_weights_may_be_loaded_between_steps() -> None:
    model: Any = make_tiny(width=32)
    prune = Prune(granularity="channel", sparsity=0.75, schedule="iterative", steps=2, round_to=1)
    pruner = make_pruner(model, prune, make_images())
    first, second = plan_sparsities(prune)
    pruner.prune_to(first)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["0.weight"][:8] = 0.0
    state["0.weight"][8:] = 1.0
    state["3.weight"][:, :8] = 0.0
    model.load_state_dict(state)
    pruner.prune_to(second)
    assert counts(model) == [8, 16]
    assert torch.equal(model[0].weight, torch.ones(8, 1, 3, 3))


def test_the_global_scope_leaves_every_layer_half_of_the_share() -> None:
    """All but one of the first layer's channels are worth less than any of the second's."""
    model: Any = make_tiny(width=16)
    with torch.no_grad():
        for layer in (model[0], model[1]):
            layer.weight.copy_(torch.rand_like(layer.weight))
        model[3].weight.zero_()
        model[3].weight[:, 0] = 1000.0  # one channel of the first layer makes the others small beside it
    prune_in_steps(model, criterion="l1", scope="global", round_to=1)
    first, second = counts(model)
    assert first == 4
    assert first + second == 24


def test_channels_of_equal_scores_do_not_all_go_at_once() -> None:
    """The factors of batch norms start as 1."""
    model = make_tiny(width=16)
    assert prune_in_steps(model, criterion="bn-scale", scope="global", round_to=1) == [0.5]


def test_layers_narrower_than_round_to_are_an_error_that_says_so() -> None:
    with pytest.raises(BuildError, match="no channel was removed") as caught:
        prune_in_steps(make_tiny(width=6), round_to=16)
    assert "lower round_to" in str(caught.value)


def test_a_share_that_rounds_to_nothing_is_the_same_error() -> None:
    with pytest.raises(BuildError, match=r"no channel was removed at sparsity 0\.01"):
        prune_in_steps(make_tiny(width=24), sparsity=0.01, round_to=8)


def test_a_first_step_may_be_too_small_to_remove_anything() -> None:
    steps = prune_in_steps(make_tiny(width=16), sparsity=0.5, round_to=8, schedule="iterative", steps=6)
    assert steps[0] == 0
    assert steps[-1] == 0.5


def test_a_group_of_a_grouped_layer_counts_by_itself() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3, groups=2), nn.Flatten(), nn.Linear(32 * 16, 10)
    )
    prune_in_steps(model, round_to=4)
    assert counts(model) == [16, 16]
    assert model(torch.zeros(1, *SHAPE)).shape == (1, 10)


def test_a_model_whose_outputs_are_made_by_a_convolution_keeps_them() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert prune_in_steps(model) == [0.5]
    assert counts(model) == [16, 10]


def test_a_pruned_model_is_exported_and_answers_alike() -> None:
    model = make_tiny(width=16)
    prune_in_steps(model, criterion="taylor", schedule="cubic", steps=2)
    exported = export_model(model, make_images(count=4).x, 18, "tiny")  # which compares the answers
    shapes = [list(weight.dims) for weight in exported.graph.initializer if len(weight.dims) == 4]
    assert shapes == [[8, 1, 3, 3], [16, 8, 3, 3]]


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("criterion", ["l2", "taylor", "bn-scale"])
def test_residual_and_depthwise_layers_of_mobilenet_v2_stay_consistent(criterion: str, scope: str) -> None:
    torch.manual_seed(0)
    model = build_classifier("mobilenet_v2", {"num_classes": 10, "width_mult": 0.5})
    shape = (3, 32, 32)
    dense = count_macs(model, torch.zeros(1, *shape))
    (reached,) = prune_in_steps(model, shape, criterion=criterion, scope=scope)
    assert 0.4 < reached < 0.6
    assert count_macs(model, torch.zeros(1, *shape)) < 0.6 * dense
    assert all(count % 8 == 0 for count in counts(model))
    assert model(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("criterion", ["l1", "random", "lamp", "bn-scale"])
def test_squeeze_and_excitation_blocks_lose_channels_with_what_they_scale(criterion: str) -> None:
    torch.manual_seed(0)
    model = build_classifier("mobilenet_v3_small", {"num_classes": 10})
    shape = (3, 32, 32)
    (reached,) = prune_in_steps(model, shape, criterion=criterion)
    assert reached > 0.3
    assert model(torch.zeros(2, *shape)).shape == (2, 10)
