"""`bench results`: what was measured, as a table for people or as data for programs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.cli.options import current_workspace, ledger_option

if TYPE_CHECKING:
    from host.ledger.store import Ledger


@click.command()
@click.option("--run", "run_text", metavar="R", help="A run's id, its beginning, or `latest`.")
@click.option("--all", "all_runs", is_flag=True, help="Every measurement of every run.")
@click.option(
    "--output", "-o", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file."
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "csv", "markdown", "parquet"]),
    help="How to print them. Default: what the ending of --output says, else table.",
)
@ledger_option
def results(
    run_text: str | None, all_runs: bool, file: Path | None, output: str | None, ledger_url: str | None
) -> None:
    """Show the measurements of a run.

    By default of the newest run that has any.
    """
    from host.errors import UsageError
    from host.ledger.rows import result_rows
    from host.ledger.store import Ledger
    from host.report.exporting import write_rows

    if all_runs and run_text is not None:
        raise UsageError("--all and --run exclude each other", "Leave one of them out.")
    with Ledger.open(ledger_url or current_workspace().ledger_url) as ledger, collector_off():
        run = None if all_runs else find_shown_run(ledger, run_text)
        write_rows(result_rows(ledger, run), output or guess_format(file), file)


def guess_format(file: Path | None) -> str:
    """The format that a file's name asks for, such as csv for results.csv; a table where it asks for none."""
    endings = {".json": "json", ".csv": "csv", ".md": "markdown", ".parquet": "parquet"}
    return endings.get(file.suffix, "table") if file is not None else "table"


def find_shown_run(ledger: Ledger, text: str | None) -> str:
    """The id of the run that a text names; without one, that of the newest run that measured anything."""
    return (ledger.find_measured_run() if text is None else ledger.find_run(text)).id


@contextmanager
def collector_off() -> Iterator[None]:
    """No search for cycles: thousands of rows hold none, and looking for them takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
