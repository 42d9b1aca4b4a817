"""A model in an older operator set than torch's exporter writes, for the runtimes of boards that stay old.

TensorRT 8.2 (JetPack 4) documents to read opset 13 and 8.5 (JetPack 5) 17, while torch writes 18 and newer.
Little changed in between for the operators of a network: where reductions have their axes, and which types
they take. onnx's own converter knows no way from 14 to 13, and leaves attributes behind on the way to 17.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, helper, numpy_helper

from host.errors import BuildError

_AXES_AS_INPUT = frozenset(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
"""Since 18; ReduceSum since 13."""

_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "noop_with_empty_axes": (0,),
    "allowzero": (0,),
    "antialias": (0,),
    "keep_aspect_ratio_policy": (b"stretch",),
}
"""Attributes that older operators lack, with the values at which they do what those did."""


def lower_opset(model: onnx.ModelProto, opset: int, label: str) -> onnx.ModelProto:
    """The same model as a file of an older opset. Raises BuildError naming what that opset cannot say."""
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    try:
        _Lowering(lowered, opset).lower()
        onnx.checker.check_model(lowered)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise BuildError(
            f"{label}: it cannot be written in opset {opset}: {str(error).splitlines()[0]}",
            "Ask for a newer one with `export: {opset: N}`.",
        ) from error
    return lowered


class _Lowering:
    """One model on its way down. Its methods raise ValueError where there is none."""

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self._model = model
        self._opset = opset
        self._constants = {one.name: one for one in model.graph.initializer}

    def lower(self) -> None:
        if self._model.functions:
            raise ValueError("it calls functions of its own")
        graph = self._model.graph
        nodes = [lowered for node in graph.node for lowered in self._lower_node(node)]
        del graph.node[:]
        graph.node.extend(nodes)
        self._drop_unread()
        for entry in self._model.opset_import:
            if entry.domain == "":
                entry.version = self._opset
        imports = list(self._model.opset_import)
        self._model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)

    def _lower_node(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if node.domain != "":
            return [node]
        if node.op_type == "HardSwish" and self._opset < 14:
            return _split_hard_swish(node)
        schema = self._find_schema(node.op_type)
        if node.op_type in _AXES_AS_INPUT and self._opset < 18:
            self._move_axes(node)
        for attribute in [one for one in node.attribute if one.name not in schema.attributes]:
            if not self._has_no_effect(node, attribute):
                raise ValueError(f"its {node.op_type} has no {attribute.name}")
            node.attribute.remove(attribute)
        return [node]

    def _find_schema(self, operator: str) -> defs.OpSchema:
        try:
            return defs.get_schema(operator, self._opset, "")
        except defs.SchemaError as error:
            raise ValueError(f"it has no {operator}") from error

    def _has_no_effect(self, node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
        """Whether the older operator does the same without an attribute that it has not."""
        if node.op_type == "Split" and attribute.name == "num_outputs":
            # Equal parts, as before. A smaller rest is new, and older operators refuse it as the file opens.
            return bool(helper.get_attribute_value(attribute) == len(node.output))
        if node.op_type == "Reshape" and attribute.name == "allowzero":
            shape = self._read_constant(node, 1)
            if shape is not None and 0 not in shape:
                return True
        return helper.get_attribute_value(attribute) in _WITHOUT_EFFECT.get(attribute.name, ())

    def _read_constant(self, node: onnx.NodeProto, place: int) -> npt.NDArray[np.int64] | None:
        found = self._constants.get(node.input[place])
        return None if found is None else numpy_helper.to_array(found).astype(np.int64).reshape(-1)

    def _move_axes(self, node: onnx.NodeProto) -> None:
        """Axes that are an input become an attribute."""
        if len(node.input) < 2 or not node.input[1]:
            return
        axes = self._read_constant(node, 1)
        if axes is None:
            raise ValueError(f"its {node.op_type} takes axes only where they are fixed")
        del node.input[1:]
        node.attribute.append(helper.make_attribute("axes", axes.tolist()))

    def _drop_unread(self) -> None:
        """Axes that became attributes leave their constants behind."""
        graph = self._model.graph
        read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
        kept = [one for one in graph.initializer if one.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _split_hard_swish(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """x times HardSigmoid(x), by which opset 14 defines it."""
    (x,), (y,) = node.input, node.output
    gate = f"{y}_gate"
    return [
        helper.make_node("HardSigmoid", [x], [gate], f"{node.name}_gate", alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", [x, gate], [y], node.name),
    ]
