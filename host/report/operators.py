"""A profile by operator for a terminal: what the times show, then by operator, then by layer."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from host.report.cells import MISSING, choose_decimals, clean_text, format_interval, format_number
from host.report.comparison import tell_setting
from host.report.exporting import open_console
from host.report.flags import explain_flags
from host.report.table import print_lines
from host.specs.operators import LayerCost, LayerRow, OperatorReport, OperatorTime, VariantTimes

MOST_LAYERS = 20
MOST_OPERATORS = 12
LONGEST_NAME = 26
LEAST_NAME = 12
LONGEST_LABEL = 16
LEAST_RUNS = 16
SHORT = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ"}
GAP = 3  # columns of a terminal between two columns of a table
UNCERTAIN = "~"


def print_report(report: OperatorReport, console: Console | None = None) -> None:
    """Print everything that a person reads; --format json holds every node."""
    shown = console or open_console(sys.stdout)
    print_lines(shown, _tell_facts(report), "dim")
    for table in (
        _show_variants(report, shown.width),
        _show_operators(report),
        _show_layers(report, shown.width),
    ):
        shown.print()
        shown.print(table, crop=True)
    shown.print()
    print_lines(shown, _tell_notes(report), "dim")
    if report.findings:
        shown.print()
        shown.print(Text("What the times show", style="bold"))
        for finding in report.findings:
            shown.print(Padding(Text(f"• {clean_text(finding.text)}"), (0, 0, 0, 1)))


def _tell_facts(report: OperatorReport) -> list[str]:
    runtime = f"{report.runtime} {report.runtime_version}"
    threads = tell_setting("threads", report.threads)
    facts = " · ".join([runtime, report.provider, threads, tell_setting("batch", report.batch)])
    board = f"{report.device}{' (emulated)' if report.is_emulated else ''}: {report.board}"
    told = report.integer_instructions
    if told:
        board += f" · int8 instructions: {', '.join(told)}"
    return [clean_text(facts), clean_text(board)]


def _show_variants(report: OperatorReport, width: int) -> Table:
    pieces = report.variants[0].pieces
    numbers = [
        ("latency", "ms"),
        (f"of {pieces}", "pieces"),
        ("operators", "ms"),
        ("share of", "latency"),
        ("traced", "ms"),
        ("", "nodes"),
    ]
    decimals = choose_decimals(one.latency_ms.median for one in report.variants)
    lines = [_tell_variant(one, decimals) for one in report.variants]
    taken = sum(_find_widths(lines, numbers)) + GAP * len(numbers)
    table = _start("One inference")
    table.add_column("variant", no_wrap=True, vertical="bottom")
    for title, unit in numbers:
        _add_numbers(table, title, unit)
    for one, line in zip(report.variants, lines, strict=True):
        table.add_row(Text(_cut(clean_text(one.variant), max(width - taken, 8))), *line)
    return table


def _tell_variant(one: VariantTimes, decimals: int) -> list[Text]:
    latency = one.latency_ms
    cells = (
        format_number(latency.median, decimals),
        format_interval((latency.low, latency.high), decimals),
        format_number(one.operators_us / 1000, decimals),
        f"{100 * one.share:.0f} %",
        format_number(one.traced_ms.median, decimals),
        str(len(one.operators) + one.operators_left_out),
    )
    return [Text(cell) for cell in cells]


def _find_widths(lines: Sequence[Sequence[Text]], numbers: Sequence[tuple[str, str]]) -> list[int]:
    """How wide each column of numbers is, its heading of two lines included."""
    return [
        max([len(title), len(unit), *(len(line[at].plain) for line in lines)])
        for at, (title, unit) in enumerate(numbers)
    ]


def _start(title: str) -> Table:
    return Table(
        title=Text(title, style="bold cyan"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        header_style="bold",
    )


class _Spent(NamedTuple):
    """What one operator spends in one variant."""

    nodes: int
    us: float


def _show_operators(report: OperatorReport) -> Table:
    spent = [_sum_operators(variant.operators) for variant in report.variants]
    names = dict.fromkeys(name for one in spent for name in one)
    ordered = sorted(names, key=lambda name: -max(one[name].us for one in spent if name in one))
    table = _start(_title("By operator", len(ordered), MOST_OPERATORS, "operators"))
    table.add_column("operator", no_wrap=True, overflow="ellipsis", vertical="bottom")
    for title, unit in _head_columns(report, ("nodes", "µs", "share")):
        _add_numbers(table, title, unit)
    for name in ordered[:MOST_OPERATORS]:
        cells = [
            cell
            for one, variant in zip(spent, report.variants, strict=True)
            for cell in _tell_spent(one.get(name), variant)
        ]
        table.add_row(Text(clean_text(name)), *cells)
    return table


def _head_columns(report: OperatorReport, units: Sequence[str]) -> list[tuple[str, str]]:
    """The variant and the unit of each column; the variant stands above its first one, if there are two."""
    is_pair = len(report.variants) > 1
    return [
        (_cut(clean_text(variant.variant), LONGEST_LABEL) if is_pair and not at else "", unit)
        for variant in report.variants
        for at, unit in enumerate(units)
    ]


def _add_numbers(table: Table, title: str, unit: str) -> None:
    """A column that is never cut: half a number is a wrong number."""
    heading = f"{title}\n{unit}" if title else unit
    table.add_column(
        Text(heading), justify="right", no_wrap=True, min_width=max(len(title), len(unit)), vertical="bottom"
    )


def _title(title: str, found: int, most: int, what: str) -> str:
    return title if found <= most else f"{title}: {most} of {found} {what}"


def _sum_operators(operators: Iterable[OperatorTime]) -> dict[str, _Spent]:
    found: dict[str, _Spent] = {}
    for one in operators:
        known = found.get(one.op, _Spent(0, 0.0))
        found[one.op] = _Spent(known.nodes + 1, known.us + one.us.median)
    return found


def _tell_spent(spent: _Spent | None, variant: VariantTimes) -> tuple[str, str, str]:
    if spent is None:
        return MISSING, MISSING, MISSING
    share = spent.us / variant.operators_us if variant.operators_us else 0.0
    return str(spent.nodes), format_number(spent.us, 0), f"{100 * share:.0f} %"


def _show_layers(report: OperatorReport, width: int) -> Table:
    """The rows that matter, cut to the width by us: rich would cut numbers as well."""
    is_pair = len(report.variants) == 2
    rows = sorted(report.layers, key=lambda row: -_weigh(row))
    by = "the largest changes first" if is_pair else "the longest first"
    table = _start(f"{_title('By layer', len(rows), MOST_LAYERS, 'layers')}, {by}")
    numbers = [*_head_columns(report, ("µs",)), *([("", "change")] if is_pair else [])]
    lines = [_tell_row(row, is_pair) for row in rows[:MOST_LAYERS]]
    names, kinds, runs = _share_width(lines, numbers, width)
    for title in ("layer", "what it is"):
        table.add_column(title, no_wrap=True, vertical="bottom")
    for title, unit in numbers:
        _add_numbers(table, title, unit)
    if runs:
        table.add_column("what runs", no_wrap=True, vertical="bottom")
    for name, kind, *figures, ran in lines:
        cells = [Text(_cut(name.plain, names)), Text(_cut(kind.plain, kinds)), *figures]
        ran.truncate(max(runs, 1), overflow="ellipsis")
        table.add_row(*cells, *([ran] if runs else []))
    return table


def _share_width(
    lines: Sequence[Sequence[Text]], numbers: Sequence[tuple[str, str]], width: int
) -> tuple[int, int, int]:
    """How wide names of layers, their kinds and what runs may be; 0 for what has no room."""
    figures = _find_widths([line[2:] for line in lines], numbers)
    longest_name, longest_kind = (max((len(line[at].plain) for line in lines), default=0) for at in (0, 1))
    room = width - sum(figures) - GAP * (len(figures) + 1)
    kinds = min(max(longest_kind, len("what it is")), max(room - LEAST_NAME, LEAST_NAME))
    names = min(max(longest_name, len("layer")), max(room - kinds, LEAST_NAME))
    left = room - names - kinds - GAP
    return names, kinds, left if left >= LEAST_RUNS else 0


def _weigh(row: LayerRow) -> float:
    if row.change_us is not None:
        return abs(row.change_us)
    return max(cost.us for cost in row.costs if cost is not None)


def _tell_row(row: LayerRow, is_pair: bool) -> list[Text]:
    cells = [Text(_cut(clean_text(row.layer), LONGEST_NAME)), Text(clean_text(row.kind))]
    cells += [Text(MISSING if cost is None else format_number(cost.us, 0)) for cost in row.costs]
    if is_pair:
        cells.append(_tell_change(row))
    return [*cells, Text(_tell_runs(row.costs))]


def _tell_change(row: LayerRow) -> Text:
    if row.change_us is None:
        return Text(MISSING)
    if not row.is_certain:
        return Text(f"{UNCERTAIN}{row.change_us:+,.0f}", style="dim")
    return Text(f"{row.change_us:+,.0f}", style="red" if row.change_us > 0 else "green")


def _tell_runs(costs: Sequence[LayerCost | None]) -> str:
    """The operators of each variant, once where both run the same."""
    told = [MISSING if cost is None else " + ".join(_count(cost.operators)) for cost in costs]
    return clean_text(" → ".join(dict.fromkeys(told)))


def _count(names: Sequence[str]) -> list[str]:
    return [
        SHORT.get(name, name) if names.count(name) == 1 else f"{names.count(name)} {SHORT.get(name, name)}"
        for name in dict.fromkeys(names)
    ]


def _cut(text: str, width: int) -> str:
    """A text with its middle left out where it is too long: names of layers differ at both ends."""
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[-half:]}"


def _tell_notes(report: OperatorReport) -> list[str]:
    notes = [
        "The latency is of inferences without a trace; operators are timed in others, which tracing slows.",
    ]
    overheads = ", ".join(
        f"{variant.overhead + 1:.2f}× as long ({clean_text(variant.variant)})" for variant in report.variants
    )
    floor = max(variant.floor_us for variant in report.variants)
    notes.append(
        f"Traced, an inference takes {overheads}; {floor:.1f} µs of that in each node are subtracted."
    )
    if any(op in SHORT for row in report.layers for cost in row.costs if cost for op in cost.operators):
        notes.append("Q: QuantizeLinear, DQ: DequantizeLinear")
    if any(row.change_us is not None and not row.is_certain for row in report.layers):
        notes.append(f"{UNCERTAIN} within what pieces and tracing differ by: no change can be told")
    return [*notes, *(explain_flags({"emulated"}) if report.is_emulated else ())]
