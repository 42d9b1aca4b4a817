"""Work on several boards at once: each has a thread, and what they find out is handled in one place."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Say = Callable[[object], None]

AT_ONCE = 16
"""Boards that are readied or sent files at once unless a limit is asked for: more would only share this
machine's processor and its network, until handshakes take longer than anyone waits for them."""


@dataclass(frozen=True)
class Said(Generic[T]):
    """What the thread of `name` said while it works."""

    name: str
    what: T


@dataclass(frozen=True)
class Ended:
    """The thread of `name` is done: with a value, or with the exception that ended it."""

    name: str
    value: object = None
    error: Exception | None = None


class Crew:
    """Threads that work side by side. They are daemons: an interrupted command does not wait for them.

    At most `limit` of them work at once, in the order of their names in the work; the others wait.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._inbox: queue.SimpleQueue[Said[object] | Ended] = queue.SimpleQueue()
        self._waiting: list[tuple[str, Callable[[Say], object]]] = []
        self._free = limit
        self._lock = threading.Lock()
        self.busy: set[str] = set()

    def start(self, work: Mapping[str, Callable[[Say], object]]) -> Crew:
        """Start a thread for each name. One who is interrupted in here finds all of them busy already."""
        self.busy |= set(work)
        with self._lock:
            self._waiting += work.items()
        self._start_next()
        return self

    def dismiss(self) -> set[str]:
        """Send home those who have not begun; their names. Nothing is said of them any more."""
        with self._lock:
            names = {name for name, _ in self._waiting}
            self._waiting.clear()
        self.busy -= names
        return names

    def _start_next(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._free == 0:
                    return
                name, job = self._waiting.pop(0)
                self._free = None if self._free is None else self._free - 1
            threading.Thread(target=self._work, args=(name, job), name=f"board {name}", daemon=True).start()

    def _work(self, name: str, job: Callable[[Say], object]) -> None:
        try:
            ended = Ended(name, job(lambda what: self._inbox.put(Said(name, what))))
        except Exception as error:  # noqa: BLE001 - handed to the one who listens, who raises what is a bug
            ended = Ended(name, error=error)
        with self._lock:
            self._free = None if self._free is None else self._free + 1
        self._start_next()
        self._inbox.put(ended)

    def listen(self, patience_s: float | None = None) -> Iterator[Said[object] | Ended]:
        """What the threads say, until all have ended, or nothing is said for `patience_s` seconds."""
        while self.busy:
            try:
                message = self._inbox.get(timeout=patience_s)
            except queue.Empty:
                return
            if isinstance(message, Ended):
                self.busy.discard(message.name)
            yield message
