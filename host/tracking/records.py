"""Measurements as experiment trackers know them: parameters, metrics, tags and one artifact. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from host.ledger.flat import FIELDS, Field
from host.ledger.naming import HIGHER_IS_BETTER, LOWER_IS_BETTER, read_field
from host.ledger.records import RunRecord

Row = Mapping[str, Any]

PARAMETERS = (
    *("device", "board", "model", "variant", "precision", "runtime", "provider", "threads", "batch"),
    *("scenario", "sparsity_target", "runtime_version"),
)
MORE_METRICS = (
    *("latency_ms.n", "latency_ms.rounds", "latency_ms.p50_ci_low", "latency_ms.p50_ci_high"),
    *(
        "latency_ms.outliers",
        "memory_mb.baseline",
        "power.idle_w",
        "power.rate_hz",
        "sparsity",
        "max_abs_diff",
    ),
    *("paced.rate_hz", "paced.due", "paced.done", "paced.dropped", "paced.missed", "sustained.duration_s"),
)
LONGEST_TEXT = 500
"""What every tracker takes as a parameter or a tag."""


class Tracked(NamedTuple):
    """One measurement. `id` is the same for the same task of the same run, `content` for the same result.

    What was not measured has no metric: a tracker knows no missing value, and a zero would be a lie.
    """

    id: str
    content: str
    run: str
    name: str
    is_ok: bool
    started_at: datetime
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    flags: tuple[str, ...]
    environment: dict[str, Any]


class Outcome(NamedTuple):
    """What became of a measurement: written now, written anew because the result is another one, or known."""

    written: int = 0
    renewed: int = 0
    known: int = 0


class Tracker(Protocol):
    """Where measurements are tracked."""

    where: str

    def track(self, measurement: Tracked) -> Outcome:
        """Write one measurement, unless it is there."""
        ...


def track_all(measurements: Iterable[Tracked], tracker: Tracker) -> Outcome:
    """Write measurements one after another; what was written before an error stays."""
    counts = [tracker.track(measurement) for measurement in measurements]
    return Outcome(*(sum(numbers) for numbers in zip(Outcome(), *counts, strict=True)))


def list_tracked(run: RunRecord, rows: Iterable[Row]) -> Iterator[Tracked]:
    """The measurements of a run; a variant that no board was asked for is none."""
    axes = {str(one["id"]): one for one in _list_planned(run)}
    for row in rows:
        if row["status"] != "unfit":
            yield make_tracked(row, run.profile, axes.get(row["variant_id"], {}).get("variant"))


def _list_planned(run: RunRecord) -> list[dict[str, Any]]:
    planned = run.plan.get("variants")
    return [one for one in planned if isinstance(one, dict)] if isinstance(planned, list) else []


def make_tracked(row: Row, profile: str = "", variant: Any = None) -> Tracked:
    """One row for a tracker; `variant` is what the profile said of it, in JSON's types."""
    told = dict(flatten_axes({"variant": variant, "runtime_settings": row["runtime_settings"]}))
    known = {field.name: read_field(row, field) for field in FIELDS if field.name in PARAMETERS}
    parameters = {name: clip(value) for name, value in (known | told).items() if value is not None}
    tags = {
        "run": row["run"],
        "task": row["task"],
        "profile": profile,
        "board": row["board"],
        "status": row["status"],
        "flags": " ".join(row["flags"]),
        "emulated": "yes" if row["is_emulated"] else "no",
        "baseline": "yes" if row["is_baseline"] else "no",
        "variant_id": row["variant_id"],
        "model_sha256": row["model_sha256"],
        "power_source": row["power"]["source"] or "",
        "error": "" if row["error"] is None else f"{row['error']['kind']}: {row['error']['message']}",
    }
    settings = (
        "" if row["threads"] is None else f", {row['threads']} thread{'' if row['threads'] == 1 else 's'}"
    )
    return Tracked(
        id=digest([row["run"], row["task"]]),
        content=digest([profile, variant, row]),
        run=row["run"],
        name=f"{row['variant']} on {row['device']} ({row['runtime']}{settings})",
        is_ok=row["status"] == "ok",
        started_at=datetime.fromisoformat(row["started_at"]),
        parameters=parameters,
        metrics=dict(_list_metrics(row)),
        tags={name: clip(value) for name, value in tags.items() if value},
        flags=tuple(row["flags"]),
        environment=dict(row["environment"]),
    )


def _list_metrics(row: Row) -> Iterator[tuple[str, float]]:
    for field in FIELDS:
        value = read_field(row, field)
        if value is not None and _is_metric(field):
            yield field.name, float(value)


def _is_metric(field: Field) -> bool:
    return field.name in LOWER_IS_BETTER + HIGHER_IS_BETTER + MORE_METRICS


def flatten_axes(told: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is set inside mappings, with its place: `variant.prune.sparsity`."""
    if isinstance(told, Mapping):
        for key, value in told.items():
            yield from flatten_axes(value, f"{name}.{key}" if name else str(key))
    elif told is not None and told != []:
        yield name, told


def clip(value: Any) -> str:
    """A value as text that is not too long for a tracker."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
