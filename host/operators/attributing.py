"""Which nodes of an ONNX file the nodes that ran stand for, though the runtime has fused and renamed them.

A runtime keeps the name of a tensor that it still makes, or of the weight that it reads, or else that of the
node that it made another one of. From there, what was fused into a node is found along the file's own graph.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from host.operators.model_graph import CARRIERS, DEQUANTIZE, QUANTIZE, ModelGraph
from host.specs.operators import Role

LAYOUT = frozenset({"ReorderInput", "ReorderOutput", "Transpose"})
CASTS = frozenset({"Cast", "MemcpyFromHost", "MemcpyToHost"})

_ADDED = re.compile(r"_token_\d+$")  # onnxruntime's, to tell a new name from those that are there
_BLOCKED = "_nchwc"  # a convolution over blocks of channels is named after the tensor that it makes
_PREFIXED = re.compile(r"^(QLinear|Fused)")  # onnxruntime's own forms of an operator


@dataclass(frozen=True)
class RanNode:
    """One node that ran; what it reads and writes is empty where the board could not tell the graph."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribution:
    """What a node that ran stands for: `covers` are the places of the file's nodes that it does the work of.

    One that only converts, or cannot be found in the file, `helps` another (its place among those that ran).
    `around` are the operators, on its float side, that made a node quantize or dequantize as the model ran.
    """

    role: Role
    covers: frozenset[int] = frozenset()
    helps: int | None = None
    around: tuple[str, ...] = ()


def attribute(ran: Sequence[RanNode], model: ModelGraph) -> tuple[Attribution, ...]:
    """What each node that ran stands for, in their order."""
    claims = _claim(ran, model)
    claimed = {tensor for tensors in claims for tensor in tensors}
    covers = [
        _walk_back(model, node, tensors, claimed) if _find_role(node, model) == "compute" else set()
        for node, tensors in zip(ran, claims, strict=True)
    ]
    _cover_rest(model, covers)
    links = _Links(ran, model, claims)
    return tuple(_settle(at, ran, model, covers, links) for at in range(len(ran)))


def _claim(ran: Sequence[RanNode], model: ModelGraph) -> list[frozenset[str]]:
    """The file's tensors that each node makes; a node that the runtime put in only moves them."""
    return [
        frozenset() if _find_role(node, model) in ("layout", "cast") else _find_tensors(node, model)
        for node in ran
    ]


def _find_tensors(node: RanNode, model: ModelGraph) -> frozenset[str]:
    made = frozenset(name for name in node.outputs if name in model.makers)
    layers = {model.layers[name] for name in node.inputs if name in model.layers}
    if not made and len(layers) == 1 and node.op not in QUANTIZE | DEQUANTIZE:
        made = frozenset(filter(None, model.nodes[layers.pop()].outputs))
    if made:
        return made
    name = _ADDED.sub("", node.name)
    for candidate in (node.name, name):
        if candidate in model.places:
            return frozenset(filter(None, model.nodes[model.places[candidate]].outputs))
    tensor = name.removesuffix(_BLOCKED)
    return frozenset({tensor} & model.makers.keys())


def _walk_back(model: ModelGraph, node: RanNode, tensors: frozenset[str], claimed: set[str]) -> set[int]:
    """The nodes behind what one makes: up to the one that it is called after, to a layer, to what others
    make, and to where integers come in.
    """
    found: set[int] = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        at = model.makers.get(tensor)
        if at is None or at in found or (tensor in claimed and tensor not in tensors):
            continue
        found.add(at)
        op = model.nodes[at].op
        if op not in DEQUANTIZE and op != _PREFIXED.sub("", node.op) and model.find_weight(at) is None:
            waiting += model.nodes[at].inputs
    return {at for at in found if not _converts(model.nodes[at].op)} or found


def _converts(op: str) -> bool:
    return op in QUANTIZE or op in DEQUANTIZE


def _cover_rest(model: ModelGraph, covers: list[set[int]]) -> None:
    """What nobody covers yet was fused into a node before it: an activation, or a sum, into its layer.

    Of several that feed it, into the one that ran last: only then is all there.
    """
    owners = {at: index for index, places in enumerate(covers) for at in places}
    for at, node in enumerate(model.nodes):  # in the order of running
        is_other = _converts(node.op) or node.op in CARRIERS or model.find_weight(at) is not None
        if at in owners or is_other:
            continue
        owner = max(_list_owners_before(model, at, owners), default=None)
        if owner is not None:
            owners[at] = owner
            covers[owner].add(at)


def _list_owners_before(model: ModelGraph, at: int, owners: Mapping[int, int]) -> Iterator[int]:
    waiting, seen = [*model.nodes[at].inputs], set()
    while waiting:
        maker = model.makers.get(waiting.pop())
        if maker is None or maker in seen:
            continue
        seen.add(maker)
        if maker in owners:
            yield owners[maker]
        elif model.find_weight(maker) is None:
            waiting += model.nodes[maker].inputs


class _Links:
    """Who reads what among the nodes that ran: by the graph that ran, or else by the file's."""

    def __init__(self, ran: Sequence[RanNode], model: ModelGraph, claims: Sequence[frozenset[str]]) -> None:
        self.read = [
            {*node.inputs}
            or {name for tensor in claimed for name in model.nodes[model.makers[tensor]].inputs}
            for node, claimed in zip(ran, claims, strict=True)
        ]
        self.made = [{*node.outputs, *claimed} for node, claimed in zip(ran, claims, strict=True)]

    @cached_property
    def _makers(self) -> dict[str, int]:
        return {name: at for at, names in enumerate(self.made) for name in names}

    @cached_property
    def _readers(self) -> dict[str, list[int]]:
        readers: dict[str, list[int]] = {}
        for at, names in enumerate(self.read):
            for name in names:
                readers.setdefault(name, []).append(at)
        return readers

    def before(self, at: int) -> list[int]:
        """The nodes that make what this one reads, in the order of running."""
        return sorted({self._makers[name] for name in self.read[at] if name in self._makers} - {at})

    def after(self, at: int) -> list[int]:
        """The nodes that read what this one makes."""
        return sorted({reader for name in self.made[at] for reader in self._readers.get(name, ())} - {at})


def _settle(
    at: int, ran: Sequence[RanNode], model: ModelGraph, covers: Sequence[set[int]], links: _Links
) -> Attribution:
    role = _find_role(ran[at], model)
    if role == "compute" and covers[at]:
        return Attribution(role, frozenset(covers[at]))
    # A tensor is quantized by what makes it, and an activation is its layer's; else it is for what reads it.
    is_result = ran[at].op in ("QuantizeLinear", "ReorderOutput") or role == "compute"
    ways = (links.before, links.after) if is_result else (links.after, links.before)
    found = (_find_nearest(at, covers, way) for way in ways)
    helps = next((one for one in found if one is not None), None)
    return Attribution(role, frozenset(), helps, _name_around(at, ran, model, links))


def _find_role(node: RanNode, model: ModelGraph) -> Role:
    if node.op in QUANTIZE:
        return "quantize"
    if node.op in DEQUANTIZE:
        return "dequantize"
    if node.op in LAYOUT and _is_inserted(node, model):
        return "layout"
    return "cast" if node.op in CASTS and _is_inserted(node, model) else "compute"


def _is_inserted(node: RanNode, model: ModelGraph) -> bool:
    """Whether the file has no such node: the runtime has put it there."""
    made = {model.nodes[model.makers[name]].op for name in node.outputs if name in model.makers}
    named = model.places.get(_ADDED.sub("", node.name))
    return node.op not in made and (named is None or model.nodes[named].op != node.op)


def _find_nearest(at: int, covers: Sequence[set[int]], step: Callable[[int], list[int]]) -> int | None:
    """The nearest node in one direction that computes something of the file."""
    waiting, seen = step(at), {at}
    while waiting:
        other = waiting.pop(0)
        if covers[other]:
            return other
        if other not in seen:
            seen.add(other)
            waiting += step(other)
    return None


def _name_around(at: int, ran: Sequence[RanNode], model: ModelGraph, links: _Links) -> tuple[str, ...]:
    """The operators on the float side of a node that converts: what could not do with integers."""
    if ran[at].op == "QuantizeLinear":
        if links.read[at] & {*model.inputs}:
            return ("the model's input",)
        others = links.before(at)
    elif ran[at].op == "DequantizeLinear":
        if links.made[at] & {*model.outputs}:
            return ("the model's output",)
        others = links.after(at)
    else:
        return ()
    return tuple(dict.fromkeys(ran[other].op for other in others))
