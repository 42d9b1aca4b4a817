"""What an ONNX graph costs on paper, as far as the file tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}
SCALING = {"QuantizeLinear", "DequantizeLinear"}

CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
TRANSPOSED = {"ConvTranspose": 1}
PRODUCTS = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
"""Operators whose multiply-accumulates are counted, and which of their inputs is the weight."""

INTEGER = {"ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"}
"""Those of them that read integers as they are."""

UNCOUNTED = {"DeformConv", "Einsum", "Attention", "LSTM", "GRU", "RNN", "If", "Loop", "Scan"}
"""Operators that multiply much in ways that are not counted here: a total without them would be wrong."""


class Parameters(NamedTuple):
    """Both None where the file holds no weights."""

    total: int | None
    nonzero: int | None


def count_parameters(model: onnx.ModelProto) -> Parameters:
    """Elements of the weights: floating-point tensors, and integers that are scaled or read as they are.

    Scalars are constants, not weights; so are scales and zero points.
    """
    total = nonzero = 0
    for tensor in _find_weights(model):
        values = numpy_helper.to_array(tensor)
        total += values.size
        nonzero += int(np.count_nonzero(values))
    return Parameters(total, nonzero) if total else Parameters(None, None)


def _find_weights(model: onnx.ModelProto) -> Iterator[TensorProto]:
    whole = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    integer = [node for node in model.graph.node if node.op_type in INTEGER]
    whole |= {name for node in integer if (name := _weight_of(node)) is not None}
    scales = {name for node in model.graph.node if node.op_type in SCALING for name in node.input[1:]}
    for tensor in _find_constants(model):
        is_weight = tensor.data_type in FLOATS or tensor.name in whole
        if is_weight and tensor.dims and tensor.name not in scales:
            yield tensor


def _find_constants(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Initializers, and the values of Constant nodes under the name of what they make."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.type == onnx.AttributeProto.TENSOR:
                named = TensorProto()
                named.CopyFrom(attribute.t)
                named.name = node.output[0]
                yield named


def find_precision(model: onnx.ModelProto) -> str:
    """`int8` where tensors are quantized, else the type of most of the weights; `fp32` without weights."""
    operators = {node.op_type for node in model.graph.node}
    if operators & (INTEGER | SCALING):
        return "int8"
    counted: Counter[str] = Counter()
    for tensor in _find_weights(model):
        counted[FLOATS[tensor.data_type]] += prod(tensor.dims)
    return counted.most_common(1)[0][0] if counted else "fp32"


def count_macs(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Multiply-accumulates of convolutions and matrix products for inputs of these shapes.

    None where an extent cannot be inferred, or where operators work that are not counted here.
    """
    operators = {node.op_type for node in model.graph.node}
    if operators & UNCOUNTED or any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return None
    known = _infer_shapes(model, shapes)
    total = 0
    for node in model.graph.node:
        if node.op_type in CONVOLUTIONS | TRANSPOSED | PRODUCTS:
            cost = _count_node(node, known)
            if cost is None:
                return None
            total += cost
    return total


def _count_node(node: onnx.NodeProto, known: Mapping[str, tuple[int, ...]]) -> int | None:
    """Elements of the output times the products that each of them sums; None if a shape is unknown.

    A transposed convolution spends on each element of its input what a plain one spends on its output.
    """
    name = _weight_of(node)
    if not node.output or name is None:
        return None  # the runtime will say what is wrong with it
    made = known.get(node.input[0] if node.op_type in TRANSPOSED else node.output[0])
    if node.op_type not in PRODUCTS:
        weight = known.get(name)
        return None if made is None or weight is None else prod(made) * prod(weight[1:])
    left = known.get(node.input[0])
    if made is None or left is None:
        return None
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(made) * left[0 if is_transposed else -1] if left else None


def _weight_of(node: onnx.NodeProto) -> str | None:
    """The name of the weight that a convolution or a product reads; None where it has none."""
    at = (CONVOLUTIONS | TRANSPOSED | PRODUCTS)[node.op_type]
    return str(node.input[at]) if len(node.input) > at else None


def _infer_shapes(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that can be known when the inputs have these shapes."""
    settled = onnx.ModelProto()
    settled.CopyFrom(model)
    settled.graph.ClearField("value_info")
    nodes = _sort_nodes(list(settled.graph.node))
    settled.graph.ClearField("node")
    settled.graph.node.extend(nodes)
    for value in settled.graph.input:
        for dim, extent in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = extent
    for value in settled.graph.output:
        value.type.tensor_type.ClearField("shape")
    known = {tensor.name: tuple(tensor.dims) for tensor in _find_constants(settled)}
    try:
        inferred = shape_inference.infer_shapes(settled, data_prop=True).graph
    except (RuntimeError, shape_inference.InferenceError):
        return known  # such as an operator set that is newer than this library
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            known[value.name] = tuple(dim.dim_value for dim in dims)
    return known


def _sort_nodes(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Each node after those that it reads from.

    onnxruntime's quantizer writes its own at the end, and shape inference passes over the nodes once.
    """
    makers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    before = {at: [makers[name] for name in node.input if name in makers] for at, node in enumerate(nodes)}
    try:
        return [nodes[at] for at in TopologicalSorter(before).static_order()]
    except CycleError:
        return nodes  # the runtime will say what is wrong with it
