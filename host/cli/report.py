"""`bench report`: runs as one page that holds all it needs, for people and for the years after."""

from __future__ import annotations

from pathlib import Path

import click

from host.cli.analyze import check_page
from host.cli.ledgers import open_to_read
from host.cli.options import current_workspace, device_option, expand_labels, ledger_option, print_json, tell


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--output",
    "-o",
    "file",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page. Default: results/report-RUN.html.",
)
@device_option()
@click.option("--model", "models", metavar="M", multiple=True, help="Only this model; repeat for several.")
@click.option(
    "--operators",
    "profiles",
    metavar="FILE.json",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="What `bench profile --format json` printed; repeat for several.",
)
@click.option("--open", "open_page", is_flag=True, help="Show it in the browser.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print what was written.",
)
@ledger_option
def report(
    runs: tuple[str, ...],
    file: Path | None,
    device_names: tuple[str, ...],
    models: tuple[str, ...],
    profiles: tuple[Path, ...],
    open_page: bool,
    output: str,
    ledger_url: str | None,
) -> None:
    """Write runs into one HTML page.

    RUN is a run's id, its beginning, or `latest`; without one, the newest run that measured anything. Several
    runs stand side by side, and are not ranked with each other. The page needs no network and no other file.
    """
    from host.ledger.reported import read_reported
    from host.report.output import open_text
    from host.report.page.operator_tables import read_profile
    from host.report.page.rendering import render_report

    check_page(file)
    found = [read_profile(path) for path in profiles]
    workspace = current_workspace()
    named = expand_labels(device_names, workspace)
    with open_to_read(ledger_url) as ledger:
        reported = read_reported(ledger, runs, named, models)
    text = render_report(reported, found)
    names = [one.run.id for one in reported]
    page = file or name_page(workspace.results, names)
    with open_text(page) as stream:
        stream.write(text)
    if output == "json":
        rows = sum(len(one.rows) for one in reported)
        print_json({"page": str(page), "runs": names, "measurements": rows, "bytes": len(text.encode())})
    else:
        click.echo(str(page))
    if open_page:
        show_page(page)


def name_page(folder: Path, runs: list[str]) -> Path:
    """The page's default place, safe whatever a run that was imported is called."""
    import re

    folder.mkdir(parents=True, exist_ok=True)
    others = f"-and-{len(runs) - 1}-more" if len(runs) > 1 else ""
    return folder / re.sub(r"[^\w.+-]", "-", f"report-{runs[0][:80]}{others}.html", flags=re.ASCII)


def show_page(page: Path) -> None:
    """Ask the desktop for its browser; where there is none, say so."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        tell("No browser could be started; open the page by hand.")
