"""One figure of every measurement, variants down and devices across (or any two other columns). Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from host.ledger.flat import Field
from host.ledger.naming import find_field, read_column, read_field
from host.report.best import Best, find_best, is_best
from host.report.cells import clean_text
from host.report.comparison import SETTINGS, label_variants, tell_facts
from host.report.flags import explain_flags
from host.report.grid import Grid, GridColumn, make_grid_column
from host.report.shown import show_value, show_values, title_field
from host.specs.profile import OPTIONS

Row = Mapping[str, Any]
STATUS = find_field("status")
MOST_TOLD = 12
"""Lines on flagged figures, and on failures, under a table; the other formats tell all."""


class Pivot(NamedTuple):
    """What stands in the cells, and what tells lines and columns apart."""

    figure: Field
    rows: Field = find_field("variant")
    columns: Field = find_field("device")


class Cells(NamedTuple):
    """The lines of a pivot: a key for each, and its measurement under each heading."""

    keys: tuple[Field, ...]
    lines: dict[tuple[Any, ...], dict[Any, Row]]
    headings: tuple[Any, ...]


def arrange_cells(rows: Sequence[Row], pivot: Pivot, first: Sequence[Field] = ()) -> Cells:
    """Each measurement in a place of its own: what tells two of one place apart becomes part of the key.

    `first` are keys that come before, such as what a table is grouped by.
    """
    headings = _read_values(rows, pivot.columns)
    keys = tuple(dict.fromkeys((*first, pivot.rows, *_find_apart(rows, pivot, headings))))
    columns = [_read_keys(rows, field) for field in keys]
    lines: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row, heading, key in zip(rows, headings, zip(*columns, strict=True), strict=True):
        number = 0
        while heading in (line := lines.setdefault((*key, number), {})):
            number += 1
        line[heading] = row
    return Cells(keys, lines, tuple(_order_headings(rows, pivot)))


def _find_apart(rows: Sequence[Row], pivot: Pivot, headings: Sequence[Any]) -> list[Field]:
    """What differs between measurements under one heading, and so must stand beside the lines."""
    fields = [_setting_field(name) for name in ("variant", "device", "model", *SETTINGS)]
    checked = [field for field in fields if field not in (pivot.rows, pivot.columns)]
    read = itemgetter("status", *(field.name for field in checked if len(field.path) == 1))
    # Of very many measurements most are alike in all that is asked here.
    kinds = {
        (heading, id(row["runtime_settings"]), read(row)): (heading, row)
        for heading, row in zip(headings, rows, strict=True)
    }
    told_headings = [heading for heading, _ in kinds.values()]
    alike = [row for _, row in kinds.values()]
    ran = [row["status"] == "ok" for row in alike]
    found = []
    for field in checked:
        seen = set(zip(told_headings, _read_values(alike, field), ran, strict=True))
        # What a board would have chosen for a measurement that did not run, nobody knows.
        told = {(heading, value) for heading, value, has_run in seen if has_run or value is not None}
        if len(told) > len({heading for heading, _ in told}):
            found.append(field)
    return found


def _setting_field(name: str) -> Field:
    return find_field(f"runtime_settings.{name}" if name in OPTIONS else name)


def _read_values(rows: Sequence[Row], field: Field) -> list[Any]:
    """The values of one column, as what can be a key."""
    values = read_column(rows, field)
    if field.kind != "json":
        return values
    return [json.dumps(one, ensure_ascii=False) if isinstance(one, dict | list) else one for one in values]


def _read_keys(rows: Sequence[Row], field: Field) -> list[Any]:
    if field.name != "variant":
        return _read_values(rows, field)
    labels = label_variants(rows)
    return [labels[row["model"], row["variant_id"]] for row in rows]


def _order_headings(rows: Sequence[Row], pivot: Pivot) -> list[Any]:
    """Numbers by size; names as they come, but emulated devices after real ones."""
    ordered = (
        sorted(rows, key=lambda row: bool(row["is_emulated"])) if pivot.columns.name == "device" else rows
    )
    found = list(dict.fromkeys(_read_values(ordered, pivot.columns)))
    if all(isinstance(value, int | float) or value is None for value in found):
        return sorted(found, key=lambda value: (value is None, value or 0))
    return found


def make_pivot(
    rows: Sequence[Row], pivot: Pivot, first: Sequence[Field] = (), most: int | None = None
) -> Grid:
    """The grid for people and for columns of a file; `most` lines of it."""
    whole = arrange_cells(rows, pivot, first)
    arranged = whole._replace(lines=dict(islice(whole.lines.items(), most)))
    best = find_best(rows, [pivot.figure])
    emulated = {row["device"] for row in rows if row["is_emulated"]}
    left = [_key_column(arranged, at, emulated) for at in range(len(arranged.keys))]
    taken = {column.name for column in left}
    right = [_figure_column(arranged, heading, pivot, best, taken) for heading in arranged.headings]
    apart = [field.name.rpartition(".")[2] for field in (*arranged.keys, pivot.columns)]
    facts = (f"{title_field(pivot.figure)} by {pivot.columns.name}", *tell_facts(_list_kinds(rows), apart))
    hidden = len(whole.lines) - len(arranged.lines)
    return Grid(facts, tuple(left), tuple(right), tuple(_tell_notes(rows, right)), hidden)


_read_kind = itemgetter(
    *("run", "device", "model", "runtime", "provider", "threads", "batch", "scenario", "status")
)


def _list_kinds(rows: Sequence[Row]) -> list[Row]:
    """One row of each kind that the facts tell apart: of very many rows most are like others."""
    return list({(_read_kind(row), id(row["runtime_settings"])): row for row in rows}.values())


def show_flags(grid: Grid, rows: Sequence[Row], pivot: Pivot, first: Sequence[Field] = ()) -> Grid:
    """The grid of `make_pivot` with a column of flags behind each figure that carries any, for files."""
    arranged = arrange_cells(rows, pivot, first)
    right: list[GridColumn] = []
    for heading, column in zip(arranged.headings, grid.right, strict=True):
        held = [line.get(heading) for line in arranged.lines.values()]
        flags = [" ".join(find_flags(row)) or None if row else None for row in held]
        right.append(column)
        if any(flags):
            right.append(make_grid_column(STATUS, flags, name=f"{column.name}.flags"))
    return grid._replace(right=tuple(right))


def _key_column(arranged: Cells, at: int, emulated: Collection[str]) -> GridColumn:
    field = arranged.keys[at]
    values = [key[at] for key in arranged.lines]
    marked = emulated if field.name == "device" else ()
    texts = [show_value(field, value) + (" (emulated)" if value in marked else "") for value in values]
    return make_grid_column(field, values, texts=texts)


def _figure_column(
    arranged: Cells, heading: Any, pivot: Pivot, best: Best, taken: Iterable[str]
) -> GridColumn:
    """The figures under one heading. `!` stands behind one that carries a flag."""
    held = [line.get(heading) for line in arranged.lines.values()]
    values = [None if row is None else read_field(row, pivot.figure) for row in held]
    texts = show_values(pivot.figure, values)
    shown = [_mark(text, row) for text, row in zip(texts, held, strict=True)]
    name = show_value(pivot.columns, heading)
    emulated = pivot.columns.name == "device" and any(row["is_emulated"] for row in held if row)
    return make_grid_column(
        pivot.figure,
        values,
        name=f"{pivot.columns.name}={name}" if name in taken else name,
        title=name + (" (emulated)" if emulated else ""),
        texts=shown,
        best=[is_best(best, row, pivot.figure) for row in held],
    )


def _mark(text: str, row: Row | None) -> str:
    if row is None:
        return text
    if row["status"] != "ok" and text == "-":
        return str(row["status"])
    return f"{text}!" if find_flags(row) and text != "-" else text


def find_flags(row: Row) -> list[str]:
    """The flags that say something of one measurement; that a device is emulated is said in its heading."""
    return [flag for flag in row["flags"] if flag != "emulated"]


def _tell_notes(rows: Sequence[Row], right: Sequence[GridColumn]) -> Iterable[str]:
    if any(cell.is_best for column in right for cell in column.column.cells):
        yield "* the best of its column, among those of one model, batch and scenario"
    flagged = [row for row in rows if find_flags(row)]
    told = [
        f"! {clean_text(row['variant'])}, {clean_text(row['device'])}: {' '.join(find_flags(row))}"
        for row in flagged
    ]
    yield from limit_lines(dict.fromkeys(told), "flagged")
    emulated = {"emulated"} if any(row["is_emulated"] for row in rows) else set()
    yield from explain_flags({flag for row in rows for flag in row["flags"]} | emulated)
    for status in ("failed", "unfit"):
        count = sum(row["status"] == status for row in rows)
        if count:
            yield f"{count} {status}: `bench results --status {status}` tells why"


def limit_lines(lines: Iterable[str], what: str) -> list[str]:
    """The first lines, and how many more there are."""
    listed = list(lines)
    more = len(listed) - MOST_TOLD
    return listed if more <= 0 else [*listed[:MOST_TOLD], f"… and {more} more {what}; --format json has all"]


def pivot_to_json(rows: Sequence[Row], pivot: Pivot) -> dict[str, Any]:
    """The pivot for programs: each line with its key, and value, status and flags under each heading."""
    arranged = arrange_cells(rows, pivot)
    devices = {row["device"] for row in rows if row["is_emulated"]}
    return {
        "figure": pivot.figure.name,
        "rows": pivot.rows.name,
        "columns": pivot.columns.name,
        "emulated": sorted(devices),
        "headings": [show_value(pivot.columns, heading) for heading in arranged.headings],
        "lines": [
            {
                **{field.name: value for field, value in zip(arranged.keys, key[:-1], strict=True)},
                "values": _tell(line, pivot, lambda row: read_field(row, pivot.figure)),
                "status": _tell(line, pivot, lambda row: row["status"]),
                "flags": _tell(line, pivot, lambda row: row["flags"]),
            }
            for key, line in arranged.lines.items()
        ],
    }


def _tell(line: Mapping[Any, Row], pivot: Pivot, read: Any) -> dict[str, Any]:
    return {show_value(pivot.columns, heading): read(row) for heading, row in line.items()}
