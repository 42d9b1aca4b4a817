"""The tables of the ledger, how a database is opened, and what its failures mean to a person.

History of SCHEMA:
1  the first.
2  measurements may have the status `unfit`, and tell `gzip_bytes` and `packed_bytes`; runs tell `limits`.
3  measurements tell more of the runtime, of power, and of the scenario in which they were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from host.errors import LedgerError

SCHEMA = 3

metadata = MetaData()

facts = Table(
    "ledger",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("started_at", String(40), nullable=False, index=True),
    Column("finished_at", String(40)),
    Column("record", Text, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("run", String(80), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("variant_id", String(80), nullable=False),
    Column("status", String(16), nullable=False),
    Column("record", Text, nullable=False),
    Column("statistics", Integer, nullable=False),
    Column("summary", Text, nullable=False),
    Index("measurements_by_device", "device"),
    Index("measurements_by_variant", "variant_id"),
    Index("measurements_by_status", "status"),
)

samples = Table(
    "samples",
    metadata,
    Column("run", String(80), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),  # zlib of little-endian int64, nanoseconds
    ForeignKeyConstraint(["run", "task"], ["measurements.run", "measurements.task"], ondelete="CASCADE"),
)


def parse_url(text: str) -> URL:
    """The address of a database. Raises LedgerError saying how one is written."""
    example = "Name a database like sqlite:///results/boardbench.sqlite or postgresql+psycopg://host/bench."
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise LedgerError(f"{text!r} is no database URL", example) from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise LedgerError(f"{text!r} keeps its data in memory only", example)
    return url


def open_engine(url: URL, patience_s: float) -> Engine:
    """An engine that has not connected yet. Raises LedgerError where the driver is missing."""
    is_sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(url, connect_args={"timeout": patience_s} if is_sqlite else {})
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        hint = "Install its driver beside boardbench; `pip install psycopg[binary]` is that of PostgreSQL."
        raise LedgerError(f"no driver for {url.drivername!r}: {error}", hint) from error
    except (ArgumentError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        hint = "A SQLite file is sqlite:///relative/path or sqlite:////absolute/path."
        raise LedgerError(
            f"{url.render_as_string()!r} cannot be used: {reason}", hint if is_sqlite else None
        ) from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Foreign keys are off by default; NORMAL is enough in WAL: a crash of ours loses nothing."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def read_schema(connection: Connection) -> int | None:
    """The schema version of a database, None where nothing was stored yet."""
    if not inspect(connection).has_table(facts.name):
        return None
    found = connection.execute(select(facts.c.value).where(facts.c.name == "schema")).scalar()
    return None if found is None else int(found)


def create_schema(engine: Engine) -> None:
    """Create what is missing, and mark what an older release wrote: all that it holds is valid as it is.

    Safe when several processes do it at once.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.commit()
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))
        connection.commit()
        try:
            connection.execute(insert(facts).values(name="schema", value=SCHEMA))
            connection.commit()
        except IntegrityError:  # an older release, or another process that was first
            connection.rollback()
            older = (facts.c.name == "schema") & (facts.c.value < SCHEMA)
            connection.execute(update(facts).where(older).values(value=SCHEMA))
            connection.commit()


def check_schema(found: int, where: str) -> None:
    """Raise LedgerError for a ledger that a newer release has written."""
    if found > SCHEMA:
        raise LedgerError(
            f"{where} was written by a newer boardbench (schema {found}; this one reads {SCHEMA})",
            "Upgrade with `pip install --upgrade boardbench`.",
        )


@contextmanager
def explain_failures(where: str) -> Iterator[None]:
    """Turn a database's errors into LedgerError that says what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = str(cause).strip().split("\n", maxsplit=1)[0]
        raise LedgerError(f"{where}: {reason}", _advise(reason.lower(), where)) from error


def _advise(reason: str, where: str) -> str:
    if "locked" in reason:
        return "Another process is writing to it; wait for it to end, or end it, and try again."
    if "not a database" in reason or "malformed" in reason:
        return (
            "The file is damaged, or no ledger. Move it away (a new one is started), or rescue what it "
            f"holds with `sqlite3 {where} .recover`."
        )
    if "full" in reason:
        return "Free some space on its disk and try again; what was saved before is safe."
    if "readonly" in reason or "permission" in reason:
        return "The file or its folder cannot be written; check their permissions."
    if "unable to open" in reason:
        return "Check that it is a file, and that its folder can be read and written."
    return "Check the database and its URL."


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database, None for another database or one that is named by SQLite's own URI."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)
