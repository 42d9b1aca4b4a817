"""How rows of other scenarios than the plain one are shown: their own columns, and minutes as a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host.report.cells import MISSING, choose_decimals, clean_text, format_number

Row = Mapping[str, Any]
Told = tuple[str, str, list[str]]
"""A column: its name, its title and a text for each row."""

STEPS = "▁▂▃▄▅▆▇█"
MOST_STEPS = 60


def scenario_columns(rows: Sequence[Row | None]) -> list[Told]:
    """The columns that rows of some scenario add; none for single-stream rows alone."""
    told = [row if row is not None and row["status"] == "ok" else {} for row in rows]
    scenarios = {row.get("scenario") for row in told}
    columns: list[Told] = []
    if scenarios & {"offline", "sustained"}:
        columns.append(_number_column("throughput", "images/s", [row.get("throughput_ips") for row in told]))
    if "paced" in scenarios:
        rates = [_look(row, "paced", "miss_rate") for row in told]
        columns.append(("missed", "missed %", [_format_percent(rate) for rate in rates]))
    if "sustained" in scenarios:
        ratios = [_look(row, "sustained", "ratio") for row in told]
        columns.append(("ratio", "last/first %", [_format_percent(ratio) for ratio in ratios]))
    return columns


def _number_column(name: str, title: str, values: list[float | None]) -> Told:
    decimals = choose_decimals(values)
    return name, title, [format_number(value, decimals) for value in values]


def _format_percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f}"


def _look(row: Row, name: str, key: str) -> Any:
    held = row.get(name)
    return held[key] if held else None


def tell_paced(rows: Iterable[Row]) -> list[str]:
    """What the missed ones are, with each rate and deadline that occurs."""
    asked = {(held["rate_hz"], held["deadline_ms"]) for row in rows if (held := row.get("paced"))}
    return [
        f"missed: of inferences due {rate_hz:g} times a second, those complete more than {deadline_ms:.4g} "
        "ms after they were due, or dropped because a newer one waited"
        for rate_hz, deadline_ms in sorted(asked)
    ]


def tell_sustained(rows: Iterable[Row]) -> list[str]:
    """A line for each sustained row: throughput over time, and what heat and clock did meanwhile."""
    return [_tell_minutes(row, row["sustained"]["minutes"]) for row in rows if row.get("sustained")]


def _tell_minutes(row: Row, minutes: Sequence[Mapping[str, Any]]) -> str:
    speeds = [minute["throughput_ips"] for minute in minutes]
    facts = [
        f"{clean_text(row['device'])}: {clean_text(row['variant'])}: {draw_line(speeds)}",
        f"{_tell_change(speeds, 'images/s')} over {_tell_time(row['sustained']['duration_s'])}",
        _tell_change([minute["temperature_c"] for minute in minutes], "°C"),
        _tell_change([minute["freq_mhz"] for minute in minutes], "MHz"),
    ]
    return ", ".join(fact for fact in facts if fact)


def _tell_time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _tell_change(values: Sequence[float | None], unit: str) -> str:
    """The first value and the last; empty where either is not known."""
    first, last = values[0], values[-1]
    if first is None or last is None:
        return ""
    decimals = min(choose_decimals((first, last)), 1)
    return f"{format_number(first, decimals)} → {format_number(last, decimals)} {unit}"


def draw_line(values: Sequence[float]) -> str:
    """Values over time as blocks whose height is their share of the highest; of many, every nth."""
    every = -(-len(values) // MOST_STEPS)
    highest = max(values)
    return "".join(STEPS[round((len(STEPS) - 1) * value / highest)] for value in values[::every])
