"""The ledger: runs, measurements and raw samples, each kept exactly once, in SQLite or another database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, Select, delete, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, OperationalError

from host.errors import LedgerError, UsageError
from host.ledger import schema
from host.ledger.records import (
    Entry,
    RunRecord,
    Status,
    measurement_values,
    pack_round,
    read_run,
    run_values,
    unpack_round,
    write_time,
)
from host.ledger.statistics import STATISTICS_VERSION, LatencySummary, Samples, summarize_latency
from host.specs.measurement import Measurement
from host.workspace import unknown_name


class Ledger:
    """Everything that was measured. Nothing is created before the first write.

    Every method raises LedgerError where the database cannot be used. Threads may share one ledger.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        self._engine = engine
        self._file = schema.sqlite_path(url)
        self._schema: int | None = None
        self.where = str(self._file) if self._file else url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url: str, *, patience_s: float = 30.0) -> Self:
        """The ledger at a SQLAlchemy URL, to be used in a `with` block.

        A locked SQLite file is waited for `patience_s` seconds.
        """
        parsed = schema.parse_url(url)
        return cls(parsed, schema.open_engine(parsed, patience_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    def start_run(self, run: RunRecord) -> None:
        """Store a new run."""
        with self._writing() as connection:
            try:
                connection.execute(insert(schema.runs).values(run_values(run)))
            except IntegrityError as error:
                raise LedgerError(f"{self.where} already holds a run {run.id!r}") from error

    def finish_run(self, run_id: str, status: Status, at: datetime | None = None) -> None:
        """Set a run's status; `at` is when it ended. A resumed run is set to `running` again."""
        values = {"status": status, "finished_at": write_time(at)}
        with self._writing() as connection:
            found = connection.execute(
                update(schema.runs).where(schema.runs.c.id == run_id).values(values)
            ).rowcount
            if not found:
                raise LedgerError(f"{self.where} holds no run {run_id!r}")

    def forget_run(self, run_id: str) -> None:
        """Remove a run that holds no measurement; one that holds any stays as it is."""
        table = schema.measurements
        with self._writing() as connection:
            if connection.execute(select(table.c.task).where(table.c.run == run_id)).first() is None:
                connection.execute(delete(schema.runs).where(schema.runs.c.id == run_id))

    def save(self, measurement: Measurement, rounds: Sequence[Samples]) -> bool:
        """Store a measurement and its samples (ns), round by round; False where it was stored before.

        The same task of the same run is kept once. A failed one makes way for another attempt, an unfit one
        for a measurement; a successful one never does.
        """
        summary = summarize_latency(rounds)
        with self._writing() as connection:
            table = schema.measurements
            same = (table.c.run == measurement.run) & (table.c.task == measurement.task)
            # The delete comes first: it takes the write lock, so that nobody saves in between.
            connection.execute(delete(table).where(same & (table.c.status != "ok")))
            if connection.execute(select(table.c.task).where(same)).first() is not None:
                return False
            try:
                with connection.begin_nested():
                    connection.execute(insert(table).values(measurement_values(measurement, summary)))
            except IntegrityError as error:
                if connection.execute(select(table.c.task).where(same)).first() is not None:
                    return False  # on a database without one write lock, another writer was faster
                raise LedgerError(f"{self.where} holds no run {measurement.run!r} to save to") from error
            packed = [pack_round(measurement, number, held) for number, held in enumerate(rounds)]
            if packed:
                connection.execute(insert(schema.samples), packed)
            return True

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        return self._read_runs()

    def find_run(self, text: str | None = None) -> RunRecord:
        """The run with this id or unique beginning of one; None and `latest` mean the newest.

        Raises UsageError that names the nearest runs where there is none or more than one.
        """
        known = self.runs()
        if not known:
            raise UsageError(f"{self.where} holds no runs yet", "`bench sweep` makes one.")
        if text is None or text == "latest":
            return known[0]
        exact = [run for run in known if run.id == text]
        matching = exact or [run for run in known if text and run.id.startswith(text)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise UsageError(
                f"{len(matching)} runs begin with {text!r}", f"The newest are {_name_some(matching)}."
            )
        raise unknown_name("run", text, [run.id for run in known], f"The newest are {_name_some(known)}.")

    def find_measured_run(self) -> RunRecord:
        """The newest run that holds a measurement; the newest of all where none does."""
        table = schema.measurements
        measured = {row.run for row in self._fetch(select(table.c.run).distinct())}
        return next((run for run in self.runs() if run.id in measured), None) or self.find_run()

    def measurements(self, run_id: str | None = None) -> list[Measurement]:
        """The measurements of one run, or of all, in the order in which they were planned."""
        return [Measurement.model_validate(entry.measurement) for entry in self.entries(run_id)]

    def entries(self, run_id: str | None = None) -> list[Entry]:
        """As `measurements`, unparsed and with their latency: runs newest first, tasks as planned.

        A summary that an older release computed is computed anew from the raw samples.
        """
        table = schema.measurements
        columns = (table.c.run, table.c.task, table.c.record, table.c.statistics, table.c.summary)
        query = select(*columns) if run_id is None else select(*columns).where(table.c.run == run_id)
        rows = self._fetch(query)
        stale = [(row.run, row.task) for row in rows if row.statistics != STATISTICS_VERSION]
        renewed = self._renew_summaries(stale)
        place = self._places(run_id)
        last = len(place)
        rows.sort(key=lambda row: place.get((row.run, row.task), place.get((row.run, ""), (last, last))))
        return [
            Entry(from_json(row.record), renewed.get((row.run, row.task)) or from_json(row.summary))
            for row in rows
        ]

    def samples(self, run_id: str, task: str) -> list[Samples]:
        """The raw samples of one measurement in ns, an array for each round."""
        table = schema.samples
        query = (
            select(table.c.count, table.c.data)
            .where((table.c.run == run_id) & (table.c.task == task))
            .order_by(table.c.round)
        )
        rows = self._fetch(query)
        try:
            return [unpack_round(row.count, row.data) for row in rows]
        except ValueError as error:
            hint = "Measure it again; a copy of the file may still hold them."
            raise LedgerError(f"{self.where}: the samples of task {task} are damaged", hint) from error

    def _read_runs(self, run_id: str | None = None) -> list[RunRecord]:
        table = schema.runs
        query = select(table).order_by(table.c.started_at.desc(), table.c.id.desc())
        narrowed = query if run_id is None else query.where(table.c.id == run_id)
        return [read_run(row) for row in self._fetch(narrowed)]

    def _places(self, run_id: str | None) -> dict[tuple[str, str], tuple[int, int]]:
        """Where a task is told: by its run's place, then by the plan; task "" is where others of a run go."""
        places: dict[tuple[str, str], tuple[int, int]] = {}
        for number, run in enumerate(self._read_runs(run_id)):
            order = run.task_order
            places |= {(run.id, task): (number, at) for task, at in order.items()}
            places[run.id, ""] = (number, len(order))
        return places

    def _renew_summaries(self, stale: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
        renewed = {key: summarize_latency(self.samples(*key)) for key in stale}
        if renewed:
            try:
                self._write_summaries(renewed)
            except LedgerError as error:
                # The stored summary is a cache: a ledger that can only be read is still read in full.
                if not isinstance(error.__cause__, OperationalError):
                    raise
        return {key: summary.model_dump(mode="json") for key, summary in renewed.items()}

    def _write_summaries(self, renewed: dict[tuple[str, str], LatencySummary]) -> None:
        table = schema.measurements
        with self._writing() as connection:
            for (run, task), summary in renewed.items():
                connection.execute(
                    update(table)
                    .where((table.c.run == run) & (table.c.task == task))
                    .values(statistics=STATISTICS_VERSION, summary=summary.model_dump_json())
                )

    def _fetch(self, query: Select[Any]) -> list[Any]:
        """All rows of a query; none where nothing was ever stored."""
        if self._file is not None and not self._file.exists():
            return []
        with schema.explain_failures(self.where), self._engine.connect() as connection:
            return list(connection.execute(query)) if self._holds_schema(connection) else []

    def _holds_schema(self, connection: Connection) -> bool:
        if self._schema is None:
            found = schema.read_schema(connection)
            if found is not None:
                schema.check_schema(found, self.where)
                self._schema = found
        return self._schema is not None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction, in a database that is created, or brought up to date, at the first one."""
        if self._file is not None and not self._file.exists():
            self._create_folder(self._file.parent)
        with schema.explain_failures(self.where):
            with self._engine.connect() as connection:
                self._holds_schema(connection)
            if self._schema != schema.SCHEMA:
                schema.create_schema(self._engine)
                self._schema = schema.SCHEMA
            with self._engine.begin() as connection:
                yield connection

    def _create_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "Choose a folder that can be written, or another database."
            raise LedgerError(f"{self.where}: its folder cannot be made: {error.strerror}", hint) from error


def _name_some(runs: Sequence[RunRecord]) -> str:
    return ", ".join(run.id for run in runs[:5])
