"""What a report reads of the ledger: runs with their rows, and the shapes of the samples behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from host.errors import UsageError
from host.ledger.distributions import Shape, describe_shape
from host.ledger.records import RunRecord
from host.ledger.rows import Row, result_rows
from host.ledger.store import Ledger
from host.workspace import unknown_name

MOST_ROWS = 1000
"""Beyond this no reader finds anything on one page, and a phone cannot open it."""


class ReportedRun(NamedTuple):
    """One run; `shapes` holds those of its successful measurements by task."""

    run: RunRecord
    rows: tuple[Row, ...]
    shapes: dict[str, Shape]


def read_reported(
    ledger: Ledger,
    texts: Sequence[str] = (),
    devices: Collection[str] = (),
    models: Collection[str] = (),
) -> tuple[ReportedRun, ...]:
    """The runs that `texts` name, each once, or the newest that measured anything; narrowed where asked.

    Raises UsageError where nothing is left, more than a page can hold, or for a device that no run holds.
    """
    named = [ledger.find_run(text) for text in texts] or [ledger.find_measured_run()]
    runs = {run.id: run for run in named}
    held = {name: result_rows(ledger, name) for name in runs}
    _check_devices(devices, held)
    rows = {name: _narrow(listed, devices, models) for name, listed in held.items()}
    _check_count(sum(map(len, rows.values())), list(runs))
    return tuple(
        ReportedRun(run, rows[name], _read_shapes(ledger, name, rows[name])) for name, run in runs.items()
    )


def _check_devices(devices: Collection[str], held: Mapping[str, Sequence[Row]]) -> None:
    known = list(dict.fromkeys(row["device"] for rows in held.values() for row in rows))
    for device in devices:
        if device not in known:
            listed = f"There is {', '.join(known) or 'none'}."
            raise UsageError(
                f"nothing to report of {', '.join(held)} on {device}",
                unknown_name("measured device", device, known, listed).hint,
            )


def _narrow(rows: Sequence[Row], devices: Collection[str], models: Collection[str]) -> tuple[Row, ...]:
    return tuple(
        row
        for row in rows
        if (not devices or row["device"] in devices) and (not models or row["model"] in models)
    )


def _check_count(count: int, runs: Sequence[str]) -> None:
    if count == 0:
        raise UsageError(
            f"nothing to report of {', '.join(runs)}", "`bench results --run R` shows what a run measured."
        )
    if count > MOST_ROWS:
        raise UsageError(
            f"{count:,} measurements are too many for one page; {MOST_ROWS:,} fit",
            "Name fewer runs, or narrow it with --device and --model.",
        )


def _read_shapes(ledger: Ledger, run: str, rows: Sequence[Row]) -> dict[str, Shape]:
    tasks = [row["task"] for row in rows if row["status"] == "ok"]
    found = ((task, describe_shape(ledger.samples(run, task))) for task in tasks)
    return {task: shape for task, shape in found if shape is not None}
