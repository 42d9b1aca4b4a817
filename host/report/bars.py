"""Bars of progress on a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _ShareColumn(ProgressColumn):
    """The share that is done, nothing where the total is unknown."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:3.0f} %")


def build_bars(stream: TextIO) -> Progress:
    """Bars on a terminal; what else writes to standard error stands above them, standard output is free."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        _ShareColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=Console(file=stream, highlight=False),
        redirect_stdout=False,
        redirect_stderr=True,
        expand=True,
        transient=True,
    )
