from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from host.compress.pruning import hold_zeros, make_pruner, plan_sparsities
from host.compress.weight_pruning import number_blocks
from host.specs.variant import Prune
from tests.tiny_images import make_images
from tests.tiny_models import make_tiny

SCOPES = st.sampled_from(["global", "layer"])


def prune_once(model: nn.Module, **changes: Any) -> float:
    prune = Prune(**changes)
    return make_pruner(model, prune, make_images()).prune_to(prune.target)


def two_layers() -> Any:
    """Weights whose ranking can be seen: 1 to 4 in the first layer, 5 to 8 in the second."""
    model: Any = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        model[2].weight.copy_(torch.tensor([[5.0, -6.0], [7.0, -8.0]]))
    return model


def one_layer(layer: Any, values: list[float]) -> nn.Sequential:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values).view(layer.weight.shape))
    return nn.Sequential(layer)


def weights(model: Any) -> list[list[float]]:
    return [layer.weight.flatten().tolist() for layer in model if hasattr(layer, "weight")]


def test_global_l1_takes_the_smallest_weights_of_the_whole_model() -> None:
    model = two_layers()
    assert prune_once(model, granularity="weight", sparsity=0.5) == 0.5
    assert weights(model) == [[0, 0, 0, 0], [5, -6, 7, -8]]


def test_scope_layer_takes_the_smallest_weights_of_each_layer() -> None:
    model = two_layers()
    assert prune_once(model, granularity="weight", sparsity=0.5, scope="layer") == 0.5
    assert weights(model) == [[0, 0, 3, -4], [0, 0, 7, -8]]


def test_lamp_weighs_a_weight_against_what_is_not_less_in_its_layer() -> None:
    """1, 4, 9, 16 score 1/30, 4/29, 9/25 and 1; 25, 36, 49, 64 score 25/174, 36/149, 49/113 and 1."""
    model = two_layers()
    assert prune_once(model, granularity="weight", criterion="lamp", sparsity=3 / 8) == 3 / 8
    assert weights(model) == [[0, 0, 3, -4], [0, -6, 7, -8]]


def test_lamp_leaves_every_layer_something_and_counts_what_is_gone_already() -> None:
    model = two_layers()
    pruner = make_pruner(model, Prune(granularity="weight", criterion="lamp", sparsity=0.75), make_images())
    assert [pruner.prune_to(share) for share in (0.5, 0.75)] == [0.5, 0.75]
    assert weights(model) == [[0, 0, 0, -4], [0, 0, 0, -8]]


def test_lamp_within_a_layer_is_refused_for_it_would_be_l2() -> None:
    with pytest.raises(ValidationError, match="needs scope: global"):
        Prune(granularity="vector", criterion="lamp", sparsity=0.5)
    with pytest.raises(ValidationError, match="use l1 or l2"):
        Prune(granularity="pattern", criterion="lamp", pattern="2:4")


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("scope", "criterion"),
    [("global", "lamp"), *itertools.product(["global", "layer"], ["l1", "l2", "random", "taylor"])],
)
def test_weight_sparsity_is_reached_within_a_tenth_of_a_point(
    sparsity: float, scope: str, criterion: str
) -> None:
    model: Any = make_tiny(width=32)
    changes = {"sparsity": sparsity, "scope": scope, "criterion": criterion}
    reached = prune_once(model, granularity="weight", **changes)
    layers = [layer.weight for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in layers) / sum(weight.numel() for weight in layers)
    assert reached == pytest.approx(zeros)
    assert reached == pytest.approx(sparsity, abs=0.001)


def test_a_vector_is_a_row_of_a_kernel() -> None:
    model = one_layer(nn.Conv2d(1, 1, 3, bias=False), [1, 9, 1, 5, 5, 5, 6, 0, 0])
    assert prune_once(model, granularity="vector", sparsity=2 / 3) == pytest.approx(2 / 3)
    assert weights(model) == [[0, 0, 0, 5, 5, 5, 0, 0, 0]]


def test_a_vector_of_a_linear_layer_is_a_run_of_inputs_and_the_last_may_be_short() -> None:
    model = one_layer(nn.Linear(5, 2, bias=False), [1, 9, 2, 2, 7, 3, 3, 1, 2, 0.5])
    assert prune_once(model, granularity="vector", vector_size=2, sparsity=0.5) == 0.5
    assert weights(model) == [[1, 9, 0, 0, 7, 3, 3, 0, 0, 0]]


def test_a_vector_of_a_transposed_layer_runs_along_its_inputs_too() -> None:
    model = one_layer(nn.ConvTranspose2d(4, 1, 1, bias=False), [1, 1, 2, 0.5])
    assert prune_once(model, granularity="vector", vector_size=2, sparsity=0.5) == 0.5
    assert weights(model) == [[0, 0, 2, 0.5]]


def test_a_kernel_goes_as_a_whole() -> None:
    model = one_layer(nn.Conv2d(2, 1, 2, bias=False), [4, 4, 4, 0.5, 1, 1, 1, 2])
    assert prune_once(model, granularity="kernel", criterion="l2", sparsity=0.5) == 0.5
    assert weights(model) == [[4, 4, 4, 0.5, 0, 0, 0, 0]]


def test_a_kernel_of_a_linear_layer_is_one_weight() -> None:
    model = one_layer(nn.Linear(4, 1, bias=False), [4, -3, 1, 2])
    assert prune_once(model, granularity="kernel", sparsity=0.5) == 0.5
    assert weights(model) == [[4, -3, 0, 0]]


def test_in_the_global_scope_units_compete_by_their_mean() -> None:
    """A row of three weights of 2 sums to more than the run of two of 2.5, but its mean is smaller."""
    row = one_layer(nn.Conv2d(1, 1, (1, 3), bias=False), [2, 2, 2])
    run = one_layer(nn.Linear(2, 1, bias=False), [2.5, 2.5])
    model = nn.Sequential(row[0], run[0])
    prune_once(model, granularity="vector", vector_size=2, sparsity=0.6, scope="global")
    assert weights(model) == [[0, 0, 0], [2.5, 2.5]]


def test_a_pattern_keeps_the_largest_of_neighbouring_inputs_at_each_place_of_the_kernel() -> None:
    model = one_layer(nn.Conv2d(4, 1, (1, 2), bias=False), [1, 8, 2, -7, -3, 6, 4, 5])
    assert prune_once(model, granularity="pattern", pattern="2:4") == 0.5
    assert weights(model) == [[0, 8, 0, -7, -3, 0, 4, 0]]


def test_a_last_group_of_a_pattern_that_is_not_full_keeps_as_many() -> None:
    model = one_layer(nn.Linear(7, 1, bias=False), [4, 3, 2, 1, 1, 3, 2])
    assert prune_once(model, granularity="pattern", pattern="2:4") == pytest.approx(3 / 7)
    assert weights(model) == [[4, 3, 0, 0, 0, 3, 2]]


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 8, 3, groups=8)])
def test_a_pattern_leaves_depthwise_layers_alone(layer: nn.Module) -> None:
    assert prune_once(nn.Sequential(layer), granularity="pattern", pattern="1:4") == 0


def test_what_is_zero_already_goes_before_what_scores_zero() -> None:
    """With a single class there is no gradient, so that all scores are 0."""
    model = one_layer(nn.Linear(4, 1, bias=False), [0, -3, 0, 2])
    model.insert(0, nn.Flatten())
    prune = Prune(granularity="weight", criterion="taylor", sparsity=0.5)
    assert make_pruner(model, prune, make_images((1, 2, 2), classes=1)).prune_to(0.5) == 0.5
    assert weights(model) == [[0, -3, 0, 2]]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), block=st.lists(st.integers(1, 7), min_size=4)
)
def test_blocks_are_numbered_without_gaps_and_hold_neighbours_only(
    shape: list[int], block: list[int]
) -> None:
    number = number_blocks(shape, block[: len(shape)])
    assert list(number.shape) == shape
    assert sorted(set(number.flatten().tolist())) == list(range(int(number.max()) + 1))
    for at in range(int(number.max()) + 1):
        places = (number == at).nonzero()
        spans = places.max(0).values - places.min(0).values + 1
        assert len(places) == int(spans.prod())
        assert all(span <= size for span, size in zip(spans.tolist(), block, strict=False))


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """A layer with small random weights: linear, a convolution (grouped or not), or a transposed one."""
    kind = draw(st.sampled_from(["linear", "conv1d", "conv2d", "depthwise", "transposed"]))
    inputs, outputs, kernel = draw(st.integers(1, 11)), draw(st.integers(1, 9)), draw(st.integers(1, 4))
    torch.manual_seed(draw(st.integers(0, 99)))
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    if kind == "conv1d":
        return nn.Conv1d(inputs, outputs, kernel)
    if kind == "depthwise":
        return nn.Conv2d(inputs, inputs, kernel, groups=inputs)
    made = nn.Conv2d if kind == "conv2d" else nn.ConvTranspose2d
    return made(inputs, outputs, (draw(st.integers(1, 3)), kernel))


MODELS = st.lists(layers(), min_size=1, max_size=3).map(lambda made: nn.Sequential(*made))


def learn(model: nn.Module) -> None:
    """Change the weights as fine-tuning would: all but those that are held at zero."""
    with torch.no_grad():
        for parameter, mask in hold_zeros(model):
            parameter.add_(torch.randn_like(parameter)).mul_(mask)


@settings(max_examples=25, deadline=None)
@given(
    model=MODELS,
    sparsity=st.floats(0.01, 0.99),
    schedule=st.sampled_from(["iterative", "cubic"]),
    steps=st.integers(2, 5),
    scope=SCOPES,
    granularity=st.sampled_from(["weight", "vector", "kernel"]),
    criterion=st.sampled_from(["l1", "l2", "random"]),
)
def test_each_step_reaches_its_share_and_zeros_stay(model: nn.Module, **changes: Any) -> None:
    prune = Prune(**changes)
    layers: list[Any] = list(model)  # type: ignore[call-overload]
    pruner = make_pruner(model, prune, make_images())
    masks = [torch.ones_like(layer.weight) for layer in layers]
    for asked in plan_sparsities(prune):
        reached = pruner.prune_to(asked)
        now = [(layer.weight != 0).float() for layer in layers]
        assert all(bool((new <= old).all()) for new, old in zip(now, masks, strict=True))
        masks = now
        kept, total = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
        assert reached == pytest.approx(1 - kept / total)
        largest = {"weight": 1, "vector": 4, "kernel": 16}[prune.granularity]
        choices = 1 if prune.effective_scope == "global" else len(masks)
        # half a unit is lost to the nearest number of units, half a weight to the nearest number of weights
        assert abs(reached - asked) * total <= choices * (largest + 1) / 2 + 1e-6
        learn(model)


@settings(max_examples=25, deadline=None)
@given(model=MODELS, sparsity=st.floats(0.01, 0.99), scope=SCOPES)
def test_a_weight_goes_only_after_all_that_are_smaller(model: nn.Module, sparsity: float, scope: str) -> None:
    before = [weight.detach().abs().clone() for weight, _ in hold_zeros(model)]
    prune_once(model, granularity="weight", sparsity=sparsity, scope=scope)
    after = [mask.bool() for _, mask in hold_zeros(model)]
    pools = list(zip(before, after, strict=True))
    if scope == "global":
        pools = [(torch.cat([x.flatten() for x in before]), torch.cat([x.flatten() for x in after]))]
    for old, kept in pools:
        assert not kept.any() or kept.all() or old[~kept].max() <= old[kept].min()


@settings(max_examples=25, deadline=None)
@given(model=MODELS, left=st.integers(1, 5), more=st.integers(1, 4))
def test_a_pattern_holds_in_every_group(model: nn.Module, left: int, more: int) -> None:
    before = [weight.detach().abs().clone() for weight, _ in hold_zeros(model)]
    of = left + more
    prune_once(model, granularity="pattern", pattern=f"{left}:{of}")
    for layer, old in zip(model, before, strict=True):  # type: ignore[call-overload]
        transposed = isinstance(layer, nn.ConvTranspose2d)
        now, old = ((each.transpose(0, 1) if transposed else each) for each in (layer.weight, old))
        for start in range(0, now.shape[1], of):
            group, whole = now[:, start : start + of] != 0, old[:, start : start + of]
            assert bool((group.sum(1) == min(left, group.shape[1])).all())
            kept_least = whole.masked_fill(~group, torch.inf).amin(1)
            assert bool((whole.masked_fill(group, 0).amax(1) <= kept_least).all())


def test_steps_go_on_from_weights_that_were_loaded_in_between() -> None:
    """As where fine-tuning is not repeated, but its result is read back."""

    def prune_in_steps(loads: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = make_tiny()
        prune = Prune(granularity="weight", sparsity=0.8, schedule="cubic", steps=3, criterion="taylor")
        pruner = make_pruner(model, prune, make_images())
        for asked in plan_sparsities(prune):
            pruner.prune_to(asked)
            learn(model)
            if loads:
                state = {name: value.clone() for name, value in model.state_dict().items()}
                learn(model)
                model.load_state_dict(state)
            torch.manual_seed(int(asked * 1000))
        return model.state_dict()

    once, again = prune_in_steps(loads=False), prune_in_steps(loads=True)
    assert all(torch.equal(once[name], again[name]) for name in once)
    zeros = [int((once[name] == 0).sum()) for name in ("0.weight", "3.weight", "8.weight")]
    total = sum(once[name].numel() for name in ("0.weight", "3.weight", "8.weight"))
    assert sum(zeros) == round(0.8 * total)


def test_the_steps_of_a_cubic_schedule_are_seen_in_the_weights() -> None:
    model = make_tiny()
    prune = Prune(granularity="weight", sparsity=0.8, schedule="cubic", steps=4)
    pruner = make_pruner(model, prune, make_images())
    reached = [pruner.prune_to(asked) for asked in plan_sparsities(prune)]
    rises = [after - before for before, after in itertools.pairwise([0.0, *reached])]
    assert rises == sorted(rises, reverse=True)
    assert reached == pytest.approx(plan_sparsities(prune), abs=0.001)
