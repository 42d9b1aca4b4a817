"""A PostgreSQL of our own: a cluster in a folder that goes away, on a socket in it, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine

MISSING = "PostgreSQL is not installed: apt-get install postgresql"
SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=40", "shared_buffers=32MB")


@dataclass
class Postgres:
    """A server that is up, until `stop`."""

    programs: Path
    folder: Path
    within: tuple[str, ...]
    _numbers: Iterator[int] = field(default_factory=count)

    def start(self) -> None:
        options = " ".join(
            f"-c {setting}" for setting in (*SETTINGS, f"unix_socket_directories={self.folder}")
        )
        self._control("start", "-o", options, "-l", str(self.folder / "server.log"))

    def stop(self) -> None:
        """End it at once, as a crash would."""
        self._control("stop", "-m", "immediate")

    def url(self) -> str:
        """The address of an empty place in it, that nobody else uses."""
        name = f"place_{next(self._numbers)}"
        engine = create_engine(self._address())
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        engine.dispose()
        return self._address(f"&options=-csearch_path%3D{name}")

    def _address(self, more: str = "") -> str:
        return f"postgresql+psycopg://bench@/postgres?host={self.folder}{more}"

    def _control(self, *words: str) -> None:
        call(self.within, self.programs / "pg_ctl", "-D", self.folder / "data", "-w", "-s", *words)


@contextmanager
def run_postgres() -> Iterator[Postgres | None]:
    """A server for as long as the block lasts; None where there is none on this machine."""
    programs = find_programs()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # short: a socket's path has 107 characters
    within = step_down(folder)
    server = Postgres(programs, folder, within)
    try:
        words = ("--no-sync", "--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C")
        call(within, programs / "initdb", "-D", folder / "data", *words)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_programs() -> Path | None:
    """The folder of the server's programs; Debian keeps them out of the path."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return Path(found).parent if found else folders[-1].parent if folders else None


def step_down(folder: Path) -> tuple[str, ...]:
    """The words before a command that run it as somebody other than root, to whom the folder is given."""
    if os.geteuid() != 0:
        return ()
    names = [entry.pw_name for entry in pwd.getpwall()]
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


def call(within: tuple[str, ...], *words: object) -> None:
    # The server that pg_ctl leaves behind would keep a pipe open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([*within, *map(str, words)], stdout=said, stderr=said, cwd="/", check=False)
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
