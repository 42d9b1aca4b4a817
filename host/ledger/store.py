"""The ledger: runs, measurements and raw samples, each kept exactly once, in SQLite or another database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Self

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from host.errors import LedgerError, LedgerRefusal, UsageError
from host.ledger import schema
from host.ledger.access import Access
from host.ledger.buffer import Buffer, Finish
from host.ledger.database import is_transient, parse_url
from host.ledger.lines import Line, pack_line
from host.ledger.packing import unpack_samples
from host.ledger.records import (
    Entry,
    Figures,
    RunLine,
    RunRecord,
    Status,
    latency_figures,
    plan_values,
    read_run,
    read_run_line,
    run_values,
    write_time,
)
from host.ledger.selecting import (
    EVERYTHING,
    FIRST_HAND,
    Selection,
    select_entries,
    select_figures,
    select_run_ids,
    select_run_lines,
    select_runs,
)
from host.ledger.statistics import STATISTICS_VERSION, LatencySummary, Samples, summarize_latency
from host.ledger.storing import Key, Orders, make_rows, replace_summaries, store_rows
from host.specs.measurement import Measurement
from host.workspace import unknown_name

BATCH = 500
"""So many rows are read at a time: what a stream of measurements holds in memory."""
RUNS = 16
"""So many runs are selected and sorted at a time."""
WITHOUT_LAST = itemgetter(slice(-1))
FEW = 5
"""So many runs are named where it cannot be told which one is meant."""


class Ledger:
    """Everything that was measured. Nothing is created before the first write.

    Every method raises LedgerError where the database cannot be used. Threads may share one ledger.
    """

    def __init__(self, access: Access, buffer: Buffer | None = None) -> None:
        self.access = access
        self._buffer = buffer
        self._orders = Orders()

    @classmethod
    def open(cls, url: str, *, patience_s: float = 30.0, buffer: Buffer | None = None) -> Self:
        """The ledger at a SQLAlchemy URL, to be used in a `with` block.

        A locked SQLite file, and a server that does not answer, is waited for `patience_s` seconds. With a
        `buffer`, what the database then cannot take waits there; without one, saving it raises.
        """
        return cls(Access(parse_url(url), patience_s), buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.access.close()

    @property
    def where(self) -> str:
        """The file, or the URL without its password."""
        return self.access.where

    def start_run(self, run: RunRecord) -> None:
        """Store a new run."""
        self.catch_up()
        with self.access.writing() as connection:
            try:
                connection.execute(insert(schema.runs).values(run_values(run)))
            except IntegrityError as error:
                raise LedgerError(f"{self.where} already holds a run {run.id!r}") from error
            connection.execute(insert(schema.plans).values(plan_values(run)))

    def finish_run(self, run_id: str, status: Status, at: datetime | None = None) -> None:
        """Set a run's status; `at` is when it ended. A resumed run is set to `running` again.

        With a buffer, the end of a run waits there, too, while the database is down.
        """
        try:
            self.catch_up()
            self._set_status(run_id, status, at)
        except LedgerError as error:
            if self._buffer is None or at is None or not is_transient(error.__cause__):
                raise
            self._buffer.keep(Finish(finished=run_id, status=status, at=at).model_dump_json().encode())
            self._buffer.rest(error, 0)

    def forget_run(self, run_id: str) -> None:
        """Remove a run that holds no measurement and is no baseline; one that does stays as it is."""
        tables = (schema.figures, schema.baselines)
        with self.access.writing() as connection:
            if not any(connection.scalar(select(exists().where(table.c.run == run_id))) for table in tables):
                connection.execute(delete(schema.runs).where(schema.runs.c.id == run_id))

    def save(self, measurement: Measurement, rounds: Sequence[Samples]) -> bool:
        """Store a measurement and its samples (ns), round by round; False where it was stored before.

        The same task of the same run is kept once. A failed one makes way for another attempt, an unfit one
        for a measurement; a successful one never does. With a buffer, a database that is down raises nothing.
        """
        buffer = self._buffer
        if buffer is not None and buffer.is_resting:
            buffer.keep(pack_line(measurement, rounds))
            return True
        began = time.monotonic()
        try:
            self.catch_up()
            return self._store(measurement.as_json(), measurement.model_dump_json(), rounds)
        except LedgerError as error:
            if buffer is None or not is_transient(error.__cause__):
                raise
            buffer.keep(pack_line(measurement, rounds))
            buffer.rest(error, time.monotonic() - began)
            return True

    def catch_up(self) -> None:
        """Save what waits because the database was down when it came, if anything does."""
        if self._buffer is not None:
            self._buffer.drain(self._save_late)

    def runs(self) -> list[RunRecord]:
        """Every run with its plan, the newest first."""
        return [read_run(row) for row in self._fetch(select_runs())]

    def list_runs(self) -> list[RunLine]:
        """Every run in a line, the newest first: quick however many and however large they are."""
        return [read_run_line(row) for row in self._fetch(select_run_lines())]

    def find_run(self, text: str | None = None) -> RunRecord:
        """The run with this id or unique beginning of one; None and `latest` mean the newest.

        Raises UsageError that names the nearest runs where there is none or more than one.
        """
        ids = select_run_ids()
        if text is None or text == "latest":
            newest = self._fetch(ids.where(FIRST_HAND).limit(1))
            if not newest:
                raise self._explain_empty()
            return self._read_run(newest[0].id)
        beginning = func.substr(schema.runs.c.id, 1, len(text)) == text
        matching = [row.id for row in self._fetch(ids.where(beginning))] if text else []
        if text in matching or len(matching) == 1:
            return self._read_run(text if text in matching else matching[0])
        if matching:
            raise UsageError(
                f"{len(matching)} runs begin with {text!r}", f"The newest are {', '.join(matching[:FEW])}."
            )
        known = [row.id for row in self._fetch(ids)]
        if not known:
            raise self._explain_empty()
        raise unknown_name("run", text, known, f"The newest are {', '.join(known[:FEW])}.")

    def find_measured_run(self) -> RunRecord:
        """The newest run that holds a measurement; the newest of all where none does."""
        measured = exists().where(schema.figures.c.run == schema.runs.c.id)
        newest = self._fetch(select_run_ids().where(measured, FIRST_HAND).limit(1))
        return self._read_run(newest[0].id) if newest else self.find_run()

    def measurements(self, run_id: str | None = None) -> list[Measurement]:
        """The measurements of one run, or of all, in the order in which they were planned."""
        return [Measurement.model_validate(entry.measurement) for entry in self.stream_entries(run_id)]

    def entries(self, run_id: str | None = None, where: Selection = EVERYTHING) -> list[Entry]:
        """As `measurements`, unparsed and with their latency, those `where` the selection holds."""
        return list(self.stream_entries(run_id, where))

    def stream_entries(self, run_id: str | None = None, where: Selection = EVERYTHING) -> Iterator[Entry]:
        """As `entries`, runs newest first and tasks as planned, of which only a few are held at a time.

        A summary that an older release computed is computed anew from the raw samples.
        """
        for rows in self._stream(select_entries, run_id, where):
            renewed = self._renew_summaries(rows)
            for row in rows:
                summary = renewed.get((row.run, row.task))
                try:
                    latency = summary.model_dump(mode="json") if summary else from_json(row.summary)
                    held = from_json(row.record)
                except ValueError as error:
                    raise self._explain_damage(f"the record of task {row.task} is damaged") from error
                yield Entry(held, latency)

    def figures(self, run_id: str | None = None, where: Selection = EVERYTHING) -> Iterator[Figures]:
        """As `stream_entries`, only what one selects and tabulates by: a hundred thousand in a second."""
        for rows in self._stream(select_figures, run_id, where):
            renewed = self._renew_summaries(rows)
            for found in map(Figures._make, map(WITHOUT_LAST, rows)):
                summary = renewed.get((found.run, found.task)) if renewed else None
                yield found._replace(**latency_figures(summary.model_dump())) if summary else found

    def samples(self, run_id: str, task: str) -> list[Samples]:
        """The raw samples of one measurement in ns, an array for each round."""
        table = schema.samples
        query = (
            select(table.c.count, table.c.data)
            .where((table.c.run == run_id) & (table.c.task == task))
            .order_by(table.c.round)
        )
        rows = self._fetch(query, as_it_is=True)
        try:
            return [unpack_samples(count, data) for count, data in rows]
        except ValueError as error:
            raise self._explain_damage(f"the samples of task {task} are damaged") from error

    def _store(self, held: dict[str, Any], record: str, rounds: Sequence[Samples]) -> bool:
        rows = make_rows(held, record, rounds, summarize_latency(rounds))
        with self.access.writing() as connection:
            order = self._orders.find(connection, held["run"])
            try:
                return store_rows(connection, rows, order)
            except IntegrityError as error:
                known = connection.scalar(select(schema.runs.c.id).where(schema.runs.c.id == held["run"]))
                reason = error.orig if known else f"it holds no run {held['run']!r} to save to"
                raise LedgerRefusal(f"{self.where}: {reason}") from error

    def _save_late(self, found: Line | Finish) -> None:
        if isinstance(found, Line):
            self._store(found.held, to_json(found.held).decode(), found.rounds)
        else:
            self._set_status(found.finished, found.status, found.at)

    def _set_status(self, run_id: str, status: Status, at: datetime | None) -> None:
        values = {"status": status, "finished_at": write_time(at)}
        with self.access.writing() as connection:
            same = schema.runs.c.id == run_id
            if not connection.execute(update(schema.runs).where(same).values(values)).rowcount:
                raise LedgerRefusal(f"{self.where} holds no run {run_id!r}")

    def _read_run(self, run_id: str) -> RunRecord:
        return read_run(self._fetch(select_runs().where(schema.runs.c.id == run_id))[0])

    def _explain_damage(self, what: str) -> LedgerError:
        return LedgerError(
            f"{self.where}: {what}", "Measure it again; a copy of the database may still hold it."
        )

    def _explain_empty(self) -> UsageError:
        return UsageError(f"{self.where} holds no runs yet", "`bench sweep` makes one.")

    def _renew_summaries(self, rows: Sequence[Any]) -> dict[Key, LatencySummary]:
        """Those of rows whose statistics another release computed."""
        stale = [(row.run, row.task) for row in rows if row.statistics != STATISTICS_VERSION]
        renewed = {key: summarize_latency(self.samples(*key)) for key in stale}
        if renewed and self.access.is_current:
            try:
                with self.access.writing() as connection:
                    replace_summaries(connection, renewed)
            except LedgerError as error:
                # The stored summary is a cache: a ledger that can only be read is still read in full.
                if not isinstance(error.__cause__, OperationalError):
                    raise
        return renewed

    def _fetch(self, query: Select[Any], *, as_it_is: bool = False) -> list[Any]:
        """All rows of a query; none where nothing was ever stored."""
        with self.access.reading(as_it_is=as_it_is) as connection:
            return [] if connection is None else list(connection.execute(query))

    def _stream(
        self, build: Callable[[str | None, Selection], Select[Any]], run_id: str | None, where: Selection
    ) -> Iterator[Sequence[Any]]:
        """The rows that queries find, some at a time; the database sorts a few runs at once, never all."""
        with self.access.reading() as connection:
            if connection is None:
                return
            streaming = connection.execution_options(yield_per=BATCH)
            left = where.limit
            for part in self._split(connection, run_id, where):
                limited = part.model_copy(update={"limit": left})
                for rows in streaming.execute(build(run_id, limited)).partitions():
                    yield rows
                    left = None if left is None else left - len(rows)
                if left == 0:
                    return

    def _split(self, connection: Connection, run_id: str | None, where: Selection) -> Iterator[Selection]:
        """A selection as several, each of a few runs, the newest first."""
        if run_id is not None:
            yield where
            return
        ids = [run for run in connection.scalars(select_run_ids()) if not where.runs or run in where.runs]
        for at in range(0, len(ids), RUNS):
            yield where.model_copy(update={"runs": tuple(ids[at : at + RUNS])})
