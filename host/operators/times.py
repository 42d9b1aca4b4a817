"""The pieces that a board sent become the times of nodes, operators and layers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from host.fleet.boards import Board
from host.fleet.operator_pieces import Piece, Shape, ToldEdges, ToldNode
from host.operators.attributing import Attribution, RanNode, attribute
from host.operators.explaining import explain
from host.operators.layering import Layer, Traced, arrange_layers
from host.operators.model_graph import ModelGraph
from host.specs.artifact import Artifact
from host.specs.operators import LayerCost, LayerRow, OperatorReport, OperatorTime, Span, VariantTimes
from host.specs.profile import RuntimeSettings

Key = tuple[str, str]


@dataclass(frozen=True)
class Profiled:
    """One file that is profiled, and what people call it."""

    label: str
    artifact: Artifact
    graph: ModelGraph


def assemble(
    board: Board, runtime: RuntimeSettings, profiled: Sequence[Profiled], pieces: Sequence[Sequence[Piece]]
) -> OperatorReport:
    """All that the pieces tell; `pieces` holds those of each profiled file."""
    traced = [
        Traced(one.graph, attribute(list_ran(own[0]), one.graph))
        for one, own in zip(profiled, pieces, strict=True)
    ]
    layers = arrange_layers(traced)
    variants = tuple(
        _describe_variant(one, own, part.attributions, _name_rows(layers, index))
        for index, (one, own, part) in enumerate(zip(profiled, pieces, traced, strict=True))
    )
    rows = tuple(_cost_row(layer, variants) for layer in layers)
    first = pieces[0][0]
    report = OperatorReport(
        device=board.device.name,
        board=board.facts.board,
        is_emulated=board.device.is_emulated,
        runtime=runtime.name,
        runtime_version=first.runtime_version,
        provider=first.provider,
        asked_provider=runtime.provider,
        threads=first.threads,
        batch=profiled[0].artifact.fixed_batch or runtime.batch,
        integer_instructions=first.integer_instructions,
        variants=variants,
        layers=rows,
        findings=(),
    )
    return report.model_copy(update={"findings": explain(report)})


def list_ran(piece: Piece) -> list[RanNode]:
    """The nodes in the order of running, with their tensors where the board told the graph.

    A node without a name is `Conv_3` to the trace, and nameless in the graph: there, order tells them apart.
    """
    named = {(node.name, node.op): node for node in piece.graph or () if node.name}
    nameless: dict[str, list[ToldEdges]] = {}
    for node in piece.graph or ():
        if not node.name:
            nameless.setdefault(node.op, []).append(node)
    unmatched = Counter(node.op for node in piece.nodes if (node.name, node.op) not in named)
    waiting = {op: iter(nodes) for op, nodes in nameless.items() if len(nodes) == unmatched[op]}
    ran = []
    for told in piece.nodes:
        found = named.get((told.name, told.op)) or next(waiting.get(told.op, iter(())), None)
        ran.append(RanNode(told.name, told.op, *((found.inputs, found.outputs) if found else ())))
    return ran


def _name_rows(layers: Iterable[Layer], index: int) -> dict[int, str]:
    return {at: layer.name for layer in layers for at in layer.nodes[index]}


def _describe_variant(
    one: Profiled, pieces: Sequence[Piece], attributions: Sequence[Attribution], rows: dict[int, str]
) -> VariantTimes:
    latency = _span(piece.untraced_ms.p50 for piece in pieces)
    operators = tuple(
        _describe_operator(node, pieces, attributions[at], rows[at])
        for at, node in enumerate(pieces[0].nodes)
    )
    operators_us = sum(operator.us.median for operator in operators)
    return VariantTimes(
        variant=one.label,
        model=one.artifact.model,
        variant_id=one.artifact.variant_id,
        precision=one.artifact.precision,
        latency_ms=latency,
        traced_ms=_span(piece.traced_ms.p50 for piece in pieces),
        operators_us=operators_us,
        floor_us=median(piece.floor_us for piece in pieces),
        excess_us=max(0.0, operators_us - 1000 * latency.median) / len(operators),
        inferences=sum(piece.inferences for piece in pieces),
        pieces=len(pieces),
        others=_find_most(piece.others for piece in pieces),
        operators=operators,
        operators_left_out=pieces[0].nodes_left_out,
        left_over=_count_around(attributions),
        is_graph_known=pieces[0].graph is not None,
    )


def _describe_operator(
    node: ToldNode, pieces: Sequence[Piece], attribution: Attribution, layer: str
) -> OperatorTime:
    told = [(piece, found) for piece in pieces if (found := piece.by_name.get((node.name, node.op)))]
    return OperatorTime(
        name=node.name,
        op=node.op,
        provider=node.provider,
        role=attribution.role,
        layer=layer,
        us=_span(max(0.0, found.middle_us - piece.floor_us) for piece, found in told),
        told_us=median(found.middle_us for _, found in told),
        calls=node.calls,
        inputs=tuple(_format_shape(shape) for shape in node.inputs),
        outputs=tuple(_format_shape(shape) for shape in node.outputs),
    )


def _format_shape(shape: Shape) -> str:
    dtype, extents = shape
    return f"{dtype} {'×'.join(str(extent) for extent in extents) or 'scalar'}"


def _span(values: Iterable[float]) -> Span:
    listed = sorted(values)
    return Span(median=median(listed), low=listed[0], high=listed[-1])


def _find_most(shares: Iterable[float | None]) -> float | None:
    return max((share for share in shares if share is not None), default=None)


def _count_around(attributions: Iterable[Attribution]) -> dict[str, int]:
    """Operator to how many nodes quantize or dequantize beside it."""
    found: dict[str, int] = {}
    for attribution in attributions:
        for name in attribution.around:
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _cost_row(layer: Layer, variants: Sequence[VariantTimes]) -> LayerRow:
    costs = tuple(
        _cost([variant.operators[at] for at in places], variant.excess_us)
        for places, variant in zip(layer.nodes, variants, strict=True)
    )
    change, is_certain = None, False
    if len(costs) == 2 and costs[0] is not None and costs[1] is not None:
        change = costs[1].us - costs[0].us
        is_certain = costs[0].low_us > costs[1].high_us or costs[1].low_us > costs[0].high_us
    return LayerRow(layer=layer.name, kind=layer.kind, costs=costs, change_us=change, is_certain=is_certain)


def _cost(operators: Sequence[OperatorTime], excess_us: float) -> LayerCost | None:
    if not operators:
        return None
    return LayerCost(
        us=sum(one.us.median for one in operators),
        low_us=sum(max(0.0, one.us.low - excess_us) for one in operators),
        high_us=sum(one.us.high for one in operators),
        conversions_us=sum(one.us.median for one in operators if one.role != "compute"),
        operators=tuple(one.op for one in operators),
    )
