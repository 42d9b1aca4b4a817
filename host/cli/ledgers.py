"""The ledger that a command means, and what waits to be saved in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from host.cli.options import current_workspace, tell

if TYPE_CHECKING:
    from host.ledger.buffer import Buffer
    from host.ledger.store import Ledger


@contextmanager
def open_ledger(ledger_url: str | None) -> Iterator[Ledger]:
    """The ledger that the command names, or that of the workspace, for a command that writes or judges.

    What an earlier command could not save is saved first; where that fails again, its error is raised.
    """
    from host.ledger.store import Ledger

    url = ledger_url or current_workspace().ledger_url
    with Ledger.open(url, buffer=find_buffer(url)) as ledger:
        ledger.catch_up()
        yield ledger


@contextmanager
def open_to_read(ledger_url: str | None) -> Iterator[Ledger]:
    """The same for a command that only reads: what cannot be saved now goes on waiting, and is told."""
    from host.errors import LedgerError
    from host.ledger.store import Ledger

    url = ledger_url or current_workspace().ledger_url
    with Ledger.open(url, buffer=find_buffer(url)) as ledger:
        with suppress(LedgerError, OSError):
            ledger.catch_up()
        yield ledger
    tell_waiting(ledger_url)


def find_buffer(url: str) -> Buffer:
    """Where measurements wait while the ledger at a URL is down."""
    from host.ledger.buffer import Buffer

    return Buffer.beside(current_workspace().results, url, tell)


def tell_waiting(ledger_url: str | None) -> None:
    """Say what a command that only reads does not show yet."""
    buffer = find_buffer(ledger_url or current_workspace().ledger_url)
    count = buffer.count()
    if count:
        tell(f"{count} more in {buffer.folder}: the database was down; `bench sweep --resume RUN` saves them")
