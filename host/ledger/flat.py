"""Result rows with one level of names, for the formats that have columns: `latency_ms.p50`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["text", "truth", "whole", "real", "json"]


class Field(NamedTuple):
    """One column: its name, where its value is in a row, and its type in every row."""

    name: str
    path: tuple[str | int, ...]
    kind: Kind


def _fields(kind: Kind, *names: str) -> list[Field]:
    return [Field(name, tuple(name.split(".")), kind) for name in names]


FIELDS: tuple[Field, ...] = (
    *_fields("text", "run", "task", "device", "board"),
    *_fields("truth", "is_emulated"),
    *_fields("text", "model", "variant", "variant_id", "model_sha256"),
    *_fields("truth", "is_baseline"),
    *_fields("text", "runtime", "provider", "precision"),
    *_fields("whole", "threads", "batch"),
    *_fields("real", "sparsity", "sparsity_target"),
    *_fields("whole", "params", "params_nonzero", "macs", "file_bytes", "gzip_bytes", "packed_bytes"),
    *_fields("real", "accuracy_host", "accuracy_device", "accuracy_change", "agreement", "max_abs_diff"),
    *_fields("whole", "latency_ms.n", "latency_ms.rounds"),
    *_fields("real", "latency_ms.min", "latency_ms.mean", "latency_ms.p50"),
    Field("latency_ms.p50_ci_low", ("latency_ms", "p50_ci", 0), "real"),
    Field("latency_ms.p50_ci_high", ("latency_ms", "p50_ci", 1), "real"),
    *_fields("real", "latency_ms.p90", "latency_ms.p95", "latency_ms.p99", "latency_ms.p999"),
    *_fields("whole", "latency_ms.outliers"),
    *_fields("text", "scenario"),
    *_fields("real", "paced.rate_hz", "paced.deadline_ms"),
    *_fields("whole", "paced.due", "paced.done", "paced.dropped", "paced.missed"),
    *_fields("real", "paced.miss_rate", "paced.wakeup_ms", "paced.throughput_ips"),
    *_fields(
        "real",
        "sustained.duration_s",
        "sustained.first_ips",
        "sustained.last_ips",
        "sustained.ratio",
        "sustained.throughput_ips",
    ),
    *_fields("json", "sustained.minutes"),
    *_fields("text", "runtime_version"),
    *_fields("json", "runtime_settings", "nodes"),
    *_fields("real", "throughput_ips", "build_s", "compute_ms", "load_ms", "first_inference_ms", "speedup"),
    *_fields("real", "memory_mb.baseline", "memory_mb.loaded", "memory_mb.peak", "memory_mb.pss"),
    *_fields("real", "memory_mb.available_fall"),
    *_fields("text", "power.source"),
    *_fields("json", "power.rails"),
    *_fields(
        "real",
        "power.idle_w",
        "power.load_w",
        "power.energy_mj",
        "power.energy_net_mj",
        "power.sampler_effect",
        "power.rate_hz",
    ),
    *_fields("text", "power.sampler", "power.note"),
    *_fields("json", "environment"),
    *_fields("json", "flags"),
    *_fields("text", "status", "error.kind", "error.message", "started_at"),
)
"""Every value of a row, in the order of the row. `json` columns hold JSON text.

`power.course` has no column: hundreds of points are no cell of a table. JSON has them.
"""


def flatten_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `FIELDS` in one row as `result_rows` gives it."""
    return {field.name: _find(row, field) for field in FIELDS}


def _find(row: Mapping[str, Any], field: Field) -> Any:
    value: Any = row
    for step in field.path:
        if value is None:
            return None
        value = value.get(step) if isinstance(value, Mapping) else value[step]
    return json.dumps(value, ensure_ascii=False) if field.kind == "json" else value
