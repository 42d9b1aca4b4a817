"""The names by which people call the columns of results: `p50`, `energy`, `latency_ms.p50`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from host.errors import UsageError
from host.ledger.flat import FIELDS, Field
from host.ledger.ranking import find_accuracy

ACCURACY = Field("accuracy", ("accuracy",), "real")
"""Not a value of a row: the accuracy that counts, on the device where one was measured there."""

ALIASES = {
    "latency": "latency_ms.p50",
    "p50_ms": "latency_ms.p50",
    "p90_ms": "latency_ms.p90",
    "p95_ms": "latency_ms.p95",
    "p99_ms": "latency_ms.p99",
    "memory": "memory_mb.peak",
    "peak_mb": "memory_mb.peak",
    "energy": "power.energy_mj",
    "energy_net": "power.energy_net_mj",
    "power": "power.load_w",
    "size": "file_bytes",
    "file": "file_bytes",
    "gzip": "gzip_bytes",
    "packed": "packed_bytes",
    "throughput": "throughput_ips",
    "load": "load_ms",
    "emulated": "is_emulated",
    "baseline": "is_baseline",
    "date": "started_at",
    "error": "error.message",
}
LOWER_IS_BETTER = (
    *("latency_ms.min", "latency_ms.mean", "latency_ms.p50", "latency_ms.p90", "latency_ms.p95"),
    *("latency_ms.p99", "latency_ms.p999", "load_ms", "first_inference_ms", "build_s", "compute_ms"),
    *("memory_mb.loaded", "memory_mb.peak", "memory_mb.pss", "memory_mb.available_fall"),
    *("power.load_w", "power.energy_mj", "power.energy_net_mj", "paced.miss_rate", "paced.wakeup_ms"),
    *("params", "params_nonzero", "macs", "file_bytes", "gzip_bytes", "packed_bytes"),
)
HIGHER_IS_BETTER = (
    *("accuracy", "accuracy_host", "accuracy_device", "accuracy_change", "agreement", "speedup"),
    *("throughput_ips", "paced.throughput_ips", "sustained.throughput_ips", "sustained.ratio"),
    *("sustained.first_ips", "sustained.last_ips"),
)
PAPER = ("params", "params_nonzero", "macs", "file_bytes", "gzip_bytes", "packed_bytes")
"""Figures of a file, which no board decides."""

SHARES = ("accuracy", "accuracy_host", "accuracy_device", "agreement", "sparsity", "sparsity_target")
"""Values between 0 and 1, that people write in percent."""

_BY_NAME = {field.name: field for field in (ACCURACY, *FIELDS)}


def find_field(text: str) -> Field:
    """The column that a person means. Raises UsageError that names the nearest ones.

    A name is that of a column in CSV, its last part where only one column ends so, or one of `ALIASES`.
    What is inside a column of JSON is named with dots: `environment.before.governor`.
    """
    name = text.strip().replace("-", "_")
    name = ALIASES.get(name, name)
    if name in _BY_NAME:
        return _BY_NAME[name]
    ending = [field for field in FIELDS if field.name.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        hint = f"Write {' or '.join(field.name for field in ending)}."
        raise UsageError(f"{text!r} may mean {len(ending)} columns", hint)
    for field in FIELDS:
        if field.kind == "json" and name.startswith(f"{field.name}.") and not name.endswith("."):
            return Field(name, tuple(name.split(".")), "json")
    hint = f"{_offer(name)}`bench results --help` names the usual ones."
    raise UsageError(f"there is no column {text!r}", hint)


def _offer(name: str) -> str:
    short = {field.path[-1]: field.name for field in FIELDS if isinstance(field.path[-1], str)}
    known = {**short, **ALIASES, **{name: name for name in _BY_NAME}}
    nearest = difflib.get_close_matches(name, known, n=4, cutoff=0.6)
    offered = dict.fromkeys(known[one] for one in nearest)
    return f"Did you mean {' or '.join(offered)}? " if offered else ""


def find_fields(texts: Iterable[str]) -> tuple[Field, ...]:
    """The columns of texts that name one or, between commas, several; each once, in the order of naming."""
    names = (name for text in texts for name in text.split(",") if name.strip())
    return tuple(dict.fromkeys(find_field(name) for name in names))


def read_field(row: Mapping[str, Any], field: Field) -> Any:
    """The value of a column in one row; None where it has none."""
    if field.name == ACCURACY.name:
        return find_accuracy(row)[0]
    value: Any = row
    for step in field.path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and value is not None:
            value = value[step]
        else:
            return None
    return value


def read_column(rows: Iterable[Mapping[str, Any]], field: Field) -> list[Any]:
    """The values of a column in all rows: as `read_field`, several times as fast where little is nested."""
    if len(field.path) > 2 or field.name == ACCURACY.name:
        return [read_field(row, field) for row in rows]
    name, *inner = (str(step) for step in field.path)
    values = [row.get(name) for row in rows]
    return [one.get(inner[0]) if isinstance(one, dict) else None for one in values] if inner else values


def is_measured(field: Field) -> bool:
    """Whether a board decides a figure, so that an emulated one is not put beside a real one."""
    return field.name in LOWER_IS_BETTER + HIGHER_IS_BETTER and field.name not in PAPER
