"""Two sides beside each other for people and programs: what is unfair first, then pair by pair."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from host.errors import UsageError
from host.ledger.contrast import Comparison, Contrast, Lonely, Side, tell_settings
from host.ledger.fairness import Told
from host.ledger.matching import Subject
from host.ledger.ranking import MIB
from host.report import cells
from host.report.csv import write_csv_lines
from host.report.figures import Column, drop_columns, make_column
from host.report.flags import MEANINGS
from host.report.markdown import escape, tell_table
from host.report.output import open_text

if TYPE_CHECKING:
    from rich.console import Console

WORDS = {
    "emulated": "one is emulated: its figures compare variants, they do not tell a board's speed",
    "flags": "flags",
    "board": "board",
    "clock": "highest clock",
    "gpu clock": "clock of the GPU",
    "power": "power is read from",
    "protocol": "measured by",
    "input": "input",
    "file": "not the same file, SHA-256",
    "inference_precision": "computes in",
}
DROP_ORDER = ("energy", "packed", "file", "memory", "settings", "flags", "interval")
MOST_REASONS = 20
MOST_LONELY = 20


def write_comparison(comparison: Comparison, form: str, file: Path | None = None) -> None:
    """Write a comparison as `form`, table, json, csv or markdown; a file appears only when it is whole."""
    writers: dict[str, Callable[[Comparison, Path | TextIO], None]] = {
        "table": _write_table,
        "json": _write_json,
        "csv": _write_csv,
        "markdown": _write_markdown,
    }
    if form not in writers:
        raise UsageError(f"a comparison is not written as {form}", f"Write it as {', '.join(writers)}.")
    writers[form](comparison, file or sys.stdout)


def _write_json(comparison: Comparison, out: Path | TextIO) -> None:
    with open_text(out) as stream:
        stream.write(comparison.model_dump_json(indent=2) + "\n")


def _write_csv(comparison: Comparison, out: Path | TextIO) -> None:
    lines = [dict(_flatten(pair)) for pair in comparison.pairs]
    names = list(dict.fromkeys(name for line in lines for name in line)) or ["model"]
    write_csv_lines(names, ([line.get(name) for name in names] for line in lines), out)


def _flatten(pair: Contrast) -> Iterator[tuple[str, Any]]:
    """The values of a pair with one level of names, in a fixed order."""
    yield "unfair", "; ".join(f"{one.what}: {one.first} | {one.second}" for one in pair.unlike)
    yield from (("model", pair.model), ("batch", pair.batch), ("scenario", pair.scenario))
    for name, side in (("first", pair.first), ("second", pair.second)):
        told = side.model_dump(mode="json", exclude={"p50_ci"})
        yield from ((f"{name}.{key}", _flat(value)) for key, value in told.items())
    latency = pair.latency
    yield "ratio", None if latency is None else latency.ratio
    yield "ratio_low", None if latency is None else latency.low
    yield "ratio_high", None if latency is None else latency.high
    yield from (("verdict", pair.verdict), ("reason", pair.reason))
    yield from ((f"change.{key}", value) for key, value in pair.changes.model_dump().items())


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _write_table(comparison: Comparison, out: Path | TextIO) -> None:
    from host.report.exporting import open_console  # rich: the other formats do without it

    with open_text(out) as stream:
        print_comparison(comparison, open_console(stream))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a comparison on a terminal, narrow columns first to go where it is narrow."""
    from host.report.table import MAX_LINES, print_lines, print_part, tell_dropped

    print_lines(console, [tell_heading(comparison)], "bold")
    print_lines(console, tell_unfair(comparison), "yellow")
    if comparison.pairs:
        columns = contrast_columns(comparison, comparison.pairs[:MAX_LINES])
        dropped = _fit(columns, console.width)
        console.print()
        print_part(console, "", drop_columns(columns, dropped))
        console.print()
        print_lines(console, tell_dropped(one for one in columns if one.name in dropped), "dim")
        if len(comparison.pairs) > MAX_LINES:
            told = f"{MAX_LINES} of {len(comparison.pairs)} pairs; --format csv, json or markdown gives all."
            print_lines(console, [told], "bold")
    print_lines(console, tell_counts(comparison), "bold")
    print_lines(console, tell_rest(comparison), "dim")


def _fit(columns: Sequence[Column], width: int) -> tuple[str, ...]:
    """The names of the columns to leave out; empty ones are left out anyway."""
    from host.report.table import columns_width

    empty = tuple(column.name for column in columns if column.is_empty)
    for dropped in accumulate(((name,) for name in DROP_ORDER), initial=empty):
        if columns_width(drop_columns(columns, dropped)) <= width:
            return dropped
    return (*empty, *DROP_ORDER)


def _write_markdown(comparison: Comparison, out: Path | TextIO) -> None:
    with open_text(out) as stream:
        stream.write("\n".join(_tell_markdown(comparison)) + "\n")


def _tell_markdown(comparison: Comparison) -> Iterator[str]:
    yield f"### {escape(tell_heading(comparison))}"
    if unfair := tell_unfair(comparison):
        yield from ("", escape(unfair[0]), "", *(f"- {escape(line.strip())}" for line in unfair[1:]))
    if comparison.pairs:
        columns = contrast_columns(comparison, comparison.pairs)
        yield ""
        yield from tell_table([column for column in columns if not column.is_empty])
    yield ""
    yield from (f"- {escape(line)}" for line in (*tell_counts(comparison), *tell_rest(comparison)))


def tell_heading(comparison: Comparison) -> str:
    first, second = (cells.clean_text(name) for name in (comparison.first, comparison.second))
    return f"Two {comparison.subject}s: A is {first}, B is {second}"


def tell_unfair(comparison: Comparison) -> list[str]:
    """A heading and a line for each difference that makes the comparison unfair; nothing where none does."""
    if not comparison.unlike:
        return []
    total = len(comparison.pairs)
    return [
        "Not all is equal, so mind what is compared:",
        *(tell_difference(one, total) for one in comparison.unlike),
    ]


def tell_difference(one: Told, total: int) -> str:
    """`  governor: powersave in A, performance in B (2 of 5 pairs)`."""
    word = WORDS.get(
        one.what, one.what.removeprefix("versions.") + " version" * one.what.startswith("versions.")
    )
    values = f"{cells.clean_text(one.first)} in A, {cells.clean_text(one.second)} in B"
    share = "" if one.pairs == total else f" ({one.pairs} of {total} pairs)"
    return f"  {word}: {values}{share}"


def tell_counts(comparison: Comparison) -> list[str]:
    """How many pairs there are of each verdict, in one line."""
    if not comparison.pairs:
        return ["Nothing on one side has a counterpart on the other."]
    verdicts = [pair.verdict for pair in comparison.pairs]
    order = ("faster", "slower", "same", "cannot tell")
    return [
        "B is "
        + ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in order if verdict in verdicts)
    ]


def tell_rest(comparison: Comparison) -> list[str]:
    """Why nobody can tell, what the verdicts mean, and what has no counterpart."""
    told = [
        f"cannot tell {cells.clean_text(pair.second.variant)} on {cells.clean_text(pair.second.device)}: "
        f"{cells.clean_text(pair.reason)}"
        for pair in comparison.pairs
        if pair.reason is not None
    ]
    lines = _shorten(told, MOST_REASONS)
    for name, lonely in (("A", comparison.only_first), ("B", comparison.only_second)):
        lines += _shorten([f"only in {name}: {tell_lonely(one)}" for one in lonely], MOST_LONELY)
    flags = {flag for pair in comparison.pairs for side in (pair.first, pair.second) for flag in side.flags}
    lines += [f"{flag}: {meaning}" for flag, meaning in MEANINGS.items() if flag in flags]
    return lines


def _shorten(lines: Sequence[str], most: int) -> list[str]:
    rest = len(lines) - most
    return [*lines[:most], *([f"… and {rest} more; the other formats have all"] if rest > 0 else [])]


def tell_lonely(one: Lonely) -> str:
    told = f"{one.model} {one.variant} on {one.device} ({one.settings})"
    return cells.clean_text(told if one.status == "ok" else f"{told}, {one.status}")


def contrast_columns(comparison: Comparison, pairs: Sequence[Contrast]) -> list[Column]:
    """The columns of a table of these pairs: what they are, and then each figure on both sides."""
    p50s = [side.p50_ms for pair in pairs for side in (pair.first, pair.second)]
    decimals = cells.choose_decimals(p50s)
    return [
        *_name_columns(comparison.subject, pairs),
        make_column("a", "A p50 ms", [_tell_p50(pair.first, decimals) for pair in pairs]),
        make_column("b", "B p50 ms", [_tell_p50(pair.second, decimals) for pair in pairs]),
        make_column("ratio", "B/A", [_tell_ratio(pair) for pair in pairs]),
        make_column("interval", "95 % interval", [_tell_interval(pair) for pair in pairs]),
        make_column("verdict", "B is", [pair.verdict for pair in pairs], "left"),
        make_column("accuracy", "accuracy %", [_tell_accuracy(pair) for pair in pairs]),
        make_column("memory", "peak MiB", [_tell_both(pair, "memory_mb", 1, 1) for pair in pairs]),
        make_column("file", "file MiB", [_tell_both(pair, "file_bytes", MIB, 2) for pair in pairs]),
        make_column("packed", "packed MiB", [_tell_both(pair, "packed_bytes", MIB, 3) for pair in pairs]),
        make_column("energy", "energy mJ", [_tell_energy(pair) for pair in pairs]),
        make_column("flags", "flags", [tell_flags(pair) for pair in pairs], "left"),
    ]


def _name_columns(subject: Subject, pairs: Sequence[Contrast]) -> Iterator[Column]:
    """What tells the pairs apart; what all of them share is left out, but for the variant."""
    if subject != "variant":
        yield make_column(
            "variant", "variant", [cells.clean_text(one.second.variant) for one in pairs], "left"
        )
    told = {
        "device": [_tell_devices(pair) for pair in pairs] if subject != "device" else [],
        "model": [cells.clean_text(pair.model) for pair in pairs],
        "settings": [_tell_settings(pair) for pair in pairs],
    }
    for name, texts in told.items():
        if len(set(texts)) > 1 or (name == "device" and subject == "variant"):
            yield make_column(name, name, texts, "left")


def _tell_devices(pair: Contrast) -> str:
    side = pair.second
    return cells.clean_text(side.device) + (" (emulated)" if side.is_emulated else "")


def _tell_settings(pair: Contrast) -> str:
    """How the second was run, in a few words."""
    side = pair.second
    own = {"runtime": side.runtime, "provider": side.provider, "threads": side.threads}
    shared = {"batch": pair.batch, "scenario": pair.scenario, "runtime_settings": pair.settings}
    return cells.clean_text(tell_settings(own | shared))


def _tell_p50(side: Side, decimals: int) -> str:
    return side.status if side.status != "ok" else cells.format_number(side.p50_ms, decimals)


def _tell_ratio(pair: Contrast) -> str:
    return cells.MISSING if pair.latency is None else f"{pair.latency.ratio:.3f}"


def _tell_interval(pair: Contrast) -> str:
    return cells.MISSING if pair.latency is None else f"{pair.latency.low:.3f}–{pair.latency.high:.3f}"


def _tell_accuracy(pair: Contrast) -> str:
    if pair.changes.accuracy_points is None:
        return cells.MISSING
    return cells.format_accuracy(pair.second.accuracy, pair.changes.accuracy_points)


def _tell_both(pair: Contrast, name: str, unit: float, decimals: int) -> str:
    """`80.5 → 81.0`, or the value alone where it did not change."""
    values = [getattr(side, name) for side in (pair.first, pair.second)]
    texts = [cells.format_number(None if value is None else value / unit, decimals) for value in values]
    return texts[0] if texts[0] == texts[1] else " → ".join(texts)


def _tell_energy(pair: Contrast) -> str:
    told = _tell_both(pair, "energy_mj", 1, 2)
    return f"{told} (other sensors)" if "→" in told and pair.changes.energy is None else told


def tell_flags(pair: Contrast) -> str:
    """The flags of both sides, and that one of them is emulated; that both are stands elsewhere."""
    told = [
        f"{name}: {' '.join(flags)}"
        for name, side in (("A", pair.first), ("B", pair.second))
        if (flags := [flag for flag in side.flags if flag != "emulated"])
    ]
    if pair.first.is_emulated != pair.second.is_emulated:
        told.insert(0, f"{'A' if pair.first.is_emulated else 'B'}: emulated")
    return cells.clean_text("; ".join(told)) if told else cells.MISSING
