"""What boards are doing, as words: in a table that is drawn anew on a terminal, in lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from host.fleet.standing import Standing, describe_doing
from host.report.cells import clean_text
from host.report.live import format_seconds

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

COLUMNS = ("device", "state", "doing", "rounds", "left")


def list_cells(standing: Standing) -> tuple[str, ...]:
    """The cells of one board's row."""
    rounds = None
    if standing.rounds_total and standing.rounds_done is not None:
        rounds = f"{standing.rounds_done} of {standing.rounds_total}"
    left = None if standing.eta_s is None else format_seconds(standing.eta_s)
    found = (standing.device, standing.state, describe_doing(standing) or None, rounds, left)
    return tuple(clean_text(cell) for cell in found)


class WatchTable:
    """A table of all boards, to be used in a `with` block; on a log a line for each change."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live: Live | None = None
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream, highlight=False), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, standings: Mapping[str, Standing]) -> None:
        """Show where all boards stand now."""
        if self._live is not None:
            self._live.update(_lay_out(standings.values()), refresh=True)
            return
        for name, standing in standings.items():
            line = "  ".join(cell for cell in list_cells(standing) if cell != "-")
            if self._said.get(name) != line:
                self._said[name] = line
                print(line, file=self._stream, flush=True)


def _lay_out(standings: Iterable[Standing]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        table.add_column(Text(column), overflow="fold")
    for standing in standings:
        table.add_row(*(Text(cell) for cell in list_cells(standing)))
    return table
