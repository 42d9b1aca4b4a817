from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from host.compress.data import Split, load_split
from host.compress.evaluation import run_images, score_agreement
from host.compress.export import export_model
from host.compress.fake_quantization import (
    InputRounding,
    RoundedLayer,
    find_input_scale,
    find_weight_clips,
    find_weight_scale,
    prepare_mixed,
    round_scale,
    rounded_layers,
)
from host.compress.layer_groups import RunLayer, assign_bits
from host.compress.mixed_export import export_mixed
from host.compress.norm_folding import fold_norms
from host.compress.sensitivity import find_excluded_file, find_excluded_mixed, search_excluded
from host.compress.stripping import serialize_model
from host.compress.torch_answers import measure_accuracy
from host.compress.training import fit
from host.errors import BuildError
from host.specs.recipe import Training
from host.specs.variant import Quantize
from tests.tiny_models import make_tiny
from tests.tiny_plans import make_recipe

TRAINING = Training(epochs=2, batch_size=64, learning_rate=0.1)


def ignore(advance: float = 1, note: str = "") -> None:
    return None


def mixed(weights: int = 6, activations: int = 6, **changes: Any) -> Quantize:
    return Quantize.model_validate(
        {"scheme": "mixed", "weights": weights, "activations": activations, **changes}
    )


@pytest.fixture(scope="module")
def split() -> Split:
    return load_split(make_recipe())


@pytest.fixture(scope="module")
def trained(split: Split) -> nn.Module:
    torch.manual_seed(0)
    model = make_tiny()
    fit(model, split.training, TRAINING, tick=ignore)
    return model


def prepare(trained: nn.Module, split: Split, quantize: Quantize, **changes: Any) -> nn.Module:
    model = copy.deepcopy(trained)
    prepare_mixed(model, quantize, split.training.take(64).x, **changes)
    return model


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (4, [[7.0, -3.0, 1.0, 0.0], [-14.0, 2.0, 0.0, 2.0]]),
        (8, [[7.0, -3.25, 0.6875, 0.0], [-14.0, 1.5, 0.875, 1.125]]),
    ],
)
def test_weights_are_rounded_to_steps_of_their_channel(bits: int, expected: list[list[float]]) -> None:
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[7.0, -3.25, 0.7, 0.0], [-14.0, 1.5, 0.9, 1.1]])
    rounded = RoundedLayer(layer, bits, InputRounding(8, torch.ones(1)))
    rounded.clip.fill_(1)
    most = 2 ** (bits - 1) - 1
    scale = torch.tensor([7.0, 14.0]) / most
    torch.testing.assert_close(rounded.weight_scale, scale, rtol=2**-8, atol=0)
    steps = rounded.round_weight() / rounded.weight_scale[:, None]
    assert steps.abs().max() == most
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(rounded.round_weight(), torch.tensor(expected), rtol=2**-8, atol=0.04)


def test_six_bits_have_31_steps_to_each_side() -> None:
    weight = torch.tensor([[31.0, -31.0, 15.4, 0.4]])
    scale = find_weight_scale(weight, torch.ones(1), 31)
    assert scale.tolist() == [1.0]


def test_one_large_weight_is_clipped_where_that_serves_the_others() -> None:
    torch.manual_seed(0)
    weight = torch.cat([torch.randn(2, 500), torch.tensor([[9.0], [1.0]])], dim=1)
    clips = find_weight_clips(weight, 7)
    assert clips[0] < 0.6 < clips[1]


def test_a_dead_channel_takes_no_scale_that_its_bias_would_overflow() -> None:
    weight = torch.tensor([[1.0, -2.0], [1e-20, 0.0], [0.0, 0.0]])
    scale = find_weight_scale(weight, torch.ones(3), 127)
    assert scale[1] == scale[2] == round_scale(scale[0] * 2**-12)
    assert find_weight_scale(torch.zeros(2, 2), torch.ones(2), 127).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("least", "bits", "bounds"),
    [(0.0, 8, (0, 255)), (0.0, 4, (0, 15)), (-0.5, 8, (-128, 127)), (-0.5, 6, (-32, 31))],
)
def test_only_inputs_below_zero_need_a_sign(least: float, bits: int, bounds: tuple[int, int]) -> None:
    rounding = InputRounding(bits, torch.tensor([least, 1.0, 2.0]))
    assert rounding.bounds == bounds
    x = torch.tensor([-100.0, 100.0])
    assert (rounding(x) / rounding.scale).round().tolist() == list(bounds)


@given(st.floats(1e-6, 1e6), st.sampled_from([15, 63, 255]))
@settings(max_examples=50, deadline=None)
def test_a_scale_has_eight_significant_bits_and_spans_the_sample(largest: float, high: int) -> None:
    scale = find_input_scale(torch.linspace(0, largest, 100), 0, high)
    assert scale == scale.bfloat16().float()
    assert 0.15 * largest < scale * high < 1.01 * largest


def test_gradients_pass_within_the_range_and_move_the_scale() -> None:
    rounding = InputRounding(4, torch.tensor([0.0, 15.0]))
    with torch.no_grad():
        rounding.log_scale.zero_()  # steps of 1, up to 15
    x = torch.tensor([-1.0, 2.25, 40.0], requires_grad=True)
    rounding(x).sum().backward()
    assert x.grad is not None
    assert rounding.log_scale.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    # LSQ: below the range 0, within it what rounding did (2 - 2.25), above it the last step.
    assert rounding.log_scale.grad.item() == pytest.approx((-0.25 + 15) / (3 * 15) ** 0.5)


class PreActivation(nn.Module):
    """A norm after a convolution whose output somebody else reads too: it must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        answer: torch.Tensor = (x + self.last(self.body(self.norm(x)))).mean(dim=(2, 3))
        return answer


def test_norms_are_folded_where_that_changes_no_answer() -> None:
    torch.manual_seed(0)
    model = PreActivation()
    for norm in (model.norm, model.last):
        norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.5
    x = torch.randn(2, 1, 8, 8)
    expected = model.eval()(x)
    assert fold_norms(model, x) == 1
    assert isinstance(model.norm, nn.BatchNorm2d)
    assert isinstance(model.last, nn.Identity)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_groups_are_found_by_role_and_by_pattern_and_the_last_counts() -> None:
    names = ("features.0", "features.1", "features.2", "features.3")
    layers = [RunLayer(name, nn.Conv2d(1, 1, 1)) for name in names] + [RunLayer("head", nn.Linear(1, 1))]
    groups = {
        "inverted_residual": {"weights": 4, "activations": 6},
        "first_conv": {"weights": 8, "activations": 6},
        "features.2": {"weights": 8, "activations": 8},
        "classifier": {"weights": 8, "activations": 4},
    }
    bits = assign_bits(mixed(groups=groups), layers)
    assert bits == {
        "features.0": (8, 6),
        "features.1": (4, 6),
        "features.2": (8, 8),
        "features.3": (6, 6),
        "head": (8, 4),
    }
    with pytest.raises(BuildError, match="no layer is named featres") as caught:
        assign_bits(mixed(groups={"featres.2": {"weights": 8}}), layers)
    assert "features.2" in str(caught.value.hint)


@pytest.mark.parametrize(("weights", "activations"), [(8, 8), (6, 6), (4, 8)])
def test_the_export_answers_as_the_rounded_model_in_the_range_of_its_bits(
    trained: nn.Module, split: Split, weights: int, activations: int
) -> None:
    model = prepare(trained, split, mixed(weights, activations))
    exported = export_mixed(model, split.test.take(64).x, 18, "tiny")
    x = split.test.x
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    answers = run_images(serialize_model(exported), x)
    assert score_agreement(answers, expected) >= 0.99
    assert np.abs(answers - expected).mean() < 0.002 * np.abs(expected).max()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    most = 2 ** (weights - 1) - 1
    steps = {name: value for name, value in stored.items() if value.dtype == np.int8 and value.ndim >= 2}
    assert set(steps) == {f"{name}.weight_quantized" for name in ("0", "3", "8")}
    assert all(most * 0.2 <= np.abs(value).max() <= most for value in steps.values())
    assert all(name.endswith("_scale") for name, value in stored.items() if value.dtype == np.float32)
    assert all(value.dtype == np.int32 for name, value in stored.items() if name.endswith("bias_quantized"))
    clips = [node for node in exported.graph.node if node.op_type == "Clip"]
    spans = {int(stored[node.input[2]]) - int(stored[node.input[1]]) for node in clips}
    assert spans == (set() if activations == 8 else {2**activations - 1})


def test_excluded_layers_stay_in_float(trained: nn.Module, split: Split) -> None:
    model = prepare(trained, split, mixed(exclude="3"), excluded=["8"])
    assert list(rounded_layers(model)) == ["0"]
    exported = export_mixed(model, split.test.take(64).x, 18, "tiny")
    operators = [node.op_type for node in exported.graph.node]
    assert operators.count("QuantizeLinear") == 1


def test_training_with_rounding_keeps_zeros_and_resumes(
    trained: nn.Module, split: Split, tmp_path: Path
) -> None:
    pruned = copy.deepcopy(trained)
    layer = pruned.get_submodule("3")
    assert isinstance(layer, nn.Conv2d)
    layer.weight.data[layer.weight.abs() < layer.weight.abs().median()] = 0
    training = Training(epochs=2, batch_size=64, learning_rate=0.005, ema_decay=0.99)

    def tune(stops_after: int | None) -> nn.Module:
        model = prepare(pruned, split, mixed(4, 4))
        weight = rounded_layers(model)["3"].weight
        assert isinstance(weight, nn.Parameter)
        steps = 0

        def tick(advance: float = 1, note: str = "") -> None:
            nonlocal steps
            steps += 1
            if steps == stops_after:
                raise KeyboardInterrupt

        fit(
            model,
            split.training,
            training,
            tick=tick,
            held=[(weight, (weight != 0).float())],
            resume=tmp_path / f"{stops_after is not None}",
        )
        return model

    whole = tune(None)
    with pytest.raises(KeyboardInterrupt):
        tune(30)
    resumed = tune(10**6)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, resumed.state_dict()[name], rtol=0, atol=0, msg=name)
    before = prepare(pruned, split, mixed(4, 4))
    scales = [layer.rounding.log_scale.item() for layer in rounded_layers(whole).values()]
    assert scales != [layer.rounding.log_scale.item() for layer in rounded_layers(before).values()]
    assert measure_accuracy(whole, split.test, ignore) >= measure_accuracy(before, split.test, ignore)
    exported = export_mixed(whole, split.test.take(64).x, 18, "tiny")
    steps = next(
        numpy_helper.to_array(tensor)
        for tensor in exported.graph.initializer
        if tensor.name == "3.weight_quantized"
    )
    assert not steps[layer.weight.detach().numpy() == 0].any()


@pytest.mark.parametrize("needed", [0, 1, 3, 6])
def test_as_few_layers_as_keep_the_accuracy_are_left_out(needed: int) -> None:
    layers = [f"layer{at}" for at in range(6)]
    asked = []

    def find_drop(excluded: Any) -> float:
        asked.append(list(excluded))
        return 0.0 if len(excluded) >= needed else 0.1

    found = search_excluded(layers, lambda layer: float(layer[-1]), find_drop, 0.01)
    assert found.layers == tuple(layers[::-1][:needed])
    assert found.drop == 0.0
    assert len(asked) <= 7


def test_a_drop_that_no_layer_explains_is_an_error_with_its_figures() -> None:
    with pytest.raises(BuildError, match=r"all 2 layers in float 5.00% .* max_drop is 1.00%"):
        search_excluded(["a", "b"], len, lambda excluded: 0.05, 0.01)


def test_the_layer_that_hurts_is_found(trained: nn.Module, split: Split, tmp_path: Path) -> None:
    model = copy.deepcopy(trained)
    norm, layer = model.get_submodule("1"), model.get_submodule("3")
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(layer, nn.Conv2d)
    norm.weight.data[0] = norm.bias.data[0] = 0  # nothing comes through this channel,
    layer.weight.data[:, 0] = 1000  # so that its weights cost nothing but the scale of all others
    images, few = split.training.take(64).x, split.test.take(100)
    source = tmp_path / "float.onnx"
    source.write_bytes(serialize_model(export_model(model, few.x[:8], 18, "tiny")))
    asked = {"auto_exclude": {"max_drop": 0.02}}
    static = Quantize.model_validate({"scheme": "static-int8", **asked})
    for found in (
        find_excluded_mixed(model, mixed(8, 8, **asked), images, few),
        find_excluded_file(source, images, static, few),
    ):
        assert found.layers == ("3",)
        assert found.drop <= 0.02
    assert model.get_submodule("3") is layer  # the search works on a copy
