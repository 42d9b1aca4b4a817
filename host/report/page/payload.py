"""What the page's script draws: the figures of every row as JSON that no browser takes for anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from host.ledger.distributions import SHARES, RoundShape, Shape
from host.report.cells import clean_text
from host.report.page.axes import Axis
from host.report.page.entries import Arranged, Entry, Group
from host.report.page.measures import MEASURES
from host.report.page.provenance import list_moments

DIGITS = 5
"""Significant digits of what is drawn; tables and provenance have their own."""


def write_payload(arranged: Arranged, axes: Sequence[Axis], picked: Sequence[str]) -> str:
    """The JSON of a page, harmless inside a script element."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(e.key for e in arranged.entries))}
    document = {
        "shares": SHARES,
        "groups": [_describe_group(group) for group in arranged.groups],
        "axes": [{"title": axis.title, "better": axis.better, "isNumber": axis.is_number} for axis in axes],
        "picked": [keys[key] for key in picked],
        "rows": [
            _describe_row(entry, keys[entry.key], [axis.values[at] for axis in axes])
            for at, entry in enumerate(arranged.entries)
        ],
    }
    return escape_json(
        json.dumps(_round(document), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    )


def escape_json(text: str) -> str:
    """JSON with the same meaning in which nothing can end a script element or begin a comment."""
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _describe_group(group: Group) -> dict[str, Any]:
    return {
        "title": group.title,
        "device": clean_text(group.device),
        "model": clean_text(group.model),
        "isEmulated": group.is_emulated,
    }


def _describe_row(entry: Entry, key: int, on_axes: list[Any]) -> dict[str, Any]:
    row = entry.row
    flags = [clean_text(flag) for flag in row["flags"] if flag != "emulated"]
    words = (
        entry.title,
        row["device"],
        row["board"],
        row["model"],
        row["runtime"],
        row["provider"],
        row["run"],
    )
    return {
        "id": entry.number,
        "group": entry.group,
        "key": key,
        "title": entry.title,
        "status": row["status"],
        "isBaseline": row["is_baseline"],
        "device": clean_text(row["device"]),
        "model": clean_text(row["model"]),
        "runtime": clean_text(row["runtime"]),
        "flags": flags,
        "words": clean_text(words).lower()[:2000],
        "interval": row["latency_ms"]["p50_ci"] if row["status"] == "ok" else None,
        "figures": {one.key: one.read(row) for one in MEASURES},
        "memory": {name: row["memory_mb"].get(name) for name in ("baseline", "loaded", "peak", "pss")},
        "idle": row["power"]["idle_w"],
        "load": row["power"]["load_w"],
        "course": _list_course(row["power"]),
        "states": _list_states(row["environment"]),
        "minutes": _list_minutes(row.get("sustained")),
        "axes": on_axes,
        **_describe_shape(entry.shape),
    }


def _describe_shape(shape: Shape | None) -> dict[str, Any]:
    if shape is None:
        return {"n": 0, "quantiles": None, "rounds": []}
    return {
        "n": shape.n,
        "quantiles": shape.quantiles,
        "rounds": [_describe_round(one) for one in shape.rounds],
    }


def _describe_round(one: RoundShape) -> list[Any]:
    return [one.number, one.n, *one.quantiles]


def _list_states(environment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Temperature and clock at the moments whose time was read."""
    return [
        {
            "moment": name,
            "time": _number(told.get("time")),
            "celsius": _number(told.get("temperature_c", told.get("temperature_c_max"))),
            "mhz": _find_mhz(told),
            "idle": _number(told.get("idle_c")),
        }
        for name, told in list_moments(environment)
    ]


def _find_mhz(told: Mapping[str, Any]) -> float | None:
    """The clock of the fastest core; of what was seen within rounds the lowest of it."""
    clocks = told.get("freq_mhz")
    if isinstance(clocks, list):
        return max((one for one in map(_number, clocks) if one is not None), default=None)
    return _number(told.get("lowest_mhz"))


def _number(value: Any) -> float | None:
    """A number as it is; whatever else a board said is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _list_course(power: Mapping[str, Any]) -> list[list[Any]]:
    """Power over time, window by window: what the board did, and its points as seconds and W in turn."""
    return [
        [one["phase"], [value for at, watts in one["points"] for value in (one["start_s"] + at, watts)]]
        for one in power.get("course", ())  # a ledger from before it was kept does not tell it
    ]


def _list_minutes(sustained: Mapping[str, Any] | None) -> list[list[Any]]:
    minutes = sustained["minutes"] if sustained else ()
    names = ("minute", "throughput_ips", "temperature_c", "freq_mhz", "p50_ms")
    return [[one[name] for name in names] for one in minutes]


def _round(value: Any, key: str = "") -> Any:
    """Numbers with as many digits as a picture shows; moments in time keep theirs."""
    if isinstance(value, float):
        return round(value, 1) if key == "time" else float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _round(one, name) for name, one in value.items()}
    return [_round(one) for one in value] if isinstance(value, list | tuple) else value
