"""Runs that were exported elsewhere join a ledger: each once, all at once, and never in place of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, insert, select, update

from host.errors import LedgerError
from host.ledger.archive import Reader, open_archive
from host.ledger.lines import Line, read_line, tell_fault, write_finite
from host.ledger.packing import unpack_samples
from host.ledger.plausible import check_run
from host.ledger.records import (
    Baseline,
    RunRecord,
    baseline_values,
    plan_values,
    read_run,
    run_values,
    write_time,
)
from host.ledger.schema import baselines, measurements, plans, runs, samples
from host.ledger.selecting import select_runs
from host.ledger.statistics import Samples, summarize_latency
from host.ledger.store import Ledger
from host.ledger.storing import Orders, make_rows, store_rows
from host.specs.record import Record

Fate = Literal["added", "replaced", "known", "conflict"]

LENGTHS = {"run": 80, "task": 80, "device": 64, "variant_id": 80}
"""What the columns of databases hold that keep to their lengths."""
WHOLE = {"threads": 31, "batch": 31, "file_bytes": 63}
"""Bits of the columns of whole numbers."""
TOLD = 5
"""So many conflicts are told one by one."""


class Imported(Record):
    """What came of each kind of thing in a file. `replaced` are failures that made way for another attempt.

    `conflicts` are told in words; what they are about stays as the ledger had it.
    """

    file: str
    runs: dict[str, int]
    measurements: dict[str, int]
    baselines: dict[str, int]
    conflicts: tuple[str, ...]


def import_runs(ledger: Ledger, file: Path, *, keep_ours: bool = False) -> Imported:
    """Add what a file holds and the ledger does not, in one transaction; doing it again changes nothing.

    Raises LedgerError, and then nothing was imported, for a file that is truncated, edited or not valid, and
    for one that tells something else than the ledger under the same name, unless we are to `keep_ours`.
    """
    with open_archive(file) as reader:
        ledger.catch_up()
        with ledger.access.writing() as connection:
            merge = _Merge(reader, connection)
            merge.take_all()
            if merge.conflicts and not keep_ours:
                raise _refuse_conflicts(file, merge.conflicts)
    return Imported(
        file=str(file),
        runs=_count(merge.runs),
        measurements=_count(merge.measurements),
        baselines=_count(merge.baselines),
        conflicts=tuple(merge.conflicts),
    )


def _count(fates: Counter[Fate]) -> dict[str, int]:
    return {fate: fates[fate] for fate in ("added", "replaced", "known", "conflict")}


def _refuse_conflicts(file: Path, conflicts: Sequence[str]) -> LedgerError:
    more = f"\n  and {len(conflicts) - TOLD} more" if len(conflicts) > TOLD else ""
    listed = "".join(f"\n  {conflict}" for conflict in conflicts[:TOLD])
    return LedgerError(
        f"{file} tells something else than the ledger:{listed}{more}",
        "Nothing was imported. --keep-ours imports the rest, and leaves these as they are here.",
    )


class _Merge:
    """One import, within its transaction."""

    def __init__(self, reader: Reader, connection: Connection) -> None:
        self._reader = reader
        self._connection = connection
        self._orders = Orders()
        self._fates: dict[str, Fate] = {}
        self.runs: Counter[Fate] = Counter()
        self.measurements: Counter[Fate] = Counter()
        self.baselines: Counter[Fate] = Counter()
        self.conflicts: list[str] = []

    def take_all(self) -> None:
        for name, take in (
            ("runs.jsonl", self._take_run),
            ("measurements.jsonl", self._take_measurement),
            ("baselines.jsonl", self._take_baseline),
        ):
            for number, line in self._reader.lines(name):
                try:
                    take(line)
                except (ValueError, OverflowError) as error:
                    reason = tell_fault(error) if isinstance(error, ValidationError) else error
                    raise self._reader.refuse(f"line {number} of {name} is not valid: {reason}") from error

    def _take_run(self, line: bytes) -> None:
        run = RunRecord.model_validate_json(write_finite(from_json(line, allow_inf_nan=False)), strict=True)
        check_run(run)
        _check_lengths({"run": run.id})
        row = self._connection.execute(select_runs().where(runs.c.id == run.id)).first()
        if row is None:
            self._connection.execute(insert(runs).values(run_values(run)))
            self._connection.execute(insert(plans).values(plan_values(run)))
            fate: Fate = "added"
        else:
            fate = self._compare_run(read_run(row), run)
        self._fates[run.id] = fate
        self.runs[fate] += 1

    def _compare_run(self, ours: RunRecord, theirs: RunRecord) -> Fate:
        """Everything but how far it is must be the same; of that, the later one is true."""
        same = {"status": "running", "finished_at": None}
        if ours.model_copy(update=same) != theirs.model_copy(update=same):
            return self._conflict(f"run {ours.id}: another plan, profile, seed or start")
        if theirs.finished_at and (ours.finished_at is None or ours.finished_at < theirs.finished_at):
            values = {"status": theirs.status, "finished_at": write_time(theirs.finished_at)}
            self._connection.execute(update(runs).where(runs.c.id == ours.id).values(values))
        return "known"

    def _take_measurement(self, line: bytes) -> None:
        theirs = read_line(line)
        held = theirs.held
        _check_lengths(held)
        if held["run"] not in self._fates:
            raise ValueError(f"it is of run {held['run']!r}, which the file does not hold")
        if self._fates[held["run"]] == "conflict":
            self.measurements["conflict"] += 1
            return
        same = (measurements.c.run == held["run"]) & (measurements.c.task == held["task"])
        row = self._connection.execute(select(measurements.c.record).where(same)).first()
        fate = "added" if row is None else self._compare_measurement(from_json(row.record), theirs)
        if fate in ("added", "replaced"):
            order = self._orders.find(self._connection, held["run"])
            summary = summarize_latency(theirs.rounds)  # computed, not taken from the file
            record = to_json(held).decode()
            store_rows(self._connection, make_rows(held, record, theirs.rounds, summary), order)
        self.measurements[fate] += 1

    def _compare_measurement(self, ours: dict[str, Any], theirs: Line) -> Fate:
        """A success stays, a failure makes way for what was tried later; as where one ledger saw both."""
        held = theirs.held
        what = f"task {held['task']} of run {held['run']} on {ours['device']}"
        if ours == held:
            if self._holds_rounds(held, theirs.rounds):
                return "known"
            return self._conflict(f"{what}: other samples")
        if ours["status"] == "ok":
            return self._conflict(f"{what}: another result") if held["status"] == "ok" else "known"
        if held["status"] == "ok":
            return "replaced"
        our_time, their_time = (datetime.fromisoformat(one["started_at"]) for one in (ours, held))
        if our_time == their_time:
            return self._conflict(f"{what}: another failure")
        return "replaced" if our_time < their_time else "known"

    def _holds_rounds(self, held: dict[str, Any], rounds: Sequence[Samples]) -> bool:
        same = (samples.c.run == held["run"]) & (samples.c.task == held["task"])
        query = select(samples.c.count, samples.c.data).where(same).order_by(samples.c.round)
        ours = [unpack_samples(count, data) for count, data in self._connection.execute(query)]
        return len(ours) == len(rounds) and all(map(np.array_equal, ours, rounds))

    def _take_baseline(self, line: bytes) -> None:
        theirs = Baseline.model_validate(from_json(line))
        if theirs.run not in self._fates:
            raise ValueError(f"it names run {theirs.run!r}, which the file does not hold")
        query = select(baselines.c.run).where(baselines.c.name == theirs.name)
        ours = self._connection.scalar(query)
        if ours is not None and ours != theirs.run:
            fate = self._conflict(f"baseline {theirs.name}: run {ours} here, run {theirs.run} there")
        elif self._fates[theirs.run] == "conflict":
            fate = "conflict"
        else:
            fate = "added" if ours is None else "known"
        if fate == "added":
            self._connection.execute(insert(baselines).values(baseline_values(theirs)))
        self.baselines[fate] += 1

    def _conflict(self, told: str) -> Fate:
        self.conflicts.append(told)
        return "conflict"


def _check_lengths(held: dict[str, Any]) -> None:
    """Raise ValueError for what would not fit into its column."""
    for name, length in LENGTHS.items():
        if len(held.get(name) or "") > length:
            raise ValueError(f"{name} is longer than {length} characters")
    for name, bits in WHOLE.items():
        if abs(held.get(name) or 0) >= 1 << bits:
            raise ValueError(f"{name} is too large")
