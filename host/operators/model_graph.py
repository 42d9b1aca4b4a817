"""An ONNX file's graph as plain data: who makes and reads a tensor, and which layer a node is of. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

QUANTIZE = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
DEQUANTIZE = frozenset({"DequantizeLinear"})
WEIGHT_INPUTS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
}
"""Operators of a layer, and which of their inputs holds its weight."""

INTEGER = frozenset({"ConvInteger", "MatMulInteger"})
CARRIERS = frozenset({*QUANTIZE, *DEQUANTIZE, "Cast", "Identity", "Transpose", "Reshape"})
"""What may stand between a weight and its layer."""

_STORED = re.compile(r"(_quantized|_rounded(_\d+)?|_transposed|_fp16)$")
_WEIGHT = re.compile(r"[._](weight|kernel|W|w)$")
_NAMELESS = re.compile(r"(onnx::|val_)?[A-Za-z]*_?\d+$")


@dataclass(frozen=True)
class ModelNode:
    """One node of a file; `is_named` is False where the name is made up from its operator and place."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    group: int = 1
    is_named: bool = True


@dataclass(frozen=True)
class ModelGraph:
    """A file's main graph; `constants` are the extents of its weights by name."""

    nodes: tuple[ModelNode, ...]
    constants: Mapping[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def makers(self) -> dict[str, int]:
        """Tensor to the place of the node that makes it."""
        return {name: at for at, node in enumerate(self.nodes) for name in node.outputs if name}

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Tensor to the places of the nodes that read it."""
        readers: dict[str, list[int]] = {}
        for at, node in enumerate(self.nodes):
            for name in node.inputs:
                readers.setdefault(name, []).append(at)
        return readers

    @cached_property
    def places(self) -> dict[str, int]:
        """Node name to its place."""
        return {node.name: at for at, node in enumerate(self.nodes)}

    @cached_property
    def layers(self) -> dict[str, int]:
        """Weight to the place of the layer that reads it; without those that several layers share."""
        found: dict[str, list[int]] = {}
        for at in range(len(self.nodes)):
            weight = self.find_weight(at)
            if weight is not None:
                found.setdefault(weight, []).append(at)
        return {name: places[0] for name, places in found.items() if len(places) == 1}

    def find_weight(self, at: int) -> str | None:
        """The name of the weight that a layer's node reads, through what only carries it."""
        index = WEIGHT_INPUTS.get(self.nodes[at].op)
        if index is None or index >= len(self.nodes[at].inputs):
            return None
        name = self.nodes[at].inputs[index]
        while name not in self.constants:
            maker = self.makers.get(name)
            if maker is None or self.nodes[maker].op not in CARRIERS:
                return None
            name = self.nodes[maker].inputs[0]
        return name


def name_layer(model: ModelGraph, at: int) -> str:
    """What people call the layer of a node: torch's name, which is that of its weight, or the node's own."""
    weight = model.find_weight(at)
    if weight is None:
        return model.nodes[at].name
    name = weight
    while (shorter := _STORED.sub("", name)) != name:
        name = shorter
    layer = _WEIGHT.sub("", name)
    return model.nodes[at].name if layer == name and _NAMELESS.fullmatch(name) else layer
