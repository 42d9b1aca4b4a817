"""Measurements in MLflow: one run for each, in a tracking server or a local database."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from host.errors import LedgerError, UsageError
from host.ledger.database import explain_failures, parse_url, sqlite_path
from host.tracking.records import Outcome, Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ID, CONTENT = "boardbench.id", "boardbench.content"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


class MlflowTracker:
    """An experiment of MLflow. Raises UsageError without it, LedgerError where the store cannot be used."""

    def __init__(self, uri: str, project: str) -> None:
        os.environ.update(QUIET)  # before it is imported: from 3 on MLflow tells its maker what is used
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UsageError("MLflow is not installed", "pip install 'boardbench[mlflow]'") from error
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each step of making a database
        self.where = f"{uri}, experiment {project}"
        self._artifacts = _place_artifacts(uri)
        with self._explaining():
            self._client: MlflowClient = MlflowClient(tracking_uri=uri)
            self._experiment = self._find_experiment(project)

    def track(self, measurement: Tracked) -> Outcome:
        """Write one measurement as a run of its own, unless it is there with the same result."""
        with self._explaining():
            found = self._find_runs(measurement)
            if any(_is_whole(run, measurement) for run in found):
                return Outcome(known=1)
            for run in found:  # of an earlier result, or one that was cut short
                self._client.delete_run(run.info.run_id)
            self._write(measurement)
        return Outcome(renewed=1) if found else Outcome(written=1)

    def _find_experiment(self, project: str) -> str:
        found = self._client.get_experiment_by_name(project)
        if found is None:
            return str(self._client.create_experiment(project, artifact_location=self._artifacts))
        if found.lifecycle_stage != "active":
            hint = "Restore it there, or name another one with --project."
            raise UsageError(f"the experiment {project!r} of MLflow was deleted", hint)
        return str(found.experiment_id)

    def _find_runs(self, measurement: Tracked) -> list[Run]:
        query = f"tags.`{ID}` = '{measurement.id}'"
        return list(self._client.search_runs([self._experiment], filter_string=query))

    def _write(self, measurement: Tracked) -> None:
        from mlflow.entities import Metric, Param, RunTag

        at = int(measurement.started_at.timestamp() * 1000)
        run = self._client.create_run(
            self._experiment, start_time=at, run_name=measurement.name, tags={ID: measurement.id}
        )
        tags = {**measurement.tags, CONTENT: measurement.content}
        self._client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, at, 0) for name, value in measurement.metrics.items()],
            params=[Param(name, value) for name, value in measurement.parameters.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.log_dict(run.info.run_id, measurement.environment, "environment.json")
        status = "FINISHED" if measurement.is_ok else "FAILED"
        self._client.set_terminated(run.info.run_id, status=status, end_time=at)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            with explain_failures(f"MLflow at {self.where}"):
                yield
        except (MlflowException, OSError) as error:
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            hint = "Check --uri; a local store is sqlite:///results/mlflow.db."
            raise LedgerError(f"MLflow at {self.where}: {reason}", hint) from error


def _place_artifacts(uri: str) -> str | None:
    """Beside a local database: MLflow's own place is the current folder. A server has a place of its own."""
    file = sqlite_path(parse_url(uri)) if uri.startswith("sqlite:") else None
    return None if file is None else (file.resolve().parent / "mlflow-artifacts").as_uri()


def _is_whole(run: Run, measurement: Tracked) -> bool:
    same = run.data.tags.get(CONTENT) == measurement.content
    return same and run.info.status in ("FINISHED", "FAILED")
