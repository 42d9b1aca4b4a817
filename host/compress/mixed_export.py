"""From a model of rounded layers to int8 Q/DQ nodes that give the same answers.

The float model is exported as any other, and its layers are then rewritten: weights become int8 values in
the range of their bits, inputs pass QuantizeLinear and DequantizeLinear. Activations lie in uint8, around 128
where they are signed: only where the input and the output of a convolution have one type can onnxruntime
compute it in int8, and x86 wants that type unsigned. For the same reason the ends of a range of fewer bits,
and those of a ReLU before it, become a Clip of the uint8 values, behind QuantizeLinear.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from host.compress.data import Floats
from host.compress.evaluation import run_images, score_agreement
from host.compress.export import export_model
from host.compress.fake_quantization import RoundedLayer, rounded_layers
from host.compress.stripping import serialize_model, sort_nodes, strip_model
from host.errors import BuildError

LEAST_AGREEMENT = 0.9
LEAST_DIFFERENCE = 0.01
"""How near the export must come to torch: the share of images that are named alike, and a mean difference of
scores, relative to the largest, that is always allowed.

The two sum in different orders, so that a value half-way between two steps falls to either side, and 50
layers carry that on: MobileNetV2 with 8 bits differs by 0.6 %, by 1.7 % from float32, and onnxruntime with
its optimizations from itself without them by as much. So a difference as large as that from float32 is
allowed too.
"""

ZERO_SIGNED = 128


@dataclass(frozen=True)
class Rounding:
    """How a tensor is rounded: the scale, and the stored zero, least and largest value of uint8."""

    scale: float
    zero: int
    low: int
    high: int


def export_mixed(model: nn.Module, images: Floats, opset: int, label: str) -> onnx.ModelProto:
    """A prepared model as ONNX with Q/DQ nodes, checked against torch on `images`.

    Raises BuildError naming `label` where the answers differ, or a layer cannot be found in the export.
    """
    layers = rounded_layers(model)
    plain = copy.deepcopy(model)
    for name in layers:
        parent, _, child = name.rpartition(".")
        setattr(plain.get_submodule(parent), child, plain.get_submodule(f"{name}.layer"))
    exported = export_model(plain, images, opset, label)
    rewriter = _Rewriter(exported)
    missing = [name for name, layer in layers.items() if not rewriter.rewrite(name, layer)]
    if missing:
        raise BuildError(
            f"{label}: these layers are not found in the exported file: {', '.join(missing)}",
            "Keep them in float with `exclude`.",
        )
    mixed = strip_model(rewriter.finish())
    _check_mixed(model, plain, mixed, images, label)
    return mixed


def _check_mixed(
    model: nn.Module, plain: nn.Module, mixed: onnx.ModelProto, images: Floats, label: str
) -> None:
    with torch.no_grad():
        expected, floats = (part.eval()(torch.from_numpy(images)).numpy() for part in (model, plain))
    answers = run_images(serialize_model(mixed), images)
    agreement = score_agreement(answers, expected)
    difference, allowed = (_mean_difference(other, expected) for other in (answers, floats))
    if not (agreement >= LEAST_AGREEMENT and difference <= max(allowed, LEAST_DIFFERENCE)):
        raise BuildError(
            f"{label}: the exported model disagrees with its rounding in torch: it names the same class on "
            f"{agreement:.1%} of {len(images)} images, scores differ by {difference:.2%} on average",
            "If a layer is exported differently than it trains, keep it in float with `exclude`.",
        )


def _mean_difference(answers: Floats, expected: Floats) -> float:
    return float(np.abs(answers - expected).mean() / max(np.abs(expected).max(), 1e-12))


@dataclass
class _Rewriter:
    """The graph while its layers are rewritten."""

    model: onnx.ModelProto
    _made: dict[Any, str] = field(default_factory=dict)
    _new: list[onnx.NodeProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self._values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, int] = {}
        for name in [name for node in graph.node for name in node.input] + [out.name for out in graph.output]:
            self._readers[name] = self._readers.get(name, 0) + 1

    def rewrite(self, name: str, layer: RoundedLayer) -> bool:
        """Give the nodes of the layer rounded inputs, weights and biases; whether there are any."""
        weight = layer.weight.detach().numpy()
        nodes = [node for node in self.model.graph.node if self._reads(node, name, weight)]
        for node in nodes:
            rounding = self._round_input(node, layer)
            is_turned = self._values[node.input[1]].shape != weight.shape
            node.input[1] = self._store_weight(name, layer, is_turned)
            if len(node.input) > 2 and node.input[2] in self._values:
                node.input[2] = self._store_bias(name, node.input[2], layer, rounding)
        return bool(nodes)

    def finish(self) -> onnx.ModelProto:
        """The rewritten model: nodes in an order that runs, without what nothing reads any more."""
        graph = self.model.graph
        nodes = sort_nodes([*graph.node, *self._new], {name.name for name in graph.input} | set(self._values))
        nodes = _drop_unread(nodes, {out.name for out in graph.output})
        read = {name for node in nodes for name in node.input}
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._values.items() if name in read
        )
        return self.model

    def _reads(self, node: onnx.NodeProto, name: str, weight: Floats) -> bool:
        """Whether the node is of the layer: it reads its weight, by name or, transposed, by value."""
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in self._values:
            return False
        if node.input[1] == f"{name}.weight":
            return True
        found = self._values[node.input[1]]
        return node.op_type != "Conv" and found.shape == weight.T.shape and bool((found == weight.T).all())

    def _round_input(self, node: onnx.NodeProto, layer: RoundedLayer) -> Rounding:
        bounds, signed = layer.rounding.bounds, bool(layer.rounding.is_signed)
        zero = ZERO_SIGNED if signed else 0
        rounding = Rounding(layer.rounding.scale, zero, bounds[0] + zero, bounds[1] + zero)
        source, rounding = self._absorb_activation(node.input[0], rounding)
        node.input[0] = self._quantize(source, rounding)
        return rounding

    def _absorb_activation(self, name: str, rounding: Rounding) -> tuple[str, Rounding]:
        """The tensor before a ReLU or Clip that only this input reads, and a range that does its work.

        Rounding is monotone, so clipping before it and clipping after it to rounded ends are the same.
        """
        maker = self._makers.get(name)
        if maker is None or self._readers[name] > 1 or maker.op_type not in ("Relu", "Clip"):
            return name, rounding
        ends: list[float] = [0.0, np.inf]
        if maker.op_type == "Clip":
            ends = [-np.inf, np.inf]
            for at, bound in enumerate(maker.input[1:]):
                if bound and bound not in self._values:
                    return name, rounding
                ends[at] = float(self._values[bound]) if bound else ends[at]
        steps = np.round(np.array(ends, dtype=np.float32) / np.float32(rounding.scale)) + rounding.zero
        low, high = np.clip(steps, rounding.low, rounding.high)
        return maker.input[0], Rounding(rounding.scale, rounding.zero, int(low), int(high))

    def _quantize(self, source: str, rounding: Rounding) -> str:
        """The name of the tensor, rounded; two layers that round it alike share the nodes."""
        key = source, rounding
        if key not in self._made:
            prefix = self._name_free(f"{source}_rounded")
            scale = self._store(f"{prefix}_scale", np.float32(rounding.scale))
            zero = self._store(f"zero_{rounding.zero}", np.uint8(rounding.zero))
            stored = self._add("QuantizeLinear", [source, scale, zero], f"{prefix}_quantized")
            if (rounding.low, rounding.high) != (0, 255):
                ends = [self._store(f"end_{end}", np.uint8(end)) for end in (rounding.low, rounding.high)]
                stored = self._add("Clip", [stored, *ends], f"{prefix}_clipped")
            self._made[key] = self._add("DequantizeLinear", [stored, scale, zero], prefix)
        return self._made[key]

    def _store_weight(self, name: str, layer: RoundedLayer, is_turned: bool) -> str:
        key = name, is_turned
        if key not in self._made:
            scale = layer.weight_scale
            axis = 1 if is_turned else 0
            steps = layer.round_weight().detach() / scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
            values = steps.round().to(torch.int8).numpy()
            prefix = self._name_free(f"{name}.weight_rounded")
            inputs = [
                self._store(f"{name}.weight_quantized", values.T if is_turned else values),
                self._store(f"{name}.weight_scale", scale.numpy()),
                self._store(f"{name}.weight_zero_point", np.zeros(len(scale), dtype=np.int8)),
            ]
            self._made[key] = self._add("DequantizeLinear", inputs, prefix, axis=axis)
        return self._made[key]

    def _store_bias(self, name: str, bias: str, layer: RoundedLayer, rounding: Rounding) -> str:
        """The bias in int32, in units of both scales, as integer kernels add it."""
        key = name, bias, rounding.scale
        if key not in self._made:
            scale = layer.weight_scale.numpy() * np.float32(rounding.scale)
            limit = 2**31 - 1
            values = np.clip(np.round(self._values[bias].astype(np.float64) / scale), -limit, limit)
            prefix = self._name_free(f"{name}.bias_rounded")
            inputs = [
                self._store(f"{prefix}_quantized", values.astype(np.int32)),
                self._store(f"{prefix}_scale", scale),
            ]
            self._made[key] = self._add("DequantizeLinear", inputs, prefix, axis=0)
        return self._made[key]

    def _name_free(self, wanted: str) -> str:
        taken = {output for node in self._new for output in node.output}
        return next(
            name for name in (wanted, *(f"{wanted}_{at}" for at in range(2, 9999))) if name not in taken
        )

    def _store(self, name: str, value: npt.ArrayLike) -> str:
        self._values[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        return name

    def _add(self, operator: str, inputs: list[str], output: str, axis: int | None = None) -> str:
        node = helper.make_node(operator, inputs, [output], f"{output}_{operator}")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._new.append(node)
        return output


def _drop_unread(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    needed = set(wanted)
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
