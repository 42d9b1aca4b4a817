"""ONNX files without what does not run: equal models give equal bytes, and none tells where it was made."""

from __future__ import annotations

import onnx
from onnx import helper


def strip_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without stack traces (they hold local paths), notes of tools and inferred shapes.

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
