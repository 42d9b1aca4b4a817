from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from host.compress.criteria import gather_gradients
from host.compress.pruning import make_pruner
from host.errors import BuildError
from host.specs.variant import Prune
from tests.tiny_images import make_dots, make_images
from tests.tiny_models import make_tiny

DOT = make_dots([[1.0, 0.0]], [0])
"""One image of two pixels, of class 0."""


def two_by_two(weight: list[list[float]]) -> Any:
    model: Any = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(weight))
    return model


def two_channels(first: tuple[float, float], factors: tuple[float, float], last: list[list[float]]) -> Any:
    """A 1×1 convolution of one pixel to two channels, their batch norm, and a classifier of two classes."""
    model: Any = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2, bias=False)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(first).view(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor(factors))
        model[3].weight.copy_(torch.tensor(last))
    return model


def test_gradients_are_those_of_the_mean_cross_entropy() -> None:
    model = two_by_two([[1.0, 2.0], [1.0, 2.0]])
    gather_gradients(model, make_dots([[1.0, 0.0], [0.0, 1.0]], [0, 0]))
    # both classes score alike, so softmax is a half: (softmax - label) times the input, over two images
    assert model[1].weight.grad.flatten().tolist() == pytest.approx([-0.25, -0.25, 0.25, 0.25])


def test_gathering_gradients_leaves_the_statistics_of_norms_alone() -> None:
    model = make_tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gather_gradients(model, make_images())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_taylor_takes_the_weights_that_the_loss_does_not_feel() -> None:
    """The second pixel is always 0, so its larger weights have no gradient."""
    model = two_by_two([[1.0, 2.0], [1.0, 2.0]])
    prune = Prune(granularity="weight", criterion="taylor", sparsity=0.5)
    assert make_pruner(model, prune, DOT).prune_to(0.5) == 0.5
    assert model[1].weight.tolist() == [[1, 0], [1, 0]]


def test_l1_and_l2_rank_groups_of_weights_differently() -> None:
    """Of the kernels (3, 3) and (5, 0) the first has the larger sum, the second the larger sum of squares."""
    for criterion, kept in (("l1", [3, 3, 0, 0]), ("l2", [0, 0, 5, 0])):
        model: Any = nn.Sequential(nn.Conv1d(1, 2, 2, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[[3.0, 3.0]], [[5.0, 0.0]]]))
        prune = Prune(granularity="kernel", criterion=criterion, sparsity=0.5)
        make_pruner(model, prune, DOT).prune_to(0.5)
        assert model[0].weight.flatten().tolist() == kept


@pytest.mark.parametrize("granularity", ["weight", "kernel", "channel"])
def test_a_random_choice_is_the_same_for_the_same_seed_only(granularity: str) -> None:
    def choose(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = make_tiny(width=32)
        torch.manual_seed(seed * 77 + 1)  # what went on before must not matter
        expected = torch.rand(1, generator=torch.Generator().manual_seed(seed * 77 + 1))
        prune = Prune(granularity=granularity, criterion="random", sparsity=0.5, seed=seed, scope="layer")
        make_pruner(model, prune, make_images()).prune_to(0.5)
        assert torch.equal(torch.rand(1), expected)
        return [parameter.detach() for parameter in model.parameters()]

    def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert same(choose(0), choose(0))
    assert not same(choose(0), choose(1))


@pytest.mark.parametrize(
    ("criterion", "model", "kept"),
    [
        ("l1", two_channels((3.0, -5.0), (1.0, 1.0), [[1.0, 1.0], [1.0, 1.0]]), -5),
        ("l2", two_channels((-5.0, 3.0), (1.0, 1.0), [[1.0, 1.0], [1.0, 1.0]]), -5),
        ("l2", two_channels((2.0, 3.0), (1.0, 1.0), [[9.0, 1.0], [9.0, 1.0]]), 2),  # ingoing weights count
        ("lamp", two_channels((-5.0, 3.0), (1.0, 1.0), [[1.0, 1.0], [1.0, 1.0]]), -5),
        ("bn-scale", two_channels((5.0, 3.0), (0.1, -0.2), [[1.0, 1.0], [1.0, 1.0]]), 3),
        (
            "taylor",
            two_channels((5.0, 1.0), (1.0, 1.0), [[0.0, 1.0], [0.0, -1.0]]),
            1,
        ),  # 5 · 0 reaches no class
    ],
)
def test_each_criterion_decides_which_channel_goes(criterion: str, model: Any, kept: float) -> None:
    prune = Prune(granularity="channel", criterion=criterion, sparsity=0.5, round_to=1)
    assert make_pruner(model, prune, make_dots([[1.0]], [0])).prune_to(0.5) == 0.5
    assert model[0].weight.tolist() == [[[[kept]]]]


@pytest.mark.parametrize(
    "norm",
    [nn.Identity(), nn.GroupNorm(2, 16), nn.BatchNorm2d(16, affine=False)],
    ids=["none", "group", "bare"],
)
def test_bn_scale_without_factors_of_batch_norms_is_an_error(norm: nn.Module) -> None:
    model: Any = nn.Sequential(nn.Conv2d(1, 16, 1), norm, nn.Flatten(), nn.Linear(16 * 64, 10))
    prune = Prune(granularity="channel", criterion="bn-scale", sparsity=0.5)
    with pytest.raises(BuildError, match="batch norms, and the model has none"):
        make_pruner(model, prune, make_images())


def test_taylor_on_a_model_that_fails_names_the_criterion() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 10))
    prune = Prune(granularity="weight", criterion="taylor", sparsity=0.5)
    with pytest.raises(BuildError, match="criterion taylor cannot take gradients"):
        make_pruner(model, prune, make_images()).prune_to(0.5)
