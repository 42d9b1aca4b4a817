"""Runs leave a ledger in one file, with all that belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic_core import from_json
from sqlalchemy import Connection, select

from host.errors import LedgerError, UsageError
from host.ledger.archive import Writer
from host.ledger.lines import write_line
from host.ledger.records import read_run
from host.ledger.schema import baselines, runs, samples
from host.ledger.selecting import EVERYTHING, select_entries, select_run_ids, select_runs
from host.ledger.store import BATCH, Ledger
from host.specs.record import Record


class Exported(Record):
    """What was written."""

    file: str
    bytes: int
    runs: int
    measurements: int
    baselines: int


def export_runs(ledger: Ledger, texts: Sequence[str], file: Path) -> Exported:
    """Write runs, named as `find_run` takes them, or all of them, to a file that appears once it is whole.

    What others save meanwhile is not in it. Raises UsageError where there is no such run.
    """
    chosen = dict.fromkeys(ledger.find_run(text).id for text in texts)
    with ExitStack() as opened:
        connection = original = opened.enter_context(ledger.access.reading(as_of_now=True))
        if not ledger.access.is_current:  # the copy of an old one holds no samples
            original = opened.enter_context(ledger.access.reading(as_of_now=True, as_it_is=True))
        if connection is None or original is None:
            raise UsageError(f"{ledger.where} holds no runs yet", "`bench sweep` makes one.")
        ids = list(chosen) or list(connection.scalars(select_run_ids()))
        with _writing(file) as (writer, part):
            counts = [
                writer.write("runs.jsonl", _list_runs(connection, ids)),
                writer.write("measurements.jsonl", _list_measurements(connection, original, ids)),
                writer.write("baselines.jsonl", _list_baselines(connection, ids)),
            ]
            writer.close()
            size = part.stat().st_size
    return Exported(file=str(file), bytes=size, runs=counts[0], measurements=counts[1], baselines=counts[2])


def _list_runs(connection: Connection, ids: Sequence[str]) -> Iterator[bytes]:
    for run in ids:
        row = connection.execute(select_runs().where(runs.c.id == run)).one()
        yield read_run(row).model_dump_json().encode()


def _list_measurements(connection: Connection, original: Connection, ids: Sequence[str]) -> Iterator[bytes]:
    for run in ids:
        found = connection.execution_options(yield_per=BATCH).execute(select_entries(run, EVERYTHING))
        for rows in found.partitions():
            packed = _read_samples(original, run, [row.task for row in rows])
            for row in rows:
                yield write_line(from_json(row.record), packed.get(row.task, []))


def _read_samples(original: Connection, run: str, tasks: Sequence[str]) -> dict[str, list[tuple[int, bytes]]]:
    """The rounds of some tasks of a run as they are stored."""
    query = (
        select(samples.c.task, samples.c.count, samples.c.data)
        .where((samples.c.run == run) & samples.c.task.in_(tasks))
        .order_by(samples.c.task, samples.c.round)
    )
    found: dict[str, list[tuple[int, bytes]]] = {}
    for task, count, data in original.execute(query):
        found.setdefault(task, []).append((count, data))
    return found


def _list_baselines(connection: Connection, ids: Sequence[str]) -> Iterator[bytes]:
    wanted = set(ids)
    for row in connection.execute(select(baselines).order_by(baselines.c.name)):
        if row.run in wanted:
            yield row.record.encode()


@contextmanager
def _writing(file: Path) -> Iterator[tuple[Writer, Path]]:
    """A writer to a neighbour of the file that takes its place at the end; gone where writing fails."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as stream:
            yield Writer(stream), part
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        hint = "Name a file in a folder that exists, can be written and has room."
        raise LedgerError(f"{file} cannot be written: {error.strerror or error}", hint) from error
    finally:
        part.unlink(missing_ok=True)
