"""`bench compare`: two runs, variants or devices beside each other, and what makes that unfair."""

from __future__ import annotations

from pathlib import Path

import click

from host.cli.ledgers import open_to_read
from host.cli.options import ledger_option
from host.cli.results import guess_format


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--run", "run_text", metavar="R", help="The run that holds both: an id, its beginning, `latest`."
)
@click.option(
    "--output", "-o", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file."
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    help="How to print it. Default: what the ending of --output says, else table.",
)
@ledger_option
def compare(
    first: str,
    second: str,
    run_text: str | None,
    file: Path | None,
    output: str | None,
    ledger_url: str | None,
) -> None:
    """Compare two runs, or two variants or devices of a run.

    A and B are runs (ids, their beginnings, `latest`, names of baselines), or variants or devices of the
    newest run, or of --run R. Where a word may mean several things, say which: run:X, baseline:X, variant:X,
    device:X. Every ratio is B over A: 1.25 means that B takes a quarter longer.
    """
    from host.ledger.sides import compare_named
    from host.report.contrasts import write_comparison

    with open_to_read(ledger_url) as ledger:
        comparison = compare_named(ledger, first, second, run_text)
    write_comparison(comparison, output or guess_format(file), file)
