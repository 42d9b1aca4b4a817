"""What the database could not take waits in a folder, one file for each thing, until it can.

A file is written whole and synced to the disk before it counts. It begins with the SHA-256 of the rest, so
that one which the disk has damaged is told from one to save.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pydantic_core import from_json

from host.errors import LedgerError, LedgerRefusal
from host.ledger.database import parse_url, sqlite_path
from host.ledger.lines import Line, read_line
from host.ledger.records import Status
from host.specs.record import Record

SHORT_PAUSE_S = 5.0
LONG_PAUSE_S = 60.0
"""How long a database that failed is left alone: boards go on, and a call may take all its patience."""

WAITING, DAMAGED, REFUSED = ".waiting", ".damaged", ".refused"


class Finish(Record):
    """How a run ended."""

    finished: str
    status: Status
    at: datetime | None


class Buffer:
    """The folder of one ledger. `say` tells a person, once, that something waits, and when it is saved."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._resting_until = 0.0
        self._has_told = False

    @classmethod
    def beside(cls, results: Path, url: str, say: Callable[[str], None]) -> Buffer:
        """The folder for the ledger at a URL; those of several ledgers are told apart, whoever logs in."""
        parsed = parse_url(url)
        file = sqlite_path(parsed)
        place = str(file.resolve()) if file else f"{parsed.host}:{parsed.port}/{parsed.database}"
        return cls(results / "unsaved" / hashlib.sha256(place.encode()).hexdigest()[:12], say)

    @property
    def is_resting(self) -> bool:
        """Whether the database failed so recently that it is not asked again."""
        return time.monotonic() < self._resting_until

    def rest(self, error: LedgerError, took_s: float) -> None:
        """Leave the database alone for a while, and tell the first time that it failed."""
        self._resting_until = time.monotonic() + min(max(SHORT_PAUSE_S, took_s), LONG_PAUSE_S)
        if not self._has_told:
            self._has_told = True
            self._say(f"{error.message}; measurements wait in {self.folder} and are saved when it is back")

    def count(self) -> int:
        """How many things wait."""
        return len(self._list())

    def keep(self, line: bytes) -> None:
        """Put a line on the disk. Raises LedgerError where that fails, too."""
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}"
        part = self.folder / f"{name}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                stream.write(hashlib.sha256(line).hexdigest().encode() + b"\n" + line)
                stream.flush()
                os.fsync(stream.fileno())
            part.rename(part.with_suffix(WAITING))
            with _open_folder(self.folder) as folder:
                os.fsync(folder)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise LedgerError(
                f"the database cannot save, and {self.folder} cannot be written: {error.strerror}",
                "Make room there; what the boards have finished waits in their journals.",
            ) from error

    def drain(self, save: Callable[[Line | Finish], object]) -> None:
        """Save everything that waits, the oldest first; a file goes once what it holds is saved.

        One process does it at a time. A database that fails again, or that we may not write to, leaves the
        rest waiting, and its error passes; what is damaged, or what the database will never take, is set
        aside and told.
        """
        if not self._list():
            return
        with _open_folder(self.folder) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            saved = sum(self._save_one(path, save) for path in self._list())
        if saved:
            self._say(f"saved {saved} of what waited in {self.folder}")
        self._has_told = False

    def _save_one(self, path: Path, save: Callable[[Line | Finish], object]) -> bool:
        try:
            save(_read(path.read_bytes()))
        except ValueError as error:
            self._set_aside(path, DAMAGED, str(error))
            return False
        except LedgerRefusal as error:
            self._set_aside(path, REFUSED, error.message)
            return False
        path.unlink()
        return True

    def _set_aside(self, path: Path, suffix: str, reason: str) -> None:
        aside = path.rename(path.with_suffix(suffix))
        self._say(f"{aside} could not be saved and was set aside: {reason}")

    def _list(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == WAITING)
        except (FileNotFoundError, NotADirectoryError):
            return []


def _read(held: bytes) -> Line | Finish:
    digest, _, line = held.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != digest:
        raise ValueError("its checksum does not fit")
    if line.startswith(b'{"finished"'):
        return Finish.model_validate(from_json(line))
    return read_line(line)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """A folder's descriptor: what is locked, and what is synced so that a name in it lasts."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
