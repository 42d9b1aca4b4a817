"""Emulated boards that share cores of this machine measure one by one, as they would disturb each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from host.errors import Interrupted


class Turns:
    """Hands out cores. Who came first goes first, unless it waits for cores that others hold meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: frozenset[int] = frozenset()
        self._queue: list[tuple[object, frozenset[int]]] = []
        self._is_closed = False

    @contextmanager
    def take(self, cores: frozenset[int], say_waiting: Callable[[], None]) -> Iterator[None]:
        """Hold these cores alone within the block; without cores nobody waits, as for a real board.

        `say_waiting` is called where others have them first. Raises Interrupted once `close` was called.
        """
        if cores:
            self._wait(cores, say_waiting)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cores
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wait(self, cores: frozenset[int], say_waiting: Callable[[], None]) -> None:
        ticket = object()
        with self._changed:
            self._queue.append((ticket, cores))
            try:
                if not self._may_go(ticket, cores):
                    say_waiting()
                self._changed.wait_for(lambda: self._is_closed or self._may_go(ticket, cores))
                if self._is_closed:
                    raise Interrupted("interrupted before its turn on this machine's cores came")
                self._taken |= cores
            finally:
                self._queue.remove((ticket, cores))
                self._changed.notify_all()  # who stood behind us may not need our cores

    def _may_go(self, ticket: object, cores: frozenset[int]) -> bool:
        """Whether the cores are free and nobody before us waits for one of them."""
        for other, wanted in self._queue:
            if other is ticket:
                return not cores & self._taken
            if cores & wanted:
                return False
        return False
