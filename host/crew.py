"""Work on several boards at once: each has a thread, and what they find out is handled in one place."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Say = Callable[[object], None]


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
    """Threads that work side by side. They are daemons: an interrupted command does not wait for them."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Said[object] | Ended] = queue.SimpleQueue()
        self.busy: set[str] = set()

    def start(self, work: Mapping[str, Callable[[Say], object]]) -> Crew:
        """Start a thread for each name. One who is interrupted in here finds all of them busy already."""
        self.busy |= set(work)
        for name, job in work.items():
            threading.Thread(target=self._work, args=(name, job), name=f"board {name}", daemon=True).start()
        return self

    def _work(self, name: str, job: Callable[[Say], object]) -> None:
        try:
            value = job(lambda what: self._inbox.put(Said(name, what)))
        except Exception as error:  # noqa: BLE001 - handed to the one who listens, who raises what is a bug
            self._inbox.put(Ended(name, error=error))
        else:
            self._inbox.put(Ended(name, value))

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
