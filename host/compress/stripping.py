"""ONNX files without what does not run: equal models give equal bytes, and none tells where it was made."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx
from onnx import helper


def strip_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without stack traces (they hold local paths), notes of tools and inferred shapes.

    Its nodes stand in the order that ONNX demands, which onnxruntime's quantizer does not keep.
    The IR version becomes the oldest that its operator sets allow, so that older runtimes open it too.
    """
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    stripped.ir_version = helper.find_min_ir_version_for(list(stripped.opset_import), ignore_unknown=True)
    stripped.producer_name = "boardbench"
    for field in ("producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        stripped.ClearField(field)
    graph = stripped.graph
    graph.name = "model"
    known = {item.name for item in (*graph.input, *graph.initializer)}
    nodes = sort_nodes(list(graph.node), known)
    del graph.node[:]
    graph.node.extend(nodes)
    for field in ("doc_string", "metadata_props", "value_info", "quantization_annotation"):
        graph.ClearField(field)
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    return stripped


def serialize_model(model: onnx.ModelProto) -> bytes:
    """The bytes of a model; equal models give equal bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def sort_nodes(nodes: Sequence[onnx.NodeProto], known: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes such that each comes after those that it reads, otherwise in their order."""
    makers = {name: node for node in nodes for name in node.output}
    done = {*known, ""}
    order: list[onnx.NodeProto] = []
    for wanted in nodes:
        stack = [wanted]
        while stack:
            node = stack[-1]
            waiting = [makers[name] for name in node.input if name not in done and name in makers]
            if waiting:
                stack.append(waiting[0])
                continue
            stack.pop()
            if not done.issuperset(node.output):
                order.append(node)
                done.update(node.output)
    return order
