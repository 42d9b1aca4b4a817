"""The figures of a row that a page compares: how each is read and written, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from host.ledger.flat import Field
from host.ledger.naming import HIGHER_IS_BETTER, find_field, read_field
from host.ledger.ranking import MIB, find_accuracy
from host.report.cells import choose_decimals, format_accuracy, format_number

Row = Mapping[str, Any]
Block = Literal["latency", "memory", "power", "quality", "cost"]

PERCENT = 100.0


class Measure(NamedTuple):
    """One figure. `block` is the part of a row's provenance that tells how it came about."""

    key: str
    title: str
    unit: str
    block: Block
    field: Field
    scale: float = 1.0

    @property
    def better(self) -> Literal["more", "less"]:
        return "more" if self.field.name in HIGHER_IS_BETTER else "less"

    def read(self, row: Row) -> float | None:
        """The value in `unit`; None where it was not measured, or says no more than another figure."""
        if self.key == "throughput" and not _asks_for_throughput(row):
            return None
        found = read_field(row, self.field)
        return None if found is None else float(found) * self.scale


MEASURES = (
    Measure("accuracy", "accuracy", "%", "quality", find_field("accuracy"), PERCENT),
    Measure("p50", "p50", "ms", "latency", find_field("p50")),
    Measure("p90", "p90", "ms", "latency", find_field("p90")),
    Measure("p99", "p99", "ms", "latency", find_field("p99")),
    Measure("speedup", "speed-up", "×", "latency", find_field("speedup")),
    Measure("throughput", "throughput", "images/s", "latency", find_field("throughput")),
    Measure("missed", "missed", "%", "latency", find_field("paced.miss_rate"), PERCENT),
    Measure("kept", "last/first", "%", "latency", find_field("sustained.ratio"), PERCENT),
    Measure("peak", "peak", "MiB", "memory", find_field("peak")),
    Measure("energy", "energy", "mJ", "power", find_field("energy")),
    Measure("power", "power", "W", "power", find_field("power")),
    Measure("file", "file", "MiB", "cost", find_field("file"), 1 / MIB),
    Measure("packed", "packed", "MiB", "cost", find_field("packed"), 1 / MIB),
)
"""In the order of a table's columns."""


def _asks_for_throughput(row: Row) -> bool:
    return row["scenario"] in ("offline", "sustained", "paced") or row["batch"] > 1


def list_measured(rows: Sequence[Row]) -> list[Measure]:
    """The figures that any of the rows has."""
    return [one for one in MEASURES if any(one.read(row) is not None for row in rows)]


def write_figures(measure: Measure, rows: Sequence[Row]) -> list[str]:
    """A column of text: all with as many decimals as the smallest needs; `-` for what was not measured."""
    if measure.key == "accuracy":
        return [_write_accuracy(row) for row in rows]
    values = [measure.read(row) for row in rows]
    decimals = 2 if measure.key == "speedup" else choose_decimals(values)
    return [format_number(value, decimals) for value in values]


def _write_accuracy(row: Row) -> str:
    """In percent, with the change in points; marked where it is the host's."""
    accuracy, source = find_accuracy(row)
    change = None if row["is_baseline"] else row["accuracy_change"]
    mark = "†" if accuracy is not None and source == "host" else ""
    return format_accuracy(accuracy, change) + mark
