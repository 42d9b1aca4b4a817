"""Work that must not be done twice at once, by threads or processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path


@contextmanager
def hold_alone(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep others out of the block by a lock on a file; `on_wait` is called once if one of them is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            on_wait()
            flock(file, LOCK_EX)
        yield
