"""`bench results`: what was measured, as a table for people or as data for programs."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host.cli.ledgers import tell_waiting
from host.cli.options import check_names, current_workspace, ledger_option, tell

if TYPE_CHECKING:
    from host.ledger.choosing import Choice, Sieve, Sorting
    from host.ledger.rows import Row
    from host.ledger.store import Ledger
    from host.report.view import View

COLUMNS = """
Columns are named as in CSV, or by their last part: p50, p90, p99, speedup, accuracy,
accuracy_change, peak, energy_mj, load_w, throughput, file_bytes, packed, params, macs, sparsity, threads,
batch, scenario, flags, status, date. What is nested is named with dots: environment.before.governor.
"""


@click.command(epilog=COLUMNS)
@click.option("--run", "run_text", metavar="R", help="A run's id, its beginning, or `latest`.")
@click.option("--all", "all_runs", is_flag=True, help="Every measurement of every run.")
@click.option(
    "--device", "devices", metavar="D", callback=check_names, multiple=True, help="Only of this device."
)
@click.option("--model", "models", metavar="M", multiple=True, help="Only of this model.")
@click.option(
    "--variant", "variants", metavar="V", multiple=True, help="Only of variants that are called so: `int8*`."
)
@click.option("--runtime", "runtimes", metavar="R", multiple=True, help="Only with this runtime.")
@click.option("--precision", "precisions", metavar="P", multiple=True, help="Only fp32, int8, …")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(["ok", "failed", "unfit"]),
    multiple=True,
    help="Only with this one.",
)
@click.option("--flag", "flags", metavar="F", multiple=True, help="Only what carries this flag.")
@click.option("--no-flag", "without", metavar="F", multiple=True, help="Not what carries this flag.")
@click.option("--since", metavar="WHEN", help="Of all runs, what was measured since: 2026-03-01, 24h, 7d.")
@click.option(
    "--where",
    "conditions",
    metavar="COND",
    multiple=True,
    help="Only where it holds: `p50<5ms`, `accuracy>=97%`.",
)
@click.option(
    "--sort", "sortings", metavar="COLUMN[:desc]", multiple=True, help="The order; ties by a second one."
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="The first N measurements only.")
@click.option("--group", metavar="COLUMN", help="A table for each value of a column.")
@click.option("--pivot", metavar="COLUMN", help="One figure: variants down, devices across.")
@click.option(
    "--axes", metavar="DOWN,ACROSS", help="What --pivot has down and across. Default: variant,device."
)
@click.option(
    "--columns", metavar="A,B", multiple=True, help="Only these columns, a line for each measurement."
)
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
    run_text: str | None,
    all_runs: bool,
    file: Path | None,
    output: str | None,
    ledger_url: str | None,
    limit: int | None,
    sortings: tuple[str, ...],
    group: str | None,
    pivot: str | None,
    axes: str | None,
    columns: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Show the measurements of a run.

    By default of the newest run that has any. Options that choose measurements may be repeated: any of
    the names will do, and all kinds of options together. A value that was not measured fulfils no condition.
    """
    from host.errors import UsageError
    from host.ledger.choosing import Sieve, parse_sorting, sort_rows
    from host.ledger.store import Ledger
    from host.report.exporting import MOST_READ, write_rows
    from host.report.view import parse_view

    if all_runs and run_text is not None:
        raise UsageError("--all and --run exclude each other", "Leave one of them out.")
    view = parse_view(columns, group, pivot, axes)
    order = parse_sorting(sortings)
    sieve = Sieve(read_choice(**wanted))
    form = output or guess_format(file)
    with Ledger.open(ledger_url or current_workspace().ledger_url) as ledger, collector_off():
        everywhere = all_runs or (sieve.choice.since is not None and run_text is None)
        run = None if everywhere else find_shown_run(ledger, run_text)
        rows: Iterable[Any] = sieve.sift(read_rows(ledger, run, sieve.choice, view, order))
        if order:
            shown = MOST_READ + 1 if form == "table" and not pivot else None
            rows = sort_rows(rows, order, limit or shown)
        write_rows(islice(rows, limit), form, file, view)
        tell_left_out(ledger, run, sieve)
    tell_waiting(ledger_url)


def read_rows(
    ledger: Ledger, run: str | None, choice: Choice, view: View, order: tuple[Sorting, ...]
) -> Iterator[Row]:
    """The rows that the database chooses; without what a pivot does not need, which is most of them."""
    from host.ledger.rows import stream_rows
    from host.ledger.slim import slim_rows, suffices

    if view.pivot is None:
        return stream_rows(ledger, run, choice.selection)
    asked = [*(one.field for one in order), *(one.field for one in choice.conditions)]
    needed = [*view.pivot, *asked, *filter(None, [view.group])]
    if suffices(needed):
        has_speedup = any(field.name == "speedup" for field in needed)
        return slim_rows(ledger, run, choice.selection, has_speedup=has_speedup)
    left_out = {"environment"} - {str(field.path[0]) for field in needed}
    rows = stream_rows(ledger, run, choice.selection)
    return ({key: value for key, value in row.items() if key not in left_out} for row in rows)


def tell_left_out(ledger: Ledger, run: str | None, sieve: Sieve) -> None:
    """Words for people on why there is nothing, and on what no condition could judge."""
    from host.ledger.choosing import Choice, describe_none

    for told in sieve.tell_untold():
        tell(told)
    if not sieve.count and sieve.choice != Choice():
        where = "" if run is None else f" in run {run}; --all looks at every run"
        tell(f"{describe_none(ledger.figures(run), sieve.choice)}{where}")


def read_choice(*, since: str | None, conditions: tuple[str, ...], **names: tuple[str, ...]) -> Choice:
    """The choice that the options say. Raises UsageError for a condition, a moment or a flag that is none."""
    from host.ledger.choosing import Choice, parse_since
    from host.ledger.conditions import parse_condition
    from host.report.flags import MEANINGS
    from host.workspace import unknown_name

    for flag in (*names["flags"], *names["without"]):
        if flag not in MEANINGS:
            raise unknown_name("flag", flag, MEANINGS, f"Flags are {', '.join(MEANINGS)}.")
    return Choice(**names)._replace(  # type: ignore[arg-type]  # the names are its own
        since=None if since is None else parse_since(since),
        conditions=tuple(parse_condition(text) for text in conditions),
    )


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
