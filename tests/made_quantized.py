"""One small network in float32 and with Q/DQ nodes, written by hand, so that every node is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 16, 16)


class Writer:
    """Writes nodes; with `is_quantized`, every layer reads and makes integers, as exporters write it."""

    def __init__(self, is_quantized: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._is_quantized = is_quantized
        self._random = np.random.default_rng(0)
        self.store("step", np.float32(0.05))
        self.store("zero", np.uint8(128))

    def store(self, name: str, value: np.ndarray | np.generic) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        made = helper.make_node(op, inputs, [output], name or f"node_{output}", **attributes)
        self.nodes.append(made)
        return output

    def layer(self, op: str, source: str, layer: str, shape: tuple[int, ...], **attributes: Any) -> str:
        """A layer whose weight is called as torch calls it."""
        values = self._random.standard_normal(shape).astype(np.float32) / 3
        weight = f"{layer}.weight"
        if self._is_quantized:
            source = self.round(source)
            self.store(f"{weight}_quantized", np.round(values * 30).clip(-127, 127).astype(np.int8))
            self.store(f"{weight}_scale", np.full(shape[0], 1 / 30, dtype=np.float32))
            self.store(f"{weight}_zero_point", np.zeros(shape[0], dtype=np.int8))
            told = [f"{weight}_{part}" for part in ("quantized", "scale", "zero_point")]
            weight = self.add("DequantizeLinear", told, f"{weight}_DequantizeLinear_Output", axis=0)
        else:
            self.store(weight, values)
        return self.add(op, [source, weight], layer.replace(".", "_"), f"node_{layer}", **attributes)

    def round(self, source: str) -> str:
        """A tensor to integers and back."""
        if not self._is_quantized:
            return source
        integers = self.add("QuantizeLinear", [source, "step", "zero"], f"{source}_QuantizeLinear_Output")
        return self.add("DequantizeLinear", [integers, "step", "zero"], f"{source}_DequantizeLinear_Output")


def make_network(path: Path, *, is_quantized: bool = False) -> Path:
    """A first layer with Relu, a depthwise one with Sigmoid and Mul, which stay in float, a classifier."""
    writer = Writer(is_quantized)
    tensor = writer.layer("Conv", "image", "stem.conv", (16, 3, 3, 3), pads=[1, 1, 1, 1])
    tensor = writer.round(writer.add("Relu", [tensor], "relu"))
    tensor = writer.layer("Conv", tensor, "body.dw", (16, 1, 3, 3), pads=[1, 1, 1, 1], group=16)
    tensor = writer.round(tensor)
    gate = writer.add("Sigmoid", [tensor], "gate")
    tensor = writer.add("Mul", [tensor, gate], "gated")
    tensor = writer.layer("Conv", tensor, "body.pw", (32, 16, 1, 1))
    tensor = writer.add("GlobalAveragePool", [writer.round(tensor)], "pooled")
    tensor = writer.add("Flatten", [tensor], "flat")
    tensor = writer.layer("Gemm", tensor, "head", (10, 32), transB=1)
    writer.add("Identity", [writer.round(tensor)], "scores")
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
