from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from host.compress.cost import count_cost, count_macs
from host.compress.vision_ops import build_classifier
from tests.tiny_models import make_tiny


def test_a_cost_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 5, bias=False))
    with torch.no_grad():
        model[0].weight[0].zero_()
    cost = count_cost(model, (1, 4, 4))
    assert cost.params == 2 * 9 + 2 + 32 * 5
    assert cost.params_nonzero == cost.params - 9
    assert cost.macs == 2 * 16 * 9 + 32 * 5


@pytest.mark.parametrize("model", [make_tiny(), build_classifier("mobilenet_v2", {"num_classes": 10})])
def test_macs_agree_with_two_other_counters(model: nn.Module) -> None:
    import torch_pruning

    channels = next(model.parameters()).shape[1]
    example = torch.zeros(1, channels, 32, 32)
    ours = count_macs(model, example)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(example)
    assert ours == counter.get_total_flops() / 2  # it counts a multiplication and an addition as two
    theirs, params = torch_pruning.utils.count_ops_and_params(model, example)
    assert ours == pytest.approx(theirs, rel=0.15)  # it counts norms and activations too
    assert ours <= theirs
    assert count_cost(model, tuple(example.shape[1:])).params == params


def test_a_transposed_convolution_counts_by_its_input() -> None:
    model = nn.ConvTranspose2d(3, 5, 2, stride=2)
    example = torch.zeros(1, 3, 4, 4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    assert count_macs(model, example) == counter.get_total_flops() / 2
