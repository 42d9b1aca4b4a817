"""A grid as tables on a terminal: where the width is too small, columns go on in a further block."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from host.report.cells import cut_text
from host.report.figures import Column
from host.report.grid import Grid
from host.report.table import (
    GAP,
    MAX_LINES,
    SHORTEST_NAME,
    SHORTEST_TABLE,
    column_width,
    print_lines,
    print_part,
    shorten_texts,
)

MOST_CELLS = 2000
"""Lines times columns: what a person still reads, and a terminal still prints at once."""
LONGEST_TEXT = 48
"""Columns of text: what is longer ends in an ellipsis where the table would not fit otherwise."""


def print_grids(grids: Sequence[tuple[str | None, Grid]], console: Console) -> None:
    """Print each grid under its heading, and what explains them."""
    for heading, grid in grids:
        if heading is not None:
            console.print(Text(heading, style="bold"), soft_wrap=True)
        print_grid(grid, console)
        if heading is not None:
            console.print()


def print_grid(grid: Grid, console: Console) -> None:
    """Print the grid with what explains it. Numbers are never cut, texts only with an ellipsis."""
    lines = grid.hidden + (len(grid.columns[0].values) if grid.columns else 0)
    shown = min(MAX_LINES, max(SHORTEST_TABLE, MOST_CELLS // max(len(grid.columns), 1)))
    left = [_shorten(column.column, console.width, shown) for column in grid.left]
    right = [_shorten(column.column, console.width, shown) for column in grid.right]
    print_lines(console, grid.facts, "dim")
    for block in split_blocks(left, right, console.width):
        console.print()
        print_part(console, "", block, cut=_may_be_cut(block))
    console.print()
    print_lines(console, grid.notes, "dim")
    if lines > shown:
        told = f"{shown} of {lines} lines; --format csv, json or parquet gives all."
        console.print(Text(told, style="bold"), soft_wrap=True)


def _shorten(column: Column, width: int, lines: int) -> Column:
    """The lines that are shown, of texts no more than a part of the terminal."""
    longest = max(min(LONGEST_TEXT, width // 2), SHORTEST_NAME)
    cells = column.cells[:lines]
    if column.align == "left":
        return shorten_texts(column._replace(title=cut_text(column.title, longest), cells=cells), longest)
    return column._replace(title=cut_text(column.title, longest), cells=cells)


def split_blocks(left: Sequence[Column], right: Sequence[Column], width: int) -> list[list[Column]]:
    """The columns of each block: those on the left in all, as many of the others as fit, one at least."""
    room = width - sum(column_width(column) + GAP for column in left)
    blocks: list[list[Column]] = [[]]
    used = 0
    for column in right:
        needed = column_width(column) + (GAP if blocks[-1] else 0)
        if blocks[-1] and used + needed > room:
            blocks.append([])
            used, needed = 0, column_width(column)
        blocks[-1].append(column)
        used += needed
    return [[*left, *block] for block in blocks]


def _may_be_cut(columns: Sequence[Column]) -> frozenset[int]:
    """The places of columns of text: half a number is a wrong number."""
    return frozenset(at for at, column in enumerate(columns) if column.align == "left")
