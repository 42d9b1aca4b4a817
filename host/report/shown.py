"""The values of one column of results as people read them: its title with the unit, and a text for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from host.ledger.flat import Field
from host.ledger.naming import SHARES
from host.report import cells

COUNTS = ("params", "params_nonzero", "macs")
IN_PERCENT = (*SHARES, "paced.miss_rate", "sustained.ratio", "power.sampler_effect")
UNITS = {"_ms": "ms", "_s": "s", "_w": "W", "_mj": "mJ", "_hz": "Hz", "_ips": "images/s", "_bytes": "MiB"}
TITLES = {
    "accuracy_change": "accuracy change (points)",
    "speedup": "speed-up",
    "macs": "MACs",
    "throughput_ips": "images/s",
    "is_emulated": "emulated",
    "is_baseline": "baseline",
    "started_at": "started",
}


def title_field(field: Field) -> str:
    """Such as `p50 ms`, `peak MiB` or `accuracy %`."""
    name = field.name
    if name in TITLES:
        return TITLES[name]
    last = name.rpartition(".")[2]
    if name in IN_PERCENT:
        return f"{last} %"
    if field.kind == "real" and name.startswith("latency_ms."):
        return f"{last} ms"
    if name.startswith("memory_mb."):
        return f"{last} MiB"
    for ending, unit in UNITS.items():
        if last.endswith(ending):
            return f"{last.removesuffix(ending)} {unit}"
    return cells.clean_text(name if field.kind == "json" else last)


def show_values(field: Field, values: Sequence[Any]) -> list[str]:
    """The texts of one column, whose numbers have as many decimals as the smallest needs; None is `-`."""
    if field.name in IN_PERCENT:
        return [cells.format_number(None if value is None else 100 * value, 1) for value in values]
    if field.name == "speedup":
        return [cells.format_speedup(value) for value in values]
    if field.name == "accuracy_change":
        return [cells.MISSING if value is None else f"{value:+.1f}" for value in values]
    if field.name in COUNTS:
        return [cells.format_count(value) for value in values]
    if field.name.endswith("_bytes"):
        decimals = cells.choose_mib_decimals(values)
        return [cells.format_mib(value, decimals) for value in values]
    if field.kind == "real":
        decimals = cells.choose_decimals(values)
        return [cells.format_number(value, decimals) for value in values]
    return [show_value(field, value) for value in values]


def show_value(field: Field, value: Any) -> str:
    """One value that is no measured number."""
    if field.name == "flags":
        return cells.format_flags(value or ())
    if field.name == "threads" and value is None:
        return "all"
    if field.name == "started_at" and value is not None:
        return cells.clean_text(value)[:19].replace("T", " ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return cells.clean_text(json.dumps(value, ensure_ascii=False))
    return cells.clean_text(value)


def is_number(field: Field) -> bool:
    return field.kind in ("whole", "real")
