"""What each board has to do: its job, the files that the job names, and how long that may take."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.collect import Collector
from host.compress.feeds import write_feeds
from host.converting import provide_model
from host.fleet.boards import Board
from host.fleet.journal import Job, JobTask, Timeouts
from host.login import find_login
from host.plan import Plan, Task, digest
from host.specs.artifact import Artifact, Blob
from host.specs.measure import Measure

SLOW_S = 1.0
"""An inference that the bound on a task allows for. A slower first one extends the bound, on the board."""

OPEN_S, ENGINE_S = 600.0, 3600.0  # TensorRT builds its engines while it opens
MARGIN = 2.0
OTHER_INFERENCES = 100  # those of memory, of the accelerator's own time and of the power pass's edges
POWER_WINDOWS = 6  # idle twice, load, what settles between them, and what the sampler costs


@dataclass(frozen=True)
class Errand:
    """What one board has to do: the job that it gets, and the files that the job names.

    `earlier_tasks` belong to the same run and have their results already. `packed` holds packed forms of
    the files, by the SHA-256 of the file.
    """

    board: Board
    job: Job
    blobs: tuple[Blob, ...]
    packed: Mapping[str, Blob]
    collector: Collector
    earlier_tasks: frozenset[str]


def plan_errands(
    run: str,
    plan: Plan,
    tasks: Sequence[Task],
    boards: Sequence[Board],
    artifacts: Mapping[str, Artifact],
    cache: Path,
    attempt: str = "",
) -> list[Errand]:
    """One errand for each board that has tasks left.

    A run that is gone on with keeps its journal on the board, and so what was measured there. Failed tasks
    that are tried again get a fresh one, told apart by `attempt`; so does whoever comes back with another
    agent or other packages, since the rounds of one measurement must have been measured in one way.
    """
    return [
        _plan_errand(run, plan, own, board, artifacts, cache, attempt)
        for board in boards
        if (own := [task for task in tasks if task.device == board.device.name])
    ]


def _plan_errand(
    run: str,
    plan: Plan,
    tasks: Sequence[Task],
    board: Board,
    artifacts: Mapping[str, Artifact],
    cache: Path,
    attempt: str,
) -> Errand:
    shapes = {file.id: file.shapes for file in plan.files}
    blobs: dict[str, Blob] = {}
    packed: dict[str, Blob] = {}
    asked = []
    for task in tasks:
        artifact = artifacts[task.variant_id]
        feeds = write_feeds(
            artifact, task.runtime.batch, shapes.get(artifact.variant_id, {}), cache / "feeds"
        )
        model = provide_model(task, artifact, shapes.get(artifact.variant_id, {}), cache)
        needed = (model, feeds, artifact.evaluation, artifact.reference)
        blobs |= {blob.sha256: blob for blob in needed if blob is not None}
        if artifact.packed is not None and model == artifact.blob:
            packed[model.sha256] = artifact.packed
        asked.append(_ask(task, artifact, model, feeds))
    layer = board.layer.sha256 if board.layer else None
    # Two devices may share one board, so its name decides too.
    journal = digest([board.device.name, attempt, board.agent.sha256, layer])[:8]
    job = Job(
        run=f"{run}.{journal}",
        holder=name_holder(),
        seed=plan.seed,
        layer=layer,
        measure=plan.measure,
        tasks=tuple(asked),
        meter=board.device.meter,
        timeouts=Timeouts(task_s=bound_task_s(plan.measure, asked)),
    )
    collector = Collector(run, board, {task.id: task for task in tasks}, artifacts, plan.measure)
    earlier = {task.id for task in plan.tasks_of(board.device.name)} - {task.id for task in tasks}
    return Errand(board, job, tuple(blobs.values()), packed, collector, frozenset(earlier))


def name_holder() -> str:
    """Who measures, as others are told who find the board held."""
    return f"{find_login()}@{socket.gethostname()}"


def _ask(task: Task, artifact: Artifact, model: Blob, feeds: Blob) -> JobTask:
    return JobTask(
        task=task.id,
        model=model.sha256,
        feeds=feeds.sha256,
        evaluation=artifact.evaluation.sha256 if artifact.evaluation else None,
        reference=artifact.reference.sha256 if artifact.reference else None,
        runtime=task.runtime.name,
        provider=task.runtime.provider,
        threads=task.runtime.threads,
        batch=artifact.fixed_batch or task.runtime.batch,
        options=task.runtime.options,
    )


def bound_task_s(measure: Measure, tasks: Sequence[JobTask]) -> float:
    """Seconds that no task of this protocol needs unless something hangs; its cooling down is not counted."""
    builds = any("tensorrt" in f"{task.runtime}{task.provider}".lower() for task in tasks)
    batch = min(task.batch for task in tasks)
    least = measure.warmup_inferences + 2 * measure.steady_window + measure.round_samples
    paced_s = measure.round_samples / measure.rate_hz if measure.rate_hz else 0.0
    warm_s = measure.warmup_s + measure.warmup_cap_s + least * SLOW_S
    warmed = 1 if measure.scenario == "sustained" else measure.rounds  # its rounds are pieces of one loop
    rounds_s = warmed * warm_s + measure.rounds * (measure.round_s + paced_s)
    others = OTHER_INFERENCES + measure.evaluation_images / batch
    steps_s = rounds_s + POWER_WINDOWS * measure.power_window_s + others * SLOW_S
    return min((ENGINE_S if builds else OPEN_S) + MARGIN * steps_s, 1e6)
