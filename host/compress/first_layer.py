"""The filters of a model's first convolution, read from its ONNX file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from host.compress.data import Floats
from host.compress.onnx_cost import CONVOLUTIONS

Array = npt.NDArray[Any]

PASSING = {"Identity", "Cast"}
"""Operators that a weight passes on its way to the convolution and stays what it is."""


def read_first_filters(model: onnx.ModelProto) -> Floats | None:
    """The weights (filters, inputs, height, width) of the first convolution, int8 ones scaled back.

    None for a model without a convolution, or whose first one computes its weights while it runs. The
    filters of a one-dimensional convolution have a height of 1; of three-dimensional ones there are none.
    """
    node = next((node for node in model.graph.node if node.op_type in CONVOLUTIONS), None)
    if node is None:
        return None
    values = _Constants(model).resolve(node.input[CONVOLUTIONS[node.op_type]])
    if values is None or values.ndim not in (3, 4) or not values.size:
        return None
    weights = values.astype(np.float32)
    return weights if weights.ndim == 4 else weights[:, :, None, :]


class _Constants:
    """The values in a graph that do not depend on its inputs, as far as weights need them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def resolve(self, name: str) -> Array | None:
        """The value of this name; None where it is not known before the model runs."""
        if name in self._tensors:
            return np.asarray(numpy_helper.to_array(self._tensors[name]))
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return next((numpy_helper.to_array(i.t) for i in node.attribute if i.name == "value"), None)
        if node.op_type in PASSING:
            return self.resolve(node.input[0])
        return self._scale(node) if node.op_type == "DequantizeLinear" else None

    def _scale(self, node: onnx.NodeProto) -> Array | None:
        """(value - zero point) · scale, the latter two one for the tensor or one for each filter."""
        values, scale, *zero = (self.resolve(name) for name in node.input if name)
        if values is None or scale is None or any(item is None for item in zero):
            return None
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [1] * values.ndim
        if scale.ndim == 1 and values.ndim:
            shape[axis] = -1
        scaled = values.astype(np.float32)
        if zero and zero[0] is not None:
            scaled = scaled - zero[0].astype(np.float32).reshape(shape)
        return np.asarray(scaled * scale.astype(np.float32).reshape(shape))
