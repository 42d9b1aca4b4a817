"""Rows that hold only what the ledger can read quickly: for one figure of very many measurements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, repeat
from operator import attrgetter
from typing import Any

from host.ledger.flat import Field
from host.ledger.records import Figures
from host.ledger.rows import COMPARABLE, Row
from host.ledger.selecting import EVERYTHING, Selection
from host.ledger.store import Ledger
from host.specs.profile import OPTIONS

HELD = frozenset(
    (
        *("run", "task", "status", "device", "is_emulated", "model", "variant", "is_baseline", "runtime"),
        *("provider", "precision", "threads", "batch", "scenario", "started_at", "accuracy_host"),
        *(
            "accuracy_device",
            "accuracy",
            "file_bytes",
            "flags",
            "speedup",
            "latency_ms.p50",
            "latency_ms.p99",
        ),
        *("memory_mb.peak", "power.energy_mj"),
    )
)
"""The columns of results that slim rows have; and all of `runtime_settings`."""


def suffices(fields: Iterable[Field]) -> bool:
    """Whether slim rows have these columns."""
    return all(field.name in HELD or field.path[0] == "runtime_settings" for field in fields)


def slim_rows(
    ledger: Ledger, run_id: str | None, where: Selection = EVERYTHING, *, has_speedup: bool = True
) -> Iterator[Row]:
    """As `stream_rows`, with the columns `HELD` alone; `board` is that of one measurement of each device.

    A variant has no id here: of two with one name neither can be told from the other. Without
    `has_speedup`, that column is None.
    """
    boards: dict[str, str] = {}
    for run, listed in groupby(ledger.figures(run_id, where), key=attrgetter("run")):
        told = list(listed)
        speedups = _find_speedups(ledger, run, told, where) if has_speedup else repeat(None)
        for device in dict.fromkeys(one.device for one in told):
            if device not in boards:
                boards[device] = _find_board(ledger, run, device)
        for one, speedup in zip(told, speedups, strict=False):
            yield _make_row(one, boards[one.device], speedup)


def _find_speedups(
    ledger: Ledger, run: str, told: Sequence[Figures], where: Selection
) -> Iterator[float | None]:
    """What each is faster than the baseline of its run that can be compared with it."""
    others = () if where == EVERYTHING else ledger.figures(run, where.of_baselines)
    baselines: dict[tuple[Any, ...], float | None] = {}
    for one in (*others, *told):
        if one.is_baseline and one.status == "ok":
            baselines.setdefault(_key(one), one.p50_ms)
    for one in told:
        base = baselines.get(_key(one)) if one.status == "ok" and one.p50_ms else None
        yield None if base is None or not one.p50_ms else base / one.p50_ms


def _key(told: Figures) -> tuple[Any, ...]:
    """What measurements of one run share that can be compared, as `COMPARABLE` says."""
    return *_read_place(told), _read_options(told.settings)


_read_place = attrgetter(*(name for name in COMPARABLE if name not in OPTIONS))


@lru_cache(1024)
def _read_options(text: str) -> tuple[Any, ...]:
    held = json.loads(text)
    return tuple(held.get(name) for name in OPTIONS)


def _find_board(ledger: Ledger, run: str, device: str) -> str:
    (entry,) = ledger.entries(run, Selection(devices=(device,), limit=1))
    return str(entry.measurement["board"])


def _make_row(told: Figures, board: str, speedup: float | None) -> Row:
    return {
        "run": told.run,
        "task": told.task,
        "status": told.status,
        "device": told.device,
        "board": board,
        "is_emulated": told.is_emulated,
        "model": told.model,
        "variant": told.variant,
        "variant_id": told.variant,
        "is_baseline": told.is_baseline,
        "runtime": told.runtime,
        "provider": told.provider,
        "precision": told.precision,
        "threads": told.threads,
        "batch": told.batch,
        "scenario": told.scenario,
        "started_at": told.started_at,
        "accuracy_host": told.accuracy_host,
        "accuracy_device": told.accuracy_device,
        "file_bytes": told.file_bytes,
        "latency_ms": {"p50": told.p50_ms, "p99": told.p99_ms},
        "memory_mb": {"peak": told.peak_mb},
        "power": {"energy_mj": told.energy_mj},
        "runtime_settings": _read_json(told.settings),
        "flags": _read_json(told.flags),
        "speedup": speedup,
    }


@lru_cache(1024)
def _read_json(text: str) -> Any:
    """What a JSON text holds; equal texts share it, so nobody may change it."""
    return json.loads(text)
