"""How long work reports its progress, without knowing who looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tick(Protocol):
    """Says that `advance` more units are done; `note` is a short word on the current state."""

    def __call__(self, advance: float = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Shows lines of progress. `report.live` shows them on a terminal; `Silent` shows nothing."""

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        """Show one piece of work of `total` units (None: unknown) until the block ends."""
        ...

    def say(self, message: str) -> None:
        """Tell one lasting fact, such as `training is cached`."""
        ...


class Silent:
    """Progress that nobody looks at."""

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        def tick(advance: float = 1, note: str = "") -> None:
            return None

        yield tick

    def say(self, message: str) -> None:
        return None
