"""What the times of operators show, in sentences: why one variant is slower than the other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from host.operators.attributing import LAYOUT
from host.operators.model_graph import DEQUANTIZE, QUANTIZE
from host.specs.operators import (
    LEAST_OTHERS,
    Finding,
    LayerCost,
    LayerRow,
    OperatorReport,
    OperatorTime,
    VariantTimes,
)

WORTH_SAYING = 0.02
"""A part of the operators' time below this is no reason for anything."""
MUCH_MORE = 1.25
MANY_NODES = 1.5
MOST_GROUPS = 4
MOST_NAMES = 3
CONVERTING = QUANTIZE | DEQUANTIZE | LAYOUT

INTEGER_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "QGemm", "DynamicQuantizeMatMul"})
AHEAD = frozenset(
    {"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"}
    | {"ROCMExecutionProvider", "MIGraphXExecutionProvider", "WebGpuExecutionProvider"}
)
"""Providers whose kernels are started and not waited for, node by node."""

CHORES = {
    "computing": ("compute",),
    "quantizing and dequantizing": ("quantize", "dequantize"),
    "changing layouts and types": ("layout", "cast"),
}
DOT_PRODUCTS = {
    "avx2": ("avx_vnni", "avx512_vnni", "amx_int8"),
    "asimd": ("asimddp", "i8mm"),
}
"""Instructions that multiply and add several int8 at once, on x86 and on ARM64."""


def explain(report: OperatorReport) -> tuple[Finding, ...]:
    """Findings, the most important first: what changed, where, and what spoils the figures."""
    findings: list[Finding] = []
    if len(report.variants) == 2:
        findings += [_compare(*report.variants), _split_change(*report.variants)]
    for variant in report.variants:
        findings += _find_left_over(variant)
        findings += _find_elsewhere(variant, report.asked_provider)
    if len(report.variants) == 2:
        findings += _explain_change(report)
    findings += _find_float_layers(report)
    findings += [*_find_instructions(report), *_find_disturbances(report)]
    return tuple(findings)


def is_integer(op: str) -> bool:
    """Whether an operator computes with integers of eight bits."""
    return op.startswith("QLinear") or op in INTEGER_OPERATORS or "IntegerToFloat" in op


def _compare(one: VariantTimes, other: VariantTimes) -> Finding:
    ratio = other.latency_ms.median / one.latency_ms.median
    times = f"{_ms(other.latency_ms.median)} against {_ms(one.latency_ms.median)}"
    if not one.latency_ms.is_apart_from(other.latency_ms):
        text = f"No difference in latency can be told between {other.variant} and {one.variant}: {times}"
        return Finding(kind="latency", text=f"{text}, and some pieces say the opposite.")
    text = f"An inference of {other.variant} takes {ratio:.2f}× as long as one of {one.variant}: {times}."
    return Finding(kind="latency", text=text)


def _split_change(one: VariantTimes, other: VariantTimes) -> Finding:
    """What the difference between the operators' times is made of: computing, and two kinds of converting."""
    parts = [
        f"{word} {_sum_roles(other, roles) - _sum_roles(one, roles):+,.0f} µs"
        for word, roles in CHORES.items()
        if any(node.role in roles for variant in (one, other) for node in variant.operators)
    ]
    text = f"By operator, {other.variant} differs from {one.variant} by: {', '.join(parts)}."
    return Finding(kind="parts", text=text)


def _sum_roles(variant: VariantTimes, roles: Collection[str]) -> float:
    return _sum(node for node in variant.operators if node.role in roles)


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"


def _us(value: float) -> str:
    return f"{value:,.0f} µs"


def _share(part: float, whole: float) -> str:
    share = part / whole if whole else 0.0
    return f"{100 * share:.0f} %" if share >= 0.01 or part == 0 else "under 1 %"


def _explain_change(report: OperatorReport) -> Iterator[Finding]:
    """What the change is made of: kinds of layers, conversions, and what no operator accounts for."""
    one, other = report.variants
    rows = [row for row in report.layers if row.change_us is not None]
    groups = _group_rows(rows)
    least = WORTH_SAYING * one.operators_us
    ordered = sorted(groups.items(), key=lambda item: -abs(sum(_compute_change(row) for row in item[1])))
    told = [
        _tell_group(kind, (before, after), members)
        for (kind, before, after), members in ordered
        if abs(sum(_compute_change(row) for row in members)) >= least
    ]
    yield from told[:MOST_GROUPS]
    yield from _tell_conversions(one, other)
    if len(other.operators) > MANY_NODES * len(one.operators):
        counts = f"{len(other.operators)} nodes run instead of {len(one.operators)}"
        text = f"{other.variant} is cut into more operators: {counts}, and each one has to be started."
        yield Finding(kind="nodes", text=text)


def _group_rows(rows: Iterable[LayerRow]) -> dict[tuple[str, str, str], list[LayerRow]]:
    """Rows whose change is certain, by what they are and by what runs for them in either variant."""
    groups: dict[tuple[str, str, str], list[LayerRow]] = {}
    for row in rows:
        if row.is_certain:
            one, other = (_name_computing(cost) for cost in row.costs)
            groups.setdefault((row.kind, one, other), []).append(row)
    return groups


def _name_computing(cost: LayerCost | None) -> str:
    names = dict.fromkeys(op for op in (cost.operators if cost else ()) if op not in CONVERTING)
    return " + ".join(names) or "nothing"


def _compute_change(row: LayerRow) -> float:
    one, other = row.costs
    assert one is not None  # noqa: S101 (rows with a change have both)
    assert other is not None  # noqa: S101
    return (other.us - other.conversions_us) - (one.us - one.conversions_us)


def _tell_group(kind: str, operators: tuple[str, str], rows: Sequence[LayerRow]) -> Finding:
    before = sum(cost.us - cost.conversions_us for row in rows if (cost := row.costs[0]) is not None)
    after = sum(cost.us - cost.conversions_us for row in rows if (cost := row.costs[1]) is not None)
    word = "slower" if after > before else "faster"
    what = f"{len(rows)} × {kind} run" if len(rows) > 1 else f"{rows[0].layer} ({kind}) runs"
    one, other = operators
    as_what = f" as {other} than as {one}" if one != other else ""
    text = f"{what} {word}{as_what}: {_us(before)} became {_us(after)} ({after - before:+,.0f})."
    return Finding(kind=word, text=text)


def _tell_conversions(one: VariantTimes, other: VariantTimes) -> Iterator[Finding]:
    """Transposes, reorders and casts that the runtime put between operators."""
    for variant, reference in ((other, one), (one, other)):
        moved = [node for node in variant.operators if node.role in ("layout", "cast")]
        spent, usual = _sum(moved), _sum(n for n in reference.operators if n.role in ("layout", "cast"))
        if spent - usual >= WORTH_SAYING * variant.operators_us:
            names = _count_names(node.op for node in moved)
            text = f"Between operators {variant.variant} spends {_us(spent)} on changing layouts ({names})"
            yield Finding(kind="layout", text=f"{text}, {reference.variant} {_us(usual)}.")


def _sum(nodes: Iterable[OperatorTime]) -> float:
    return sum(node.us.median for node in nodes)


def _count_names(names: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())


def _find_left_over(variant: VariantTimes) -> Iterator[Finding]:
    """Nodes that quantize or dequantize as the model runs, and what they stand beside."""
    nodes = [node for node in variant.operators if node.role in ("quantize", "dequantize")]
    if not nodes:
        return
    spent = _sum(nodes)
    text = (
        f"{_count_names(node.op for node in nodes)} take {_share(spent, variant.operators_us)} of the "
        f"operators' time of {variant.variant} ({_us(spent)})"
    )
    edges = {name for name in variant.left_over if name.startswith("the model's")}
    inner = {name: count for name, count in variant.left_over.items() if name not in edges}
    if inner:
        beside = ", ".join(f"{name} ({count})" for name, count in list(inner.items())[:6])
        text += f": left over beside {beside}, which ran in float"
    elif edges and len(nodes) <= len(edges):
        text += f": only at {' and '.join(sorted(edges))}, where they are needed"
    yield Finding(kind="conversions", text=f"{text}.")


def _find_elsewhere(variant: VariantTimes, asked: str) -> Iterator[Finding]:
    others = [node for node in variant.operators if node.provider and node.provider != asked]
    if others:
        names = _count_names(dict.fromkeys(node.provider for node in others))
        share = _share(_sum(others), variant.operators_us)
        text = f"{len(others)} of {len(variant.operators)} nodes of {variant.variant} ran on {names}"
        yield Finding(kind="fallback", text=f"{text}, not on {asked}: {share} of the operators' time.")


def _find_float_layers(report: OperatorReport) -> Iterator[Finding]:
    """Layers that a quantized variant still computes in float."""
    for index, variant in enumerate(report.variants):
        if not any(is_integer(node.op) or node.role == "quantize" for node in variant.operators):
            continue
        rows = [
            (row, cost)
            for row in report.layers
            if (cost := row.costs[index]) is not None
            and any(word in row.kind for word in ("Conv", "Gemm", "MatMul"))
            and not any(is_integer(op) for op in cost.operators)
        ]
        spent = sum(cost.us for _, cost in rows)
        if rows and spent >= WORTH_SAYING * variant.operators_us:
            names = ", ".join(row.layer for row, _ in rows[:MOST_NAMES])
            more = f" and {len(rows) - MOST_NAMES} more" if len(rows) > MOST_NAMES else ""
            share = _share(spent, variant.operators_us)
            text = f"{variant.variant} computes {names}{more} in float: {share} of its operators' time."
            yield Finding(kind="float", text=text)


def _find_instructions(report: OperatorReport) -> Iterator[Finding]:
    """That the processor lacks dot products, said where int8 kernels ran and the processor is known."""
    told = report.integer_instructions
    uses = any(is_integer(node.op) for variant in report.variants for node in variant.operators)
    if told is None or not uses or not report.provider.startswith("CPU"):
        return
    family = "avx2" if "avx2" in told else "asimd"
    wanted = DOT_PRODUCTS[family]
    if not set(wanted) & set(told):
        text = f"The processor has none of {', '.join(wanted)}: int8 kernels do without dot products."
        yield Finding(kind="processor", text=text)


def _find_disturbances(report: OperatorReport) -> Iterator[Finding]:
    """What makes the figures themselves doubtful."""
    others = max((variant.others or 0.0 for variant in report.variants), default=0.0)
    if others >= LEAST_OTHERS:
        text = f"Other processes took up to {100 * others:.0f} % of the usable cores: compare with care."
        yield Finding(kind="busy", text=text)
    ahead = sorted({node.provider for one in report.variants for node in one.operators} & AHEAD)
    if ahead:
        text = (
            f"Times of nodes on {', '.join(ahead)} are the host's: the accelerator may compute on after them."
        )
        yield Finding(kind="accelerator", text=text)
    for variant in report.variants:
        if variant.share >= MUCH_MORE:
            text = f"The operators of {variant.variant} add up to {variant.share:.2f}× its latency"
            text += f": tracing slows each by some {variant.excess_us:.0f} µs, the small ones most visibly."
            yield Finding(kind="overhead", text=text)
        if not variant.is_graph_known:
            text = f"The board could not tell the graph of {variant.variant} as it ran"
            yield Finding(kind="graph", text=f"{text}: layers are found by the names of nodes alone.")
        if variant.operators_left_out:
            text = f"{variant.operators_left_out} small nodes of {variant.variant} are left out"
            yield Finding(kind="bounded", text=f"{text}: the board's answer is bounded.")
