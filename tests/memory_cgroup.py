"""A control group without memory: the kernel kills a process in it for the next page that it touches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
LIMITS = {ROOT / "memory": "memory.limit_in_bytes", ROOT: "memory.max"}  # version 1, version 2


@contextlib.contextmanager
def open_cgroup(name: str) -> Iterator[Callable[[int], None] | None]:
    """What puts a process there; None where this machine lets us make no such group."""
    for root, limit in LIMITS.items():
        folder = root / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text("0")
        except OSError:
            folder.rmdir()
            continue
        try:
            yield partial(_move, folder)
        finally:
            _remove(folder)
        return
    yield None


def _move(folder: Path, pid: int) -> None:
    """Move a whole process; of version 1's files, `cgroup.procs` does that too."""
    (folder / "cgroup.procs").write_text(str(pid))


def _remove(folder: Path) -> None:
    """Remove the group once the last process has left it."""
    for _ in range(200):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
