"""The comparison as Markdown (GitHub's tables): a table for each device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from host.report.comparison import Comparison, Group, compare_rows
from host.report.figures import Column
from host.report.grid import Grid
from host.report.output import open_text

_SPECIAL = re.compile(r"([\\`*\[\]<>|~#&])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def write_markdown(rows: Sequence[Mapping[str, Any]], out: Path | TextIO) -> None:
    """Write every row, what all rows share before, and what explains them after."""
    write_markdown_sections([(None, rows)], out)


def write_markdown_sections(
    sections: Sequence[tuple[str | None, Sequence[Mapping[str, Any]]]], out: Path | TextIO
) -> None:
    """Write the comparison of each section under its heading."""
    with open_text(out) as stream:
        for heading, rows in sections:
            stream.write("" if heading is None else f"## {escape(heading)}\n\n")
            stream.write(
                "\n".join(_tell_lines(compare_rows(rows))) + "\n" if rows else "No measurements yet.\n"
            )
            stream.write("" if heading is None else "\n")


def write_markdown_grids(grids: Sequence[tuple[str | None, Grid]], out: Path | TextIO) -> None:
    """Write each grid under its heading, with its facts before and its notes after."""
    with open_text(out) as stream:
        for heading, grid in grids:
            stream.write("" if heading is None else f"## {escape(heading)}\n\n")
            stream.write("\n".join(_tell_grid(grid)) + "\n")
            stream.write("" if heading is None else "\n")


def _tell_grid(grid: Grid) -> Iterable[str]:
    if grid.facts:
        yield from (*(f"- {escape(fact)}" for fact in grid.facts), "")
    yield from tell_table([column.column for column in grid.columns])
    if grid.notes:
        yield from ("", *(f"- {escape(note)}" for note in grid.notes))


def _tell_lines(comparison: Comparison) -> Iterable[str]:
    for fact in comparison.facts:
        yield f"- {escape(fact)}"
    for group in comparison.groups:
        yield from _tell_group(comparison.left, group)
    if comparison.notes:
        yield ""
        yield from (f"- {escape(note.text)}" for note in comparison.notes)
    if comparison.unfit:
        yield from ("", f"{len(comparison.unfit)} unfit, not measured:", "")
        yield from (f"- {escape(told)}" for told in comparison.unfit)
    if comparison.failures:
        yield from ("", f"{len(comparison.failures)} failed:", "")
        yield from (f"- {escape(failure)}" for failure in comparison.failures)


def _tell_group(left: Sequence[Column], group: Group) -> Iterable[str]:
    yield from ("", f"### {escape(group.title)}", "")
    yield from tell_table((*left, *group.columns))


def tell_table(columns: Sequence[Column]) -> Iterable[str]:
    """The lines of one table."""
    yield _row(escape(column.title) for column in columns)
    yield _row("---" if column.align == "left" else "---:" for column in columns)
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield _row(f"**{escape(cell.text)}**\\*" if cell.is_best else escape(cell.text) for cell in cells)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Text that Markdown shows as it is; underscores inside a word mean nothing and stay."""
    return _SPECIAL.sub(lambda found: f"\\{found.group()}", text)
