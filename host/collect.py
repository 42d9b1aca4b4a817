"""The events of one board's run become measurements. Pure: it neither reads nor writes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.fleet.boards import Board
from host.fleet.journal import Event, Result, Round, TaskOpened, decode_samples
from host.plan import Task
from host.scenarios import Held, describe_paced, describe_sustained
from host.specs.artifact import Artifact
from host.specs.measure import Measure
from host.specs.measurement import Failure, Measurement
from host.specs.profile import OPTIONS


@dataclass(frozen=True)
class Collected:
    """One measurement with its raw samples in nanoseconds, round by round."""

    measurement: Measurement
    rounds: tuple[NDArray[np.int64], ...]


@dataclass
class Collector:
    """Gathers the rounds of each task until its result arrives."""

    run: str
    board: Board
    tasks: Mapping[str, Task]
    artifacts: Mapping[str, Artifact]
    measure: Measure = field(default_factory=Measure)
    _rounds: dict[str, dict[int, Held]] = field(default_factory=dict)
    _opened: dict[str, float] = field(default_factory=dict)

    def take(self, event: Event) -> Collected | None:
        """The measurement that `event` completes, if it completes one."""
        if isinstance(event, TaskOpened):
            self._opened.setdefault(event.task, event.wall)
        if isinstance(event, Round) and event.task in self.tasks:
            told = event.model_copy(update={"samples_ns": ""})  # as numbers they are a third of it
            self._rounds.setdefault(event.task, {})[event.round] = Held(told, decode_samples(event))
        if not isinstance(event, Result) or event.task not in self.tasks:
            return None
        found = self._rounds.pop(event.task, {})
        rounds = tuple(found[index] for index in sorted(found))
        task = self.tasks[event.task]
        artifact, opened = self.artifacts[task.variant_id], self._opened.get(event.task)
        measurement = describe_result(self.run, self.board, task, artifact, event, opened)
        figures = {
            "scenario": self.measure.scenario,
            "paced": describe_paced(self.measure, rounds, measurement.batch),
            "sustained": describe_sustained(self.measure, rounds, measurement.batch, measurement.provider),
        }
        return Collected(measurement.model_copy(update=figures), tuple(held.samples for held in rounds))


def describe_result(
    run: str, board: Board, task: Task, artifact: Artifact, result: Result, opened: float | None = None
) -> Measurement:
    """The measurement of one task: what was planned and built, and what the board found out.

    `opened` is when it began by this machine's clock; without it the board's own is believed.
    """
    return Measurement(
        **_known_before(run, board, task, artifact),
        flags=_collect_flags(board, result.measurement.flags if result.measurement else ()),
        status=result.status,
        error=result.error.model_dump() if result.error else None,
        **_told_by_board(task, result, opened),
    )


def describe_unfit(
    run: str, board: Board, task: Task, artifact: Artifact, reason: str, at: datetime
) -> Measurement:
    """What is saved of a task whose variant is not worth measuring: all but what a board would tell."""
    return describe_unmeasured(run, board, task, artifact, Failure(kind="unfit", message=reason), at)


def describe_unmeasured(
    run: str, board: Board, task: Task, artifact: Artifact, failure: Failure, at: datetime
) -> Measurement:
    """What is saved of a task that no board was asked for."""
    return Measurement(
        **_known_before(run, board, task, artifact),
        flags=_collect_flags(board),
        status="unfit" if failure.kind == "unfit" else "failed",
        error=failure,
        **_asked(task),
        started_at=at,
    )


def _known_before(run: str, board: Board, task: Task, artifact: Artifact) -> dict[str, Any]:
    """What was planned and built."""
    return {
        "run": run,
        "task": task.id,
        "device": board.device.name,
        "board": board.facts.board,
        "is_emulated": board.device.is_emulated,
        "model": artifact.model,
        "variant": task.label,
        "variant_id": artifact.variant_id,
        "is_baseline": task.is_baseline,
        "model_sha256": artifact.blob.sha256,
        "runtime": task.runtime.name,
        "precision": artifact.precision,
        "batch": artifact.fixed_batch or task.runtime.batch,
        "sparsity": artifact.sparsity,
        "sparsity_target": artifact.sparsity_target,
        "params": artifact.params,
        "params_nonzero": artifact.params_nonzero,
        "macs": artifact.macs,
        "file_bytes": artifact.blob.size,
        "gzip_bytes": artifact.gzip_bytes,
        "packed_bytes": artifact.packed.size if artifact.packed else None,
        "accuracy_host": artifact.accuracy,
    }


def _collect_flags(board: Board, told: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The board's flags, and that it is no real board: only the host knows that."""
    return tuple(dict.fromkeys((*told, "emulated"))) if board.device.is_emulated else told


def _asked(task: Task) -> dict[str, Any]:
    """The settings that were asked for, where no board tells which ones it took."""
    return {
        "provider": task.runtime.provider,
        "threads": task.runtime.threads,
        "runtime_settings": task.runtime.options,
    }


def _read_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a runtime says of its settings. Of an option that results are told apart by, one value counts."""
    return {
        name: value
        for name, value in told.items()
        if name not in OPTIONS or not isinstance(value, list | dict)
    }


def _told_by_board(task: Task, result: Result, opened: float | None) -> dict[str, Any]:
    """What only the board knows; of a failed task it is little."""
    told = result.measurement
    if told is None:
        return {**_asked(task), "started_at": datetime.fromtimestamp(result.wall, UTC)}
    began = told.started_at if opened is None else opened
    return {
        "provider": told.provider,
        "threads": told.threads,
        "accuracy_device": told.accuracy,
        "agreement": told.agreement,
        "max_abs_diff": told.max_abs_diff,
        "runtime_version": told.runtime_version,
        "runtime_settings": _read_settings(told.settings),
        "nodes": told.nodes,
        "build_s": told.build_s,
        "compute_ms": told.compute_ms,
        "load_ms": told.load_ms,
        "first_inference_ms": told.first_inference_ms,
        "memory_mb": told.memory_mb.model_dump(),
        "power": told.power.model_dump(),
        "environment": told.environment,
        "started_at": datetime.fromtimestamp(began, UTC),
    }
