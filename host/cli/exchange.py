"""`bench export` and `bench import`: runs travel from one ledger to another in a file."""

from __future__ import annotations

from pathlib import Path

import click

from host.cli.ledgers import open_ledger
from host.cli.options import format_option, ledger_option, print_json, tell


@click.command("export")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--output",
    "-o",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, such as runs.zip.",
)
@format_option()
@ledger_option
def export(runs: tuple[str, ...], file: Path, output: str, ledger_url: str | None) -> None:
    """Write runs with their samples to one file.

    By default all of them; RUN is an id, its beginning or `latest`. The baselines that name them go
    with them.
    """
    from host.ledger.exporting import export_runs

    with open_ledger(ledger_url) as ledger:
        exported = export_runs(ledger, runs, file)
    if output == "json":
        print_json(exported.model_dump(mode="json"))
    else:
        counts = exported.model_dump(include={"runs", "measurements", "baselines"})
        what = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
        click.echo(f"{file}: {what}; {exported.bytes / 1e6:.1f} MB")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--keep-ours", is_flag=True, help="What differs from the ledger stays as it is; import the rest."
)
@format_option()
@ledger_option
def import_(file: Path, keep_ours: bool, output: str, ledger_url: str | None) -> None:
    """Add the runs of a file that `bench export` wrote.

    What the ledger holds already is left alone, so that two people may exchange all that they have. Either
    everything is imported or nothing.
    """
    from host.ledger.importing import import_runs

    with open_ledger(ledger_url) as ledger:
        imported = import_runs(ledger, file, keep_ours=keep_ours)
    for conflict in imported.conflicts:
        tell(f"left as it is here: {conflict}")
    if output == "json":
        print_json(imported.model_dump(mode="json"))
        return
    for kind in ("runs", "measurements", "baselines"):
        counts = getattr(imported, kind)
        told = ", ".join(f"{count} {fate}" for fate, count in counts.items() if count)
        click.echo(f"{kind}: {told or 'none'}")
