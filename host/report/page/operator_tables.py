"""Profiles by operator, as `bench profile --format json` wrote them, for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from host.errors import UsageError
from host.report.cells import MISSING, clean_text, format_number
from host.report.page.entries import shorten
from host.specs.operators import LayerRow, OperatorReport, OperatorTime

MOST_OPERATORS = 20
MOST_LAYERS = 30


class Spent(NamedTuple):
    """What one operator, or one layer, takes of an inference of one variant; `share` of the longest."""

    text: str
    share: float


class Line(NamedTuple):
    """`change` is in µs with its sign, or empty; `is_worse` is None where no change can be told."""

    name: str
    kind: str
    spent: tuple[Spent, ...]
    change: str
    is_worse: bool | None


class Profiled(NamedTuple):
    """One profile; of what is more than a reader sees, only the count is told."""

    title: str
    facts: tuple[str, ...]
    variants: tuple[str, ...]
    operators: tuple[Line, ...]
    operators_hidden: int
    layers: tuple[Line, ...]
    layers_hidden: int
    findings: tuple[str, ...]


def read_profile(path: Path) -> OperatorReport:
    """The profile in a file. Raises UsageError where it is none."""
    hint = "Write one with: bench profile A.onnx B.onnx --device D --format json > FILE"
    try:
        return OperatorReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint) from error
    except ValidationError as error:
        raise UsageError(f"{path} is no profile of `bench profile --format json`", hint) from error


def describe_profile(report: OperatorReport) -> Profiled:
    """The tables of one profile, the largest changes first where it compares two variants."""
    operators = _list_operators(report)
    layers = _list_layers(report)
    threads = "all cores" if report.threads is None else f"threads {report.threads}"
    facts = (
        clean_text(report.board),
        f"{clean_text(report.runtime)} {clean_text(report.runtime_version)}",
        clean_text(report.provider),
        threads,
        f"batch {report.batch}",
    )
    return Profiled(
        title=shorten(report.device) + (" (emulated)" if report.is_emulated else ""),
        facts=facts,
        variants=tuple(shorten(one.variant) for one in report.variants),
        operators=tuple(operators[:MOST_OPERATORS]),
        operators_hidden=max(len(operators) - MOST_OPERATORS, 0),
        layers=tuple(layers[:MOST_LAYERS]),
        layers_hidden=max(len(layers) - MOST_LAYERS, 0),
        findings=tuple(clean_text(one.text) for one in report.findings),
    )


def _list_operators(report: OperatorReport) -> list[Line]:
    sums = [_sum_times(variant.operators) for variant in report.variants]
    names = dict.fromkeys(name for one in sums for name in one)
    longest = max((us for one in sums for us in one.values()), default=0.0)
    ordered = sorted(names, key=lambda name: -max(one.get(name, 0.0) for one in sums))
    return [
        Line(clean_text(name), "", tuple(_tell_spent(one.get(name), longest) for one in sums), "", None)
        for name in ordered
    ]


def _sum_times(operators: Iterable[OperatorTime]) -> dict[str, float]:
    """Microseconds of one inference by operator."""
    found: dict[str, float] = {}
    for one in operators:
        found[one.op] = found.get(one.op, 0.0) + one.us.median
    return found


def _tell_spent(us: float | None, longest: float) -> Spent:
    return (
        Spent(MISSING, 0.0) if us is None else Spent(format_number(us, 0), us / longest if longest else 0.0)
    )


def _list_layers(report: OperatorReport) -> list[Line]:
    longest = max((cost.us for row in report.layers for cost in row.costs if cost), default=0.0)
    ordered = sorted(report.layers, key=lambda row: -_weigh(row))
    return [_tell_layer(row, longest) for row in ordered]


def _weigh(row: LayerRow) -> float:
    if row.change_us is not None:
        return abs(row.change_us)
    return max((cost.us for cost in row.costs if cost is not None), default=0.0)


def _tell_layer(row: LayerRow, longest: float) -> Line:
    spent = tuple(_tell_spent(None if cost is None else cost.us, longest) for cost in row.costs)
    change = "" if row.change_us is None else f"{row.change_us:+,.0f}".replace("-", "\N{MINUS SIGN}")
    is_worse = row.change_us > 0 if row.change_us is not None and row.is_certain else None
    return Line(shorten(row.layer, 60), clean_text(row.kind), spent, change, is_worse)


def describe_profiles(reports: Sequence[OperatorReport]) -> tuple[Profiled, ...]:
    return tuple(describe_profile(report) for report in reports)
