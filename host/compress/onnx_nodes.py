"""The nodes of an ONNX file as plain data: who reads and writes which tensor, and which are weights."""

from __future__ import annotations

from pathlib import Path

import onnx

from host.compress.onnx_files import load_onnx
from host.operators.model_graph import ModelGraph, ModelNode


def read_model_graph(path: Path) -> ModelGraph:
    """The main graph of a file. Nodes without a name get the one that onnxruntime gives them: `Conv_3`."""
    graph = load_onnx(path).graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    nodes: list[ModelNode] = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _read_extents(node)
            continue
        nodes.append(
            ModelNode(
                name=node.name or f"{node.op_type}_{len(nodes)}",
                is_named=bool(node.name),
                op=node.op_type,
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                group=next((item.i for item in node.attribute if item.name == "group"), 1),
            )
        )
    return ModelGraph(
        nodes=tuple(nodes),
        constants=constants,
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
    )


def _read_extents(node: onnx.NodeProto) -> tuple[int, ...]:
    return next((tuple(item.t.dims) for item in node.attribute if item.name == "value"), ())
