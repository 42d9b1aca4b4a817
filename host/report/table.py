"""The comparison as a table on a terminal that fits its width, or as an SVG picture of one."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Span, Text

from host.ledger.recommending import Ranking
from host.report.cells import cut_text
from host.report.comparison import Comparison, Group, compare_rows
from host.report.figures import DROP_ORDER, Cell, Column, drop_columns
from host.report.winners import describe_winner

MAX_LINES = 200
MAX_PLACES = 400
"""Lines times devices: what a person still reads, and a terminal still prints at once."""
SHORTEST_NAME = 10
SHORTEST_FLAGS = 6
SHORTEST_TABLE = 10
GAP = 3  # columns between two columns of a table, and between two tables


def print_results(rows: Sequence[Mapping[str, Any]], console: Console, limit: int | None = MAX_LINES) -> None:
    """Print the cross-device comparison of rows as `result_rows` gives them, and what explains it."""
    print_sections([(None, rows)], console, limit)


def print_sections(
    sections: Sequence[tuple[str | None, Sequence[Mapping[str, Any]]]],
    console: Console,
    limit: int | None = MAX_LINES,
) -> None:
    """Print a comparison under each heading, and once at the end what explains them all."""
    if not any(rows for _, rows in sections):
        console.print(Text("No measurements yet."))
        return
    explained: dict[str, None] = {}
    for heading, rows in sections:
        if heading is not None:
            console.print(Text(f"{heading}", style="bold"), soft_wrap=True)
        comparison = compare_rows(rows, _limit_lines(rows, limit))
        dropped = _print_comparison(comparison, console)
        told = _tell_dropped(comparison, dropped)
        told += [note.text for note in comparison.notes if note.column not in dropped]
        explained |= dict.fromkeys(told)
        if heading is None:
            print_lines(console, explained, "dim")
        _print_trouble(comparison, console)
        if heading is not None:
            console.print()
    if sections[0][0] is not None:
        print_lines(console, explained, "dim")


def _print_comparison(comparison: Comparison, console: Console) -> tuple[str, ...]:
    """Print what all rows share and the blocks of figures; returns the columns that were left out."""
    print_lines(console, comparison.facts, "dim")
    blocks, dropped = fit_columns(comparison, console.width)
    for block in blocks:
        console.print()
        print_block(console, _lay_out(comparison.left, block, dropped, console.width))
    console.print()
    return dropped


def _print_trouble(comparison: Comparison, console: Console) -> None:
    """Print what was not measured and why, and how much is not shown."""
    if comparison.unfit:
        print_lines(console, [f"{len(comparison.unfit)} unfit, not measured:"], "bold yellow")
        print_lines(console, [f"  {told}" for told in comparison.unfit], "yellow")
    if comparison.failures:
        print_lines(console, [f"{len(comparison.failures)} failed:"], "bold red")
        print_lines(console, [f"  {failure}" for failure in comparison.failures], "red")
    if comparison.hidden:
        shown = len(comparison.left[0].cells)
        told = f"{shown} of {shown + comparison.hidden} lines; --format csv, json or parquet gives all."
        print_lines(console, [told], "bold")


def _limit_lines(rows: Sequence[Mapping[str, Any]], limit: int | None) -> int | None:
    """How many lines to show: fewer where many devices make something of each."""
    if limit is None:
        return None
    devices = len({row["device"] for row in rows})
    return min(limit, max(SHORTEST_TABLE, MAX_PLACES // devices))


def render_svg(rows: Sequence[Mapping[str, Any]], title: str, width: int = 120) -> str:
    """The table as an SVG document; equal rows give equal text. It loads nothing from anywhere."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    print_results(rows, console)
    picture = console.export_svg(title=title, unique_id="boardbench")
    # rich would have the font fetched from the network; every text has its length, so any font fits.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def fit_columns(comparison: Comparison, width: int) -> tuple[list[Sequence[Group]], tuple[str, ...]]:
    """The devices that stand side by side, block by block, and the names of columns to leave out.

    Devices are stacked where one block would cost an interval, or more.
    """
    side_by_side: list[Sequence[Group]] = [comparison.groups]
    stacked: list[Sequence[Group]] = [(group,) for group in comparison.groups]
    drops = list(_list_drops(comparison))
    if len(comparison.groups) > 1:
        for dropped in drops:
            if "interval" in dropped:
                break
            if _find_width(comparison, side_by_side, dropped) <= width:
                return side_by_side, dropped
    for name_width in (None, SHORTEST_NAME):
        for dropped in drops:
            if "accuracy" in dropped and name_width is None:
                break
            if _find_width(comparison, stacked, dropped, name_width) <= width:
                return stacked, dropped
    return stacked, drops[-1]


def _find_width(
    comparison: Comparison,
    blocks: Sequence[Sequence[Group]],
    dropped: Sequence[str],
    name_width: int | None = None,
) -> int:
    """How wide the widest block is; `name_width` is what the names of variants are cut to."""
    left = drop_columns(comparison.left, dropped)
    cut = max(column_width(left[0]) - name_width, 0) if name_width else 0
    widths = {id(group): _group_width(group, dropped) for group in comparison.groups}
    return max(
        columns_width(left) - cut + sum(GAP + widths[id(group)] for group in block) for block in blocks
    )


def _group_width(group: Group, dropped: Sequence[str]) -> int:
    return max(columns_width(drop_columns(group.columns, dropped)), cell_len(group.title))


def columns_width(columns: Sequence[Column]) -> int:
    return sum(column_width(column) for column in columns) + GAP * (len(columns) - 1)


def column_width(column: Column) -> int:
    return max(cell_len(column.title), *(cell_len(cell.text) + cell.is_best for cell in column.cells))


def _list_drops(comparison: Comparison) -> Iterable[tuple[str, ...]]:
    """Which columns to leave out: none, then one more at a time; empty ones first."""
    columns = _all_columns(comparison)
    names = dict.fromkeys(column.name for column in columns)
    filled = {column.name for column in columns if not column.is_empty}
    empty = [name for name in ("flags", "energy", *DROP_ORDER) if name in names and name not in filled]
    order = dict.fromkeys([*empty, *(name for name in DROP_ORDER if name in names)])
    return accumulate(((name,) for name in order), initial=())


def _all_columns(comparison: Comparison) -> list[Column]:
    return [*comparison.left, *(column for group in comparison.groups for column in group.columns)]


def _tell_dropped(comparison: Comparison, dropped: Sequence[str]) -> list[str]:
    """A line that names the columns that were left out and would have told something."""
    return tell_dropped(item for item in _all_columns(comparison) if item.name in dropped)


def tell_dropped(columns: Iterable[Column]) -> list[str]:
    titles = ", ".join(dict.fromkeys(column.title for column in columns if not column.is_empty))
    return [f"Left out for want of width: {titles}. The other formats hold everything."] if titles else []


def _lay_out(left: Sequence[Column], groups: Sequence[Group], dropped: Sequence[str], width: int) -> Text:
    """The variants' columns and, side by side, each device's own; every line is one line high.

    What is too wide by now is cut with an ellipsis: names of variants, then of devices, and lists of flags.
    """
    names, *rest = drop_columns(left, dropped)
    needed = columns_width((names, *rest)) + sum(GAP + _group_width(group, dropped) for group in groups)
    names = shorten_texts(names, max(column_width(names) - max(needed - width, 0), SHORTEST_NAME))
    room = max(width - columns_width((names, *rest)) - GAP * len(groups), 0) // len(groups)
    parts = [list_lines(" ", (names, *rest)), *(_list_group(group, dropped, room) for group in groups)]
    return Text("\n").join(Text(" " * GAP).join(lines) for lines in zip(*parts, strict=True))


def _list_group(group: Group, dropped: Sequence[str], room: int) -> list[Text]:
    columns = drop_columns(group.columns, dropped)
    excess = columns_width(columns) - room
    if excess > 0 and _group_width(group, dropped) > room:
        columns = tuple(
            shorten_texts(one, max(column_width(one) - excess, SHORTEST_FLAGS))
            if one.name == "flags"
            else one
            for one in columns
        )
    return list_lines(cut_text(group.title, max(room, columns_width(columns))), columns)


def shorten_texts(column: Column, longest: int) -> Column:
    """The column with its texts cut at the end; at the beginning, where only the ends tell them apart."""
    texts = [cell.text for cell in column.cells]
    cut = [cut_text(text, longest) for text in texts]
    if len(set(cut)) < len(set(texts)):
        cut = [text if len(text) <= longest else f"…{text[1 - longest :]}" for text in texts]
    held = tuple(cell._replace(text=text) for cell, text in zip(column.cells, cut, strict=True))
    return column._replace(cells=held)


def print_part(
    console: Console, title: str, columns: Sequence[Column], cut: Collection[int] | None = None
) -> None:
    """Print one block under a heading. Only the names of variants, or the columns at the places `cut`, may be
    cut: half a number is a wrong number."""
    places = cut if cut is not None else [at for at, one in enumerate(columns) if one.name == "variant"]
    held = list(columns)
    for at in sorted(places, key=lambda at: -column_width(held[at])):
        excess = columns_width(held) - console.width
        if excess > 0:
            held[at] = shorten_texts(held[at], max(column_width(held[at]) - excess, SHORTEST_NAME))
    print_block(console, Text("\n").join(list_lines(title, held)))


def print_block(console: Console, block: Text) -> None:
    """Print lines as they are; what is wider than the terminal is cropped."""
    console.print(block, no_wrap=True, overflow="ignore", crop=True)


def list_lines(title: str, columns: Sequence[Column]) -> list[Text]:
    """The lines of one block, all of one width: a heading where there is one, titles, a rule, cells.

    They look as tables of rich do, which take many times as long for hundreds of lines.
    """
    widths = [column_width(column) for column in columns]
    whole = max(columns_width(columns), cell_len(title))
    titles = [(column.title, "bold") for column in columns]
    rows = zip(*(map(_style_cell, column.cells) for column in columns), strict=True)
    sides = [column.align for column in columns]
    return [
        *([_join([(title, "bold cyan")], ["left"], [whole], whole)] if title else []),
        _join(titles, sides, widths, whole),
        Text("─" * whole),
        *(_join(row, sides, widths, whole) for row in rows),
    ]


def _join(texts: Sequence[tuple[str, str]], sides: Sequence[str], widths: Sequence[int], whole: int) -> Text:
    """Styled texts as one line, each aligned in its width."""
    line, spans = "", []
    for (text, style), side, width in zip(texts, sides, widths, strict=True):
        missing = " " * (width - cell_len(text))
        line += " " * GAP if line else ""
        begin = len(line) + (len(missing) if side == "right" else 0)
        line += missing + text if side == "right" else text + missing
        spans += [Span(begin, begin + len(text), style)] if style else []
    return Text(line + " " * (whole - cell_len(line)), spans=spans)


def _style_cell(cell: Cell) -> tuple[str, str]:
    if cell.is_best:
        return f"{cell.text}*", "bold green"
    return cell.text, {"failed": "red", "unfit": "yellow"}.get(cell.text, "")


def print_lines(console: Console, lines: Iterable[str], style: str) -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def print_winners(
    rankings: Iterable[Ranking], rows: Sequence[Mapping[str, Any]], console: Console | None = None
) -> None:
    """Print who is fastest within the limits on each device, and why the others are not, of `rows` ranked."""
    shown = console or Console(highlight=False)
    for ranking in rankings:
        first, *others = describe_winner(ranking, rows)
        print_lines(shown, [first], "bold")
        print_lines(shown, others, "dim")
