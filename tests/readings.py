"""When another process reads a file: what the kernel's inotify tells."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IN_CLOSE_NOWRITE = 0x10  # linux/inotify.h: a file that was open for reading only was closed
PATIENCE_S = 60.0


@dataclass
class Readings:
    """The readings of the files in one folder."""

    descriptor: int

    def wait_for(self, count: int) -> None:
        """Wait until files were read so many times from now on."""
        while self._is_told(0.0):
            os.read(self.descriptor, 65536)
        for _ in range(count):
            assert self._is_told(PATIENCE_S), "nobody reads"
            os.read(self.descriptor, 65536)

    def _is_told(self, timeout_s: float) -> bool:
        return bool(select.select([self.descriptor], [], [], timeout_s)[0])


@contextmanager
def watch_readings(folder: Path) -> Iterator[Readings]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_CLOSE_NOWRITE) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(folder))
        yield Readings(descriptor)
    finally:
        os.close(descriptor)
