"""Measurements in Weights & Biases: one run for each, on a server or, offline, in files to be sent later."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from host.errors import LedgerError, UsageError
from host.tracking.records import Outcome, Tracked, digest

QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


class WandbTracker:
    """A project of Weights & Biases; `folder` is where its files go, in a folder `wandb`.

    The id of a run follows from the measurement, so that writing it twice writes the same run. What is
    written once is remembered in the folder. Raises UsageError without wandb.
    """

    def __init__(self, folder: Path, project: str, uri: str | None = None) -> None:
        os.environ.update(QUIET)
        try:
            import wandb
        except ImportError as error:
            raise UsageError(
                "Weights & Biases is not installed", "pip install 'boardbench[wandb]'"
            ) from error
        self._wandb: Any = wandb
        self._folder = folder
        self._project = project
        self._uri = uri
        is_offline = os.environ.get("WANDB_MODE") == "offline"
        server = uri or os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
        self.where = f"{folder / 'wandb' if is_offline else server}, project {project}"
        self._known = folder / "wandb" / f"boardbench-{digest([self.where])}"

    def track(self, measurement: Tracked) -> Outcome:
        """Write one measurement as a run of its own, unless it is there with the same result."""
        marker = self._known / measurement.id
        known = marker.read_text(encoding="utf-8") if marker.is_file() else None
        if known == measurement.content:
            return Outcome(known=1)
        try:
            self._write(measurement)
        except (self._wandb.Error, OSError) as error:
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            hint = "Log in with `wandb login`, or set WANDB_MODE=offline and send it later with `wandb sync`."
            raise LedgerError(f"Weights & Biases: {reason}", hint) from error
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(measurement.content, encoding="utf-8")
        return Outcome(written=1) if known is None else Outcome(renewed=1)

    def _write(self, measurement: Tracked) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        run = self._wandb.init(
            project=self._project,
            id=measurement.id,
            name=measurement.name,
            group=measurement.run,
            job_type="measurement",
            dir=str(self._folder),
            config={**measurement.parameters, **measurement.tags},
            tags=[flag[:64] for flag in measurement.flags] or None,
            settings=self._make_settings(),
        )
        run.log(measurement.metrics)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "environment.json"
            file.write_text(json.dumps(measurement.environment, indent=2), encoding="utf-8")
            artifact = self._wandb.Artifact(f"environment-{measurement.id}", type="environment")
            artifact.add_file(str(file))
            run.log_artifact(artifact)
            run.finish(exit_code=0 if measurement.is_ok else 1)

    def _make_settings(self) -> Any:
        """Only what we say is sent: not this machine's, its code, its console or its packages."""
        own = {} if self._uri is None else {"base_url": self._uri}
        return self._wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            **own,
        )
