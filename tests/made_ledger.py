"""A ledger with runs of made-up measurements, as the commands that decide read it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.specs.measurement import Measurement
from host.workspace import Workspace
from tests.made_results import START, make_rounds

Told = tuple[Measurement, float | None]


def make_workspace(root: Path) -> Workspace:
    (root / "devices.yaml").write_text("devices: {}\n")
    return Workspace(root)


def open_ledger(root: Path) -> Ledger:
    return Ledger.open(Workspace(root).ledger_url)


def save_run(
    ledger: Ledger,
    run: str,
    told: Iterable[Told],
    minute: int = 0,
    levels: tuple[float, ...] = (1.0,) * 5,
    **fields: Any,
) -> RunRecord:
    """A completed run of measurements, each with its p50 in ms; every one has samples of its own.

    `levels` are by what each round is slower than that.
    """
    listed = [(one.model_copy(update={"run": run}), p50_ms) for one, p50_ms in told]
    record = RunRecord(
        id=run,
        profile="p",
        plan={"tasks": [{"id": one.task} for one, _ in listed]},
        devices={one.device: None for one, _ in listed},
        started_at=START + timedelta(minutes=minute),
        **fields,
    )
    ledger.start_run(record)
    for at, (one, p50_ms) in enumerate(listed):
        seed = sum(map(ord, run)) + at
        rounds = [] if p50_ms is None else make_rounds(p50_ms, rounds=len(levels), count=200, seed=seed)
        scaled = zip(rounds, levels, strict=False)  # of what failed there are none
        ledger.save(one, [np.rint(held * level).astype(np.int64) for held, level in scaled])
    ledger.finish_run(run, "completed", record.started_at + timedelta(minutes=1))
    return ledger.find_run(run)
