"""`bench track`: the measurements of a run in an experiment tracker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.cli.ledgers import open_ledger
from host.cli.options import current_workspace, format_option, ledger_option, print_json, tell

if TYPE_CHECKING:
    from host.tracking.records import Tracker


@click.command()
@click.argument("run_text", metavar="[RUN]", default="latest")
@click.option("--to", "kind", type=click.Choice(["mlflow", "wandb"]), required=True, help="Which tracker.")
@click.option(
    "--project", metavar="NAME", default="boardbench", show_default=True, help="Its project or experiment."
)
@click.option(
    "--uri",
    metavar="URI",
    help="Its server. Default: what MLFLOW_TRACKING_URI or WANDB_BASE_URL says; for MLflow else a database "
    "under results/, for Weights & Biases its makers' server.",
)
@format_option()
@ledger_option
def track(
    run_text: str, kind: str, project: str, uri: str | None, output: str, ledger_url: str | None
) -> None:
    """Log the measurements of a run to MLflow or Weights & Biases.

    Each becomes a run there, with its settings, figures, flags and environment. What is there already is
    left alone. With WANDB_MODE=offline nothing is sent: `wandb sync` does that later.
    """
    from host.ledger.rows import result_rows
    from host.tracking.records import list_tracked, track_all

    with open_ledger(ledger_url) as ledger:
        run = ledger.find_run(run_text)
        measurements = list(list_tracked(run, result_rows(ledger, run.id)))
    tracker = open_tracker(kind, project, uri)
    outcome = track_all(measurements, tracker)
    if output == "json":
        print_json({"run": run.id, "to": kind, "where": tracker.where, **outcome._asdict()})
    told = f"{outcome.written} written, {outcome.renewed} written anew, {outcome.known} known already"
    tell(f"{run.id} in {tracker.where}: {told}")


def open_tracker(kind: str, project: str, uri: str | None) -> Tracker:
    """The tracker of that kind. Raises UsageError where it is not installed."""
    import os

    results: Path = current_workspace().results
    if kind == "wandb":
        from host.tracking.to_wandb import WandbTracker

        return WandbTracker(results, project, uri)
    from host.tracking.to_mlflow import MlflowTracker

    default = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None and default is None:
        results.mkdir(parents=True, exist_ok=True)
    return MlflowTracker(uri or default or f"sqlite:///{results / 'mlflow.db'}", project)
