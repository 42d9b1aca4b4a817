"""How a database is addressed and opened, how a write begins, and what its failures mean to a person."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)

from host.errors import LedgerError, LedgerRefusal

LASTING = ("no such table", "no such column", "has no column", "readonly", "read-only", "syntax error")
"""Operational errors of SQLite that trying again does not mend."""
STANDBY = "25006"
"""What PostgreSQL calls a write to a server that is a copy; after a failover it soon is none."""


def parse_url(text: str) -> URL:
    """The address of a database. Raises LedgerError saying how one is written."""
    example = "Name a database like sqlite:///results/boardbench.sqlite or postgresql+psycopg://host/bench."
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        # Not chained: what SQLAlchemy and `int` say repeats a part of the text.
        raise LedgerError(f"{mask_password(text)!r} is no database URL", example) from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise LedgerError(f"{mask_password(text)!r} keeps its data in memory only", example)
    return url


def mask_password(text: str) -> str:
    """A URL without its password, also where it is written wrongly: rather too little is shown than too much.

    Without an `@`, what follows the first colon is a port only if it is a number.
    """
    shown = re.sub(r"^((?:[\w+.-]+:/{0,3})?[^:/@]*:)(?!//).*@", r"\1***@", text, flags=re.DOTALL)
    shown = re.sub(r"(://[^:/@[]*:)(?!\*\*\*@|\d+(?:[/?]|$))[^/?]*", r"\1***", shown)
    return _mask_query(shown)


def _mask_query(text: str) -> str:
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", text, flags=re.IGNORECASE)


def show_url(url: URL) -> str:
    """A database's address for a person, without its password."""
    return _mask_query(url.render_as_string(hide_password=True))


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database, None for another database or one that is named by SQLite's own URI."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def open_engine(url: URL, patience_s: float) -> Engine:
    """An engine that has not connected yet. Raises LedgerError where the driver is missing."""
    is_sqlite = url.get_backend_name() == "sqlite"
    try:
        # A server may have been started anew since a connection was used last.
        engine = create_engine(
            url,
            connect_args=_wait_at_most(url, patience_s),
            pool_pre_ping=not is_sqlite,
            hide_parameters=True,
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        hint = "Install its driver beside boardbench; for PostgreSQL: pip install 'boardbench[postgresql]'."
        raise LedgerError(f"no driver for {url.drivername!r}: {error}", hint) from error
    except (ArgumentError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        hint = "A SQLite file is sqlite:///relative/path or sqlite:////absolute/path."
        raise LedgerError(
            f"{show_url(url)!r} cannot be used: {reason}", hint if is_sqlite else None
        ) from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        file = sqlite_path(url)
        if file is not None:
            event.listen(engine, "do_connect", partial(_open_as_it_is, file))
    return engine


def _wait_at_most(url: URL, patience_s: float) -> dict[str, Any]:
    """What tells a driver how long to wait: for a lock of SQLite, for a server that does not answer."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": patience_s}
    if url.drivername in ("postgresql+psycopg", "postgresql+psycopg2", "postgresql"):
        seconds = max(2, round(patience_s))  # libpq takes less for two
        return {} if "connect_timeout" in url.query else {"connect_timeout": seconds}
    return {}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Foreign keys are off by default; NORMAL is enough in WAL: a crash of ours loses nothing."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _open_as_it_is(file: Path, _dialect: Any, _record: Any, words: list[Any], named: dict[str, Any]) -> None:
    """Where a folder cannot be written, SQLite must be told that nobody writes: it would put files there.

    A file that somebody does write has a log beside it.
    """
    is_written = file.with_name(f"{file.name}-wal").exists() or os.access(file.parent, os.W_OK)
    if file.exists() and not is_written:
        words[0] = f"{file.absolute().as_uri()}?immutable=1"
        named["uri"] = True


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction. In SQLite it holds the lock of writers from its beginning on, so that what it reads
    stays true until its end; without, two that read first and then write would fail each other."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose reads all see the database as it is at the first of them."""
    is_sqlite = engine.dialect.name == "sqlite"
    options = {} if is_sqlite else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection:
        if is_sqlite:
            connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def explain_failures(where: str) -> Iterator[None]:
    """Turn a database's errors into LedgerError that says what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = str(cause).strip().split("\n", maxsplit=1)[0]
        kind = LedgerRefusal if isinstance(error, IntegrityError | DataError) else LedgerError
        raise kind(f"{where}: {reason}", _advise(reason.lower(), where)) from error


def is_transient(error: BaseException | None) -> bool:
    """Whether the same call may work later: the database is down, locked, full or out of reach."""
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == STANDBY:
        return True
    reason = str(error.orig).lower()
    return isinstance(error, OperationalError | InterfaceError) and not any(
        words in reason for words in LASTING
    )


def _advise(reason: str, where: str) -> str:
    if "locked" in reason:
        return "Another process is writing to it; wait for it to end, or end it, and try again."
    if "not a database" in reason or "malformed" in reason:
        return (
            "The file is damaged, or no ledger. Move it away (a new one is started), or rescue what it "
            f"holds with `sqlite3 {where} .recover`."
        )
    if "full" in reason or "no space left" in reason:
        return "Free some space on its disk and try again; what was saved before is safe."
    if "readonly" in reason or "permission" in reason:
        return "The file or its folder cannot be written; check their permissions."
    if "unable to open" in reason:
        return "Check that it is a file, and that its folder can be read and written."
    if "connection" in reason or "server" in reason:
        return "Check that the database is up and can be reached from here, and its URL."
    return "Check the database and its URL."
