"""The columns of a comparison: which figures there are, how each is written, which may be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from host.ledger.ranking import find_accuracy
from host.ledger.rows import read_setting
from host.report import cells
from host.report.best import OF_THE_TABLE, Best, is_best
from host.report.scenarios import scenario_columns

Row = Mapping[str, Any]
TITLES = {"inference_precision": "computes in"}

DROP_ORDER = (
    *("macs", "params", "gzip", "p90", "peak", "packed", "size", "sparsity", "energy"),
    *("interval", "accuracy", "speedup"),
)
"""What a narrow table leaves out first; before these come columns that hold nothing."""


class Cell(NamedTuple):
    """The text of one place in a table."""

    text: str
    is_best: bool = False


class Column(NamedTuple):
    """One figure over all lines. `name` tells equal columns of several devices to be the same figure."""

    name: str
    title: str
    align: Literal["left", "right"]
    cells: tuple[Cell, ...]

    @property
    def is_empty(self) -> bool:
        return all(cell.text == cells.MISSING for cell in self.cells)


class Line(NamedTuple):
    """One variant with one set of settings, and its row on each device that measured it."""

    label: str
    rows: dict[str, Row]

    @property
    def first(self) -> Row:
        return next(iter(self.rows.values()))

    @property
    def measured(self) -> Row:
        """The first row that was measured, where there is one."""
        return next((row for row in self.rows.values() if row["status"] == "ok"), self.first)


def variant_columns(
    lines: Sequence[Line], apart: Sequence[str], best: Best, has_accuracy: bool
) -> list[Column]:
    """What describes a variant on every device; `apart` names the settings that tell lines apart."""
    firsts = [line.first for line in lines]
    columns = [make_column("variant", "variant", [line.label for line in lines], "left")]
    columns += [
        make_column(
            name, TITLES.get(name, name), [_tell(name, read_setting(row, name)) for row in firsts], "left"
        )
        for name in apart
    ]
    if has_accuracy:
        told = [_rows_with_accuracy(line)[0] for line in lines]
        columns += mark_best([_accuracy_column(told)], told, best)
    columns += _sparsity_columns(firsts)
    paper = [
        *size_columns(firsts),
        make_column("params", "params", [cells.format_count(row["params"]) for row in firsts]),
        make_column("macs", "MACs", [cells.format_count(row["macs"]) for row in firsts]),
    ]
    return columns + mark_best(paper, [line.measured for line in lines], best)


def device_columns(device: str, lines: Sequence[Line], best: Best, has_accuracy: bool) -> list[Column]:
    """What one device made of each line; `-` where it did not measure it."""
    rows = [line.rows.get(device) for line in lines]
    latencies = [row["latency_ms"] if row and row["status"] == "ok" else {} for row in rows]
    decimals = cells.choose_decimals(latency.get("p50") for latency in latencies)
    columns = [_accuracy_column(rows)] if has_accuracy else []
    columns += [
        make_column("p50", "p50 ms", [_format_p50(row, decimals) for row in rows]),
        make_column(
            "interval", "95 % interval", [cells.format_interval(i.get("p50_ci"), decimals) for i in latencies]
        ),
        make_column("p90", "p90 ms", [cells.format_number(i.get("p90"), decimals) for i in latencies]),
        *(make_column(*told) for told in scenario_columns(rows)),
        make_column("speedup", "speed-up", [cells.format_speedup(_look(row, "speedup")) for row in rows]),
        make_column(
            "peak", "peak MiB", [cells.format_number(_look(row, "memory_mb", "peak"), 1) for row in rows]
        ),
        _energy_column(rows),
        make_column("flags", "flags", [_format_flags(row) for row in rows], "left"),
    ]
    return mark_best(columns, rows, best)


def mark_best(columns: Iterable[Column], rows: Sequence[Row | None], best: Best) -> list[Column]:
    """The columns, with a mark where the row has the best figure of its kind."""
    marked = []
    for column in columns:
        field = OF_THE_TABLE.get(column.name)
        if field is not None:
            told = zip(column.cells, rows, strict=True)
            held = tuple(cell._replace(is_best=is_best(best, row, field)) for cell, row in told)
            marked.append(column._replace(cells=held))
        else:
            marked.append(column)
    return marked


def _sparsity_columns(rows: Sequence[Row]) -> list[Column]:
    """A column where a variant fell short of its target; else its name tells the sparsity."""
    pairs = [(row["sparsity"], row["sparsity_target"]) for row in rows]
    if not any(cells.misses_target(*pair) for pair in pairs):
        return []
    return [make_column("sparsity", "sparsity %", [cells.format_sparsity(*pair) for pair in pairs])]


SIZES = {"size": "file", "gzip": "gzip", "packed": "packed"}
"""Columns of sizes, and the titles that they have: the file, after gzip, in our own packing."""


def size_columns(rows: Sequence[Row]) -> list[Column]:
    """The sizes of files side by side in MiB; what is known of none of them is left out."""
    decimals = cells.choose_mib_decimals(row[f"{title}_bytes"] for row in rows for title in SIZES.values())
    return [
        make_column(name, f"{title} MiB", [cells.format_mib(row[f"{title}_bytes"], decimals) for row in rows])
        for name, title in SIZES.items()
        if name == "size" or any(row[f"{title}_bytes"] is not None for row in rows)
    ]


def has_one_accuracy(lines: Iterable[Line]) -> bool:
    """Whether all devices measured the same accuracy for each line, so that it stands beside the variant."""
    return all(len({_format_accuracy(row) for row in _rows_with_accuracy(line)}) == 1 for line in lines)


def _rows_with_accuracy(line: Line) -> list[Row]:
    """The rows that tell a line's accuracy: where it was measured on the device, else all."""
    rows = list(line.rows.values())
    return [row for row in rows if row["accuracy_device"] is not None] or rows


def drop_columns(columns: Iterable[Column], dropped: Iterable[str]) -> tuple[Column, ...]:
    names = set(dropped)
    return tuple(column for column in columns if column.name not in names)


def make_column(
    name: str, title: str, texts: Iterable[str], align: Literal["left", "right"] = "right"
) -> Column:
    return Column(name, title, align, tuple(Cell(text) for text in texts))


def _tell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "all" if name == "threads" and value is None else cells.clean_text(value)


def _accuracy_column(rows: Sequence[Row | None]) -> Column:
    return make_column("accuracy", "accuracy %", [_format_accuracy(row) for row in rows])


def _energy_column(rows: Sequence[Row | None]) -> Column:
    energies = [_look(row, "power", "energy_mj") for row in rows]
    decimals = cells.choose_decimals(energies)
    return make_column("energy", "energy mJ", [cells.format_number(energy, decimals) for energy in energies])


def _look(row: Row | None, *names: str) -> Any:
    found: Any = row
    for name in names:
        found = None if found is None else found[name]
    return found


def _format_accuracy(row: Row | None) -> str:
    if row is None:
        return cells.MISSING
    accuracy, source = find_accuracy(row)
    change = None if row["is_baseline"] else row["accuracy_change"]
    mark = "†" if accuracy is not None and source == "host" else ""
    return cells.format_accuracy(accuracy, change) + mark


def _format_p50(row: Row | None, decimals: int) -> str:
    if row is not None and row["status"] != "ok":
        return str(row["status"])
    return cells.format_number(_look(row, "latency_ms", "p50"), decimals)


def _format_flags(row: Row | None) -> str:
    """The flags of a row; that a device is emulated stands in its heading."""
    return cells.format_flags(flag for flag in (row["flags"] if row else ()) if flag != "emulated")
