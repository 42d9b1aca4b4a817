"""ONNX files made by hand, small enough to know everything about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Extent = int | str | None


def make_convolution(
    path: Path,
    shape: tuple[Extent, ...] = (1, 3, 8, 8),
    *,
    opset: int = 18,
    kind: type[np.generic] = np.float32,
) -> Path:
    """Four 3×3 filters over three channels, then a 4×5 matrix; input `image`, output `scores`."""
    weights = {
        "filters": np.ones((4, 3, 3, 3), dtype=kind),
        "matrix": np.eye(4, 5, dtype=kind),
    }
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "filters"], ["mapped"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["mapped"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
        ],
        "made",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info("scores", dtype, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return save_graph(path, graph, opset)


def make_identity(path: Path, inputs: Mapping[str, tuple[int, tuple[Extent, ...]]]) -> Path:
    """A graph that returns its inputs, given as name to (element type, shape)."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs],
        "made",
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [
            helper.make_tensor_value_info(f"{name}_out", dtype, shape)
            for name, (dtype, shape) in inputs.items()
        ],
    )
    return save_graph(path, graph)


def save_graph(path: Path, graph: onnx.GraphProto, opset: int = 18) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


FLOAT, INT64, UINT8, BOOL, STRING = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.BOOL,
    TensorProto.STRING,
)
