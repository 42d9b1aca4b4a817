"""Dynamic int8: weights are int8, and the scale of each layer's input is found anew in every inference.

onnxruntime's own converter gives a convolution one scale for all its channels, which costs MobileNetV2
most of its accuracy (88 % falls to 30 %). So the nodes are written here: ConvInteger or MatMulInteger makes
an integer sum, and the scale, a number for each output channel, is multiplied afterwards.

It is a scheme for size and for linear layers: on x86 onnxruntime's ConvInteger is slow, and MobileNetV2 at
64×64 takes several times as long as in float32.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from host.compress.data import Floats

INTEGER_OPERATORS = {"Conv": "ConvInteger", "Gemm": "MatMulInteger", "MatMul": "MatMulInteger"}


def quantize_dynamically(model: onnx.ModelProto, excluded: Collection[str] = ()) -> onnx.ModelProto:
    """The model with integer convolutions and linear layers, but for the nodes named in `excluded`.

    Grouped convolutions stay in float: onnxruntime has no fast integer kernel for them, and they hold few
    weights. A model in which nothing can be quantized comes back as it is.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    writer = _Writer(quantized)
    nodes = list(quantized.graph.node)
    del quantized.graph.node[:]
    for node in nodes:
        if node.name not in excluded and writer.takes(node):
            writer.replace(node)
        else:
            quantized.graph.node.append(node)
    writer.store_values()
    return quantized


class _Writer:
    """Writes integer nodes to the end of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._inputs: dict[str, tuple[str, str, str]] = {}

    def takes(self, node: onnx.NodeProto) -> bool:
        if node.op_type not in INTEGER_OPERATORS or node.input[1] not in self._values:
            return False
        told = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Conv":
            return bool(told.get("group", 1) == 1)
        plain = (told.get("alpha", 1), told.get("beta", 1), told.get("transA", 0)) == (1, 1, 0)
        return plain and self._values[node.input[1]].ndim == 2

    def replace(self, node: onnx.NodeProto) -> None:
        name, is_conv = node.output[0], node.op_type == "Conv"
        values, scale = quantize_channels(self._turn_weight(node))
        shape = (-1, *[1] * (values.ndim - 2)) if is_conv else (-1,)
        stored = values if is_conv else np.ascontiguousarray(values.T)
        self._values[f"{name}_weight_quantized"] = stored
        self._values[f"{name}_weight_scale"] = scale.reshape(shape)
        source, source_scale, zero_point = self._quantize_input(node.input[0])
        attributes = node.attribute if is_conv else ()
        self._add(
            INTEGER_OPERATORS[node.op_type],
            [source, f"{name}_weight_quantized", zero_point],
            f"{name}_steps",
            attributes,
        )
        self._add("Cast", [f"{name}_steps"], f"{name}_floats", [helper.make_attribute("to", 1)])
        self._add("Mul", [source_scale, f"{name}_weight_scale"], f"{name}_scale")
        bias = node.input[2] if len(node.input) > 2 else ""
        product = f"{name}_product" if bias else name
        self._add("Mul", [f"{name}_floats", f"{name}_scale"], product)
        if bias and is_conv:
            self._values[f"{name}_bias"] = self._values[bias].reshape(shape)
            bias = f"{name}_bias"
        if bias:
            self._add("Add", [product, bias], name)

    def store_values(self) -> None:
        """Put the initializers that are still read into the graph."""
        read = {name for node in self._graph.node for name in node.input}
        del self._graph.initializer[:]
        self._graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._values.items() if name in read
        )

    def _turn_weight(self, node: onnx.NodeProto) -> Floats:
        """The weight with its output channels first."""
        weight = self._values[node.input[1]]
        is_turned = any(item.name == "transB" and item.i for item in node.attribute)
        return weight if node.op_type == "Conv" or is_turned else weight.T

    def _quantize_input(self, name: str) -> tuple[str, str, str]:
        """A tensor as uint8, its scale and its zero point; layers that read the same one share them."""
        if name not in self._inputs:
            made = f"{name}_quantized", f"{name}_dynamic_scale", f"{name}_zero_point"
            operator = "DynamicQuantizeLinear"
            self._graph.node.append(helper.make_node(operator, [name], list(made), f"{name}_{operator}"))
            self._inputs[name] = made
        return self._inputs[name]

    def _add(
        self, operator: str, inputs: list[str], output: str, attributes: Collection[onnx.AttributeProto] = ()
    ) -> None:
        node = helper.make_node(operator, inputs, [output], f"{output}_{operator}")
        node.attribute.extend(attributes)
        self._graph.node.append(node)


def quantize_channels(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """A weight in steps from -127 to 127, and the scale of each channel of its first axis, (channels,)."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    steps = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(steps, -127, 127).astype(np.int8), scale
