"""A model whose nodes compute next to nothing: what a runtime says they take is the cost of saying it."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

from host.compress.build_store import store_blob
from host.specs.artifact import Blob

NODES = 32
OPSET = 11
IR_VERSION = 6  # the oldest onnxruntime that the agent knows reads both


def write_blank_model(folder: Path) -> Blob:
    """A chain of Neg and Abs, which no optimizer shortens, over one float; input `x` of 1×1×1×1."""
    names = ["x", *(f"x{at}" for at in range(1, NODES + 1))]
    nodes = [
        helper.make_node("Abs" if at % 2 else "Neg", [names[at]], [names[at + 1]], f"blank_{at}")
        for at in range(NODES)
    ]
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 1, 1]) for name in (names[0], names[-1])
    )
    source, result = ends
    graph = helper.make_graph(nodes, "blank", [source], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return store_blob(folder, model.SerializeToString(), ".onnx")
