"""The cost that an ONNX file tells of itself, against that of the torch model which it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from host.compress.cost import Cost, count_cost
from host.compress.export import export_model
from host.compress.fake_quantization import prepare_mixed
from host.compress.mixed_export import export_mixed
from host.compress.onnx_cost import count_macs, count_parameters, find_precision
from host.compress.quantization import quantize_file
from host.compress.vision_ops import build_classifier
from host.specs.variant import Quantize
from tests.tiny_models import make_tiny

SHAPE = (1, 16, 16)


class Mixture(nn.Module):
    """Grouped, transposed and plain convolutions, and a linear layer over three extents."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.grown = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.each = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grown = self.grown(torch.relu(self.grouped(self.first(x))))
        return self.each(grown.flatten(1, 2)).mean(1)


def make_images(count: int = 4, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)


def shake_norms(model: nn.Module) -> nn.Module:
    """The model with norms as training leaves them; those of a fresh one fold to biases of 0, which go."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.bias, 0.1, 0.2)
            nn.init.uniform_(layer.get_buffer("running_mean"), 0.1, 0.2)
    return model.eval()


def count_file(model: onnx.ModelProto, shape: tuple[int, ...] = SHAPE) -> tuple[int | None, int | None]:
    return count_parameters(model).total, count_macs(model, {model.graph.input[0].name: (1, *shape)})


def count_folded(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> Cost:
    """The cost once norms are folded into convolutions: these gain a bias and the norms are gone."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    cost = count_cost(model, shape)
    return cost._replace(params=cost.params - sum(norm.weight.numel() for norm in norms))


def test_nodes_need_no_order_to_be_counted() -> None:
    exported = export_model(Mixture().eval(), make_images(), 18, "m")
    costs = count_file(exported)
    assert costs[1]
    nodes = list(exported.graph.node)[::-1]
    exported.graph.ClearField("node")
    exported.graph.node.extend(nodes)
    assert count_file(exported) == costs


@pytest.mark.parametrize("make", [make_tiny, Mixture])
def test_an_exported_file_costs_what_its_torch_model_costs(make: type[nn.Module]) -> None:
    model = shake_norms(make())
    exported = export_model(model, make_images(), 18, "m")
    assert count_file(exported) == (count_folded(model).params, count_cost(model, SHAPE).macs)


def test_an_architecture_of_torchvision_costs_the_same_as_a_file() -> None:
    torch.manual_seed(0)
    model = build_classifier("shufflenet_v2_x0_5", {"num_classes": 10}).eval()
    exported = export_model(model, make_images(2, (3, 32, 32)), 18, "m")
    assert count_file(exported, (3, 32, 32))[1] == count_cost(model, (3, 32, 32)).macs


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_static_int8_costs_what_it_cost_in_float(tmp_path: Path, activation: str) -> None:
    model = shake_norms(make_tiny())
    source = tmp_path / "m.onnx"
    onnx.save(export_model(model, make_images(), 18, "m"), source)
    quantize = Quantize.model_validate({"scheme": "static-int8", "activation": activation})
    quantized = quantize_file(source, make_images(16), quantize)
    cost = count_folded(model)
    assert count_file(quantized) == (cost.params, cost.macs)
    assert find_precision(quantized) == "int8"


def test_dynamic_int8_costs_what_it_cost_in_float(tmp_path: Path) -> None:
    model = shake_norms(make_tiny())
    source, target = tmp_path / "m.onnx", tmp_path / "q.onnx"
    onnx.save(export_model(model, make_images(), 18, "m"), source)
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    quantized = onnx.load(target)
    assert {node.op_type for node in quantized.graph.node} >= {"ConvInteger", "MatMulInteger"}
    before, after = count_file(onnx.load(source)), count_file(quantized)
    assert after == before
    assert find_precision(quantized) == "int8"


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_mixed_precision_costs_what_it_cost_in_float(bits: int) -> None:
    model = shake_norms(make_tiny())
    cost = count_folded(model)
    quantize = Quantize.model_validate({"scheme": "mixed", "weights": bits, "activations": 8})
    prepare_mixed(model, quantize, make_images(16))
    exported = export_mixed(model, make_images(), 18, "m")
    assert count_file(exported) == (cost.params, cost.macs)
    assert find_precision(exported) == "int8"
