"""Rows of a table by layer, over variants whose graphs differ: the same work is one row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from host.operators.attributing import Attribution
from host.operators.model_graph import INTEGER, ModelGraph, name_layer

ELSEWHERE = "(not attributed)"
"""The row of nodes that neither their names nor their tensors lead back to the file."""


@dataclass(frozen=True)
class Traced:
    """One variant: its file's graph, and what each node that ran stands for."""

    model: ModelGraph
    attributions: tuple[Attribution, ...]


@dataclass(frozen=True)
class Layer:
    """One row: its name, what it is, and the places of the nodes that ran for it, variant by variant."""

    name: str
    kind: str
    nodes: tuple[tuple[int, ...], ...]


def arrange_layers(variants: Sequence[Traced]) -> tuple[Layer, ...]:
    """The rows, in the order of the first variant's file; then those that only others have."""
    groups = _Groups()
    for variant in variants:
        for tokens in _list_ties(variant):
            groups.unite(tokens)
    members: dict[str, list[list[int]]] = {}
    for index, variant in enumerate(variants):
        for at in range(len(variant.attributions)):
            group = _find_group(variant, at, groups)
            members.setdefault(group, [[] for _ in variants])[index].append(at)
    rows = [_describe(group, nodes, variants) for group, nodes in members.items()]
    return tuple(layer for _, layer in sorted(rows, key=lambda row: row[0]))


class _Groups:
    """Sets of words that belong together, merged as they meet."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, word: str) -> str:
        parent = self._parents.setdefault(word, word)
        if parent != word:
            parent = self._parents[word] = self.find(parent)
        return parent

    def unite(self, words: Iterable[str]) -> None:
        first, *others = (self.find(word) for word in words)
        for other in others:
            self._parents[self.find(other)] = self.find(first)


def _list_ties(variant: Traced) -> Iterator[list[str]]:
    """What belongs together: all that one node does, and an integer layer with what makes floats of it."""
    for attribution in variant.attributions:
        if attribution.covers:
            yield [word for at in attribution.covers for word in name_work(variant.model, at)]
    for at, node in enumerate(variant.model.nodes):
        if node.op in INTEGER:
            places = _follow_integers(variant.model, at)
            yield [word for place in places for word in name_work(variant.model, place)]


def name_work(model: ModelGraph, at: int) -> list[str]:
    """The names by which a node of the file is known in another variant: its layer, its own, its tensors."""
    node = model.nodes[at]
    words = [f"tensor {name}" for name in node.outputs if name]
    if node.is_named:
        words.append(f"node {node.name}")
    if model.find_weight(at) is not None:
        words.append(f"layer {name_layer(model, at)}")
    return words


def _follow_integers(model: ModelGraph, at: int) -> list[int]:
    """A product of integers, and the Cast, Mul and Add of a constant that make floats of it."""
    places = [at]
    for op in ("Cast", "Mul", "Add"):
        readers = model.readers.get(model.nodes[places[-1]].outputs[0], [])
        if len(readers) != 1 or model.nodes[readers[0]].op != op:
            break
        if op == "Add" and not any(name in model.constants for name in model.nodes[readers[0]].inputs):
            break
        places.append(readers[0])
    return places


def _find_group(variant: Traced, at: int, groups: _Groups) -> str:
    attribution = variant.attributions[at]
    if attribution.helps is not None:
        attribution = variant.attributions[attribution.helps]
    for place in sorted(attribution.covers):
        return groups.find(name_work(variant.model, place)[0])
    return ELSEWHERE


def _describe(
    group: str, nodes: Sequence[Sequence[int]], variants: Sequence[Traced]
) -> tuple[tuple[int, int], Layer]:
    """The row, and what it is sorted by: the first variant that has it, and its place in that one's file."""
    frozen = tuple(tuple(places) for places in nodes)
    if group == ELSEWHERE:
        return (len(variants), 0), Layer(ELSEWHERE, "", frozen)
    index = next(index for index, places in enumerate(nodes) if places)
    variant = variants[index]
    covered = {place for at in nodes[index] for place in variant.attributions[at].covers}
    main = _pick_main(variant.model, covered)
    name, kind = _join_names(variant.model, covered, main), _name_kind(variant.model, main)
    return (index, min(covered)), Layer(name, kind, frozen)


def _pick_main(model: ModelGraph, covered: Iterable[int]) -> int:
    """The node that a row is named after: its layer if it has one, else what makes its result."""
    listed = sorted(covered)
    return next((at for at in listed if model.find_weight(at) is not None), listed[-1])


def _join_names(model: ModelGraph, covered: Iterable[int], main: int) -> str:
    """The layer's name; of several that run as one, all of them."""
    names = dict.fromkeys(
        name_layer(model, at) for at in sorted(covered) if model.find_weight(at) is not None
    )
    return " + ".join(names) or model.nodes[main].name


def _name_kind(model: ModelGraph, main: int) -> str:
    """`depthwise 3×3 Conv`, `1×1 Conv`, `3×3 Conv of 3 channels`; else the operator."""
    node, weight = model.nodes[main], model.find_weight(main)
    extents = model.constants[weight] if weight is not None else ()
    if "Conv" not in node.op or len(extents) < 3:
        return _PLAIN.get(node.op, node.op)
    window = "×".join(str(extent) for extent in extents[2:])
    if node.group > 1 and extents[1] == 1:
        return f"depthwise {window} Conv"
    channels = extents[1] * node.group
    is_starved = channels <= FEW_CHANNELS and set(extents[2:]) != {1}
    few = f" of {channels} channel{'s' * (channels > 1)}" if is_starved else ""
    grouped = "grouped " if node.group > 1 else ""
    return f"{grouped}{window} {_PLAIN.get(node.op, node.op)}{few}"


FEW_CHANNELS = 4
_PLAIN: Mapping[str, str] = {
    "ConvInteger": "Conv",
    "QLinearConv": "Conv",
    "MatMulInteger": "MatMul",
    "QLinearMatMul": "MatMul",
    "QGemm": "Gemm",
}
