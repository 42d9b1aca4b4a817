"""`bench baseline`: runs that have a name, so that later ones can be checked against them."""

from __future__ import annotations

import click

from host.cli.ledgers import open_ledger
from host.cli.options import current_workspace, format_option, ledger_option, print_json, tell


@click.group()
def baseline() -> None:
    """Name runs that later ones are checked against."""


@baseline.command()
@click.argument("name")
@click.option("--run", "run_text", metavar="R", help="A run's id, its beginning, or `latest`.")
@click.option("--replace", is_flag=True, help="Take the name from the run that has it.")
@ledger_option
def save(name: str, run_text: str | None, replace: bool, ledger_url: str | None) -> None:
    """Name a run, by default the newest one that measured anything."""
    from host.errors import UsageError
    from host.ledger.baselines import save_baseline

    if name == "latest":
        raise UsageError("a baseline cannot be called latest: that is the newest run", "Choose another name.")
    with open_ledger(ledger_url) as ledger:
        run = ledger.find_measured_run() if run_text is None else ledger.find_run(run_text)
        saved = save_baseline(ledger, name, run.id, replace=replace)
        count = len(ledger.entries(run.id))
    tell(f"{saved.name} is run {saved.run} ({count} measurements)")


@baseline.command(name="list")
@format_option()
@ledger_option
def list_all(output: str, ledger_url: str | None) -> None:
    """List all baselines."""
    from host.ledger.baselines import list_baselines
    from host.ledger.store import Ledger
    from host.report.listing import print_rows

    with Ledger.open(ledger_url or current_workspace().ledger_url) as ledger:
        known = list_baselines(ledger)
    if output == "json":
        print_json([one.model_dump(mode="json") for one in known])
        return
    print_rows(
        "Baselines", ("name", "run", "saved"), [(one.name, one.run, f"{one.saved_at:%F %R}") for one in known]
    )


@baseline.command()
@click.argument("name")
@ledger_option
def remove(name: str, ledger_url: str | None) -> None:
    """Take a name away; the run stays."""
    from host.ledger.baselines import remove_baseline
    from host.ledger.store import Ledger

    with Ledger.open(ledger_url or current_workspace().ledger_url) as ledger:
        remove_baseline(ledger, name)
    tell(f"{name} is no baseline any more; its run stays")
