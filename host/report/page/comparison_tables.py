"""The tables of a page: a line for each row, real boards and emulated ones in tables of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from host.ledger.rows import read_setting
from host.report.best import Best, find_best, is_best
from host.report.cells import choose_decimals, clean_text, format_interval
from host.report.comparison import tell_setting
from host.report.figures import TITLES
from host.report.flags import MEANINGS
from host.report.page.entries import Arranged, Entry, shorten
from host.report.page.measures import Measure, list_measured, write_figures

Row = Mapping[str, Any]


class Heading(NamedTuple):
    """The head of a column. `first` is the direction that a reader wants first when sorting by it."""

    key: str
    title: str
    unit: str
    is_number: bool
    first: str


class Cell(NamedTuple):
    """One place of a table. `value` is what it is sorted by, None where nothing was measured.

    `block` names the part of the row's provenance that it leads to; empty: it leads nowhere.
    """

    text: str
    value: float | str | None = None
    is_number: bool = False
    is_best: bool = False
    block: str = ""
    beside: str = ""


class Flag(NamedTuple):
    name: str
    meaning: str


class Line(NamedTuple):
    entry: Entry
    cells: tuple[Cell, ...]
    flags: tuple[Flag, ...]


class Table(NamedTuple):
    """The rows of real boards, or those of emulated ones."""

    title: str
    is_emulated: bool
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def list_tables(arranged: Arranged) -> tuple[Table, ...]:
    """What real boards measured, and apart from it what emulated ones did: they are never ranked together."""
    titles = {False: "Boards", True: "Emulated devices"}
    kinds = dict.fromkeys(entry.row["is_emulated"] for entry in arranged.entries)
    return tuple(_make_table(arranged, titles[kind], kind) for kind in kinds)


def _make_table(arranged: Arranged, title: str, is_emulated: bool) -> Table:
    entries = [entry for entry in arranged.entries if entry.row["is_emulated"] == is_emulated]
    rows = [entry.row for entry in entries]
    names = [name for name in (*arranged.varying, *arranged.apart) if name != "is_emulated"]
    measures = list_measured(rows)
    columns = [[Cell(entry.variant, entry.variant) for entry in entries]]
    columns += [[_tell(name, row) for row in rows] for name in names]
    best = find_best(rows, [measure.field for measure in measures])
    columns += [_fill_column(measure, entries, best) for measure in measures]
    headings = [Heading("variant", "variant", "", False, "ascending")]
    headings += [Heading(name, TITLES.get(name, name), "", False, "ascending") for name in names]
    headings += [
        Heading(one.key, one.title, one.unit, True, "descending" if one.better == "more" else "ascending")
        for one in measures
    ]
    lines = zip(entries, zip(*columns, strict=True), strict=True)
    return Table(
        title,
        is_emulated,
        tuple(headings),
        tuple(Line(entry, cells, list_flags(entry.row)) for entry, cells in lines),
    )


def _tell(name: str, row: Row) -> Cell:
    value = read_setting(row, name)
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    text = "-" if value is None and name != "threads" else tell_setting(name, value)
    return Cell(shorten(text), text if number is None else number)


def _fill_column(measure: Measure, entries: Sequence[Entry], best: Best) -> list[Cell]:
    rows = [entry.row for entry in entries]
    beside = _tell_intervals(rows) if measure.key == "p50" else [""] * len(rows)
    return [
        _fill_cell(measure, row, text, more, best)
        for row, text, more in zip(rows, write_figures(measure, rows), beside, strict=True)
    ]


def _fill_cell(measure: Measure, row: Row, text: str, beside: str, best: Best) -> Cell:
    """A figure; in the place of the latency of a row without one, what became of it."""
    value = measure.read(row)
    told = clean_text(row["status"]) if measure.key == "p50" and row["status"] != "ok" else text
    block = "" if value is None else measure.block
    return Cell(told, value, True, value is not None and is_best(best, row, measure.field), block, beside)


def _tell_intervals(rows: Sequence[Row]) -> list[str]:
    decimals = choose_decimals(row["latency_ms"]["p50"] for row in rows)
    intervals = [row["latency_ms"]["p50_ci"] if row["status"] == "ok" else None for row in rows]
    return [format_interval(one, decimals) if one else "" for one in intervals]


def list_flags(row: Row) -> tuple[Flag, ...]:
    """The flags of a row with their meaning; that a device is emulated is told above its table."""
    return tuple(
        Flag(clean_text(flag), MEANINGS.get(flag, "not known to this release"))
        for flag in row["flags"]
        if flag != "emulated"
    )
