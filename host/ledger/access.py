"""A database as a ledger: absent, of an older release, or ready to be read and written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from host.errors import LedgerError
from host.ledger.database import explain_failures, open_engine, show_url, snapshot, sqlite_path, writing
from host.ledger.migrating import bring_up_to_date, check_schema, explain_damage, read_schema
from host.ledger.old import OldCopy
from host.ledger.schema import SCHEMA


class Access:
    """Connections to one ledger. Nothing is created, and nothing old is altered, before the first write.

    Every method raises LedgerError where the database cannot be used. Threads may share one.
    """

    def __init__(self, url: URL, patience_s: float) -> None:
        self._engine = open_engine(url, patience_s)
        self._file = sqlite_path(url)
        self.is_current = False
        self._copy: OldCopy | None = None
        self._lock = threading.Lock()
        self.where = str(self._file) if self._file else show_url(url)

    def close(self) -> None:
        self._engine.dispose()
        self._drop_copy()

    @contextmanager
    def reading(self, *, as_it_is: bool = False, as_of_now: bool = False) -> Iterator[Connection | None]:
        """A connection to tables of the newest schema; None where nothing was ever stored.

        What an older release wrote is read through a copy, without its samples; `as_it_is` reads the
        ledger itself. `as_of_now`: all reads see the same state, whatever others write meanwhile.
        """
        if self._is_absent():
            yield None
            return
        with explain_failures(self.where):
            engine = self._choose_engine(as_it_is)
            if engine is None:
                yield None
                return
            with snapshot(engine) if as_of_now else engine.connect() as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, in a database that is created, or brought up to date, at the first one."""
        if self._is_absent() and self._file is not None:
            self._create_folder(self._file.parent)
            self.is_current = False  # where somebody took the file away meanwhile
            self._engine.dispose()
        with explain_failures(self.where):
            if not self.is_current:
                bring_up_to_date(self._engine, self.where)
                self.is_current = True
                self._drop_copy()
            with writing(self._engine) as connection:
                yield connection

    def _is_absent(self) -> bool:
        return self._file is not None and not self._file.exists()

    def _choose_engine(self, as_it_is: bool) -> Engine | None:
        """The ledger itself where its schema is the newest, else its copy; None where it has none."""
        if self.is_current:
            return self._engine
        with self._engine.connect() as connection:
            found = read_schema(connection)
        if found is None:
            return None
        check_schema(found, self.where)
        self.is_current = found == SCHEMA
        return self._engine if self.is_current or as_it_is else self._provide_copy()

    def _provide_copy(self) -> Engine:
        with self._lock:
            if self._copy is None:
                with explain_damage(self.where):
                    self._copy = OldCopy(self._engine)
            return self._copy.engine

    def _drop_copy(self) -> None:
        with self._lock:
            if self._copy is not None:
                self._copy.close()
                self._copy = None

    def _create_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "Choose a folder that can be written, or another database."
            raise LedgerError(f"{self.where}: its folder cannot be made: {error.strerror}", hint) from error
