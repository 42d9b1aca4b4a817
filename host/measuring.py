"""Every board measures its tasks at the same time; what they send is saved as it arrives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from host.collect import Collector
from host.compress.feeds import write_feeds
from host.converting import provide_model
from host.crew import Crew, Ended, Said, Say
from host.errors import BenchError, DeviceError, LedgerError
from host.fleet.boards import Board
from host.fleet.deploying import Deployment, deploy
from host.fleet.following import follow_run, stop_run
from host.fleet.journal import Event, Job, JobTask, RunEnded, RunStarted, TaskProgress
from host.fleet.probing import describe_refusal
from host.fleet.remote import Remote
from host.login import find_login
from host.plan import Plan, Task, digest
from host.progress import Progress, Tick
from host.specs.artifact import Artifact, Blob
from host.specs.device import Device

if TYPE_CHECKING:  # a deployment plans errands, and does without a database
    from host.ledger.store import Ledger

STOP_SECONDS = 15.0
"""How long an interrupted sweep waits for a board to stop and to say what it has finished."""


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


@dataclass
class Tally:
    """What has come of the tasks so far; `errors` are those of boards that could not go on."""

    measured: int = 0
    failed: int = 0
    errors: dict[str, BenchError] = field(default_factory=dict)


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


def measure_errands(errands: Sequence[Errand], ledger: Ledger, progress: Progress) -> Tally:
    """Carry out the errands of all boards at once, and save every measurement as it arrives.

    On KeyboardInterrupt the boards are stopped, what they finished is saved, and it is raised again; so is
    the error of a ledger that cannot save, and then what they finished waits in their journals.
    """
    tally = Tally()
    by_name = {errand.board.device.name: errand for errand in errands}
    with ExitStack() as shown:
        ticks = {name: shown.enter_context(_show(errand, progress)) for name, errand in by_name.items()}
        stopping = threading.Event()
        crew = Crew()
        try:
            crew.start({name: partial(_carry, one, progress, stopping) for name, one in by_name.items()})
            for message in crew.listen():
                _handle(message, by_name, ticks, ledger, tally)
        except (KeyboardInterrupt, LedgerError) as reason:
            can_save = isinstance(reason, KeyboardInterrupt)
            kept = "what they have finished is saved" if can_save else "resuming fetches what they have"
            progress.say(f"stopping the boards; {kept}")
            stopping.set()
            Crew().start({name: partial(_stop, by_name[name], crew) for name in crew.busy})
            for message in crew.listen(patience_s=STOP_SECONDS):
                if can_save:
                    _handle(message, by_name, ticks, ledger, tally)
            for name in sorted(crew.busy):
                progress.say(f"{name} did not say that it stopped; what it still measures, resuming fetches")
            raise
    return tally


def _carry(errand: Errand, progress: Progress, stopping: threading.Event, say: Say) -> None:
    """Send one board its files and its job, and say every event of its journal."""
    board = errand.board
    with board.connect() as remote:
        send_files(errand, remote, progress)
    ended = follow_run(
        board.connect,
        board.device,
        board.agent,
        errand.job,
        say,
        progress,
        earlier_tasks=errand.earlier_tasks,
        stopping=stopping,
    )
    if not stopping.is_set():
        check_end(board.device, ended)


def send_files(errand: Errand, remote: Remote, progress: Progress) -> Deployment:
    """Send what the board does not have yet of what its job names."""
    board = errand.board
    return deploy(remote, board.device, board.agent, errand.blobs, board.layer, progress, errand.packed)


def check_end(device: Device, ended: RunEnded) -> None:
    """Raise DeviceError where a run ended early: the disk was full, or somebody stopped it."""
    if ended.error is not None:
        raise describe_refusal(device, ended.error.kind, ended.error.message)
    if ended.reason != "completed":
        raise DeviceError(
            f"{device.name}: the run was {ended.reason} on the board before all was measured",
            f"runs/*/agent.log in {device.work_folder} on the board may tell more.",
        )


def _stop(errand: Errand, crew: Crew, _say: Say) -> None:
    """Stop one board's run; one that is just being started is there a moment later."""
    board = errand.board
    with board.connect() as remote:
        while board.device.name in crew.busy:
            stop_run(remote, board.device, board.agent, errand.job.run)
            time.sleep(0.5)


def _show(errand: Errand, progress: Progress) -> AbstractContextManager[Tick]:
    steps = errand.job.measure.rounds + 2  # opened, its rounds, its result
    return progress.track(f"measuring on {errand.board.device.name}", len(errand.job.tasks) * steps)


def _handle(
    message: Said[object] | Ended,
    errands: Mapping[str, Errand],
    ticks: Mapping[str, Tick],
    ledger: Ledger,
    tally: Tally,
) -> None:
    """Take what one board said: save what is complete, count it, and move the bar."""
    if isinstance(message, Ended):
        if isinstance(message.error, BenchError):
            tally.errors[message.name] = message.error
        elif message.error is not None:
            raise message.error
        return
    event = cast(Event, message.what)
    errand, tick = errands[message.name], ticks[message.name]
    _tick(event, errand, tick)
    collected = errand.collector.take(event)
    if collected is not None:
        ledger.save(collected.measurement, collected.rounds)
        is_ok = collected.measurement.status == "ok"
        tally.measured += is_ok
        tally.failed += not is_ok


def _tick(event: Event, errand: Errand, tick: Tick) -> None:
    if isinstance(event, RunStarted | RunEnded):
        return
    label = errand.collector.tasks[event.task].label
    if isinstance(event, TaskProgress):
        at = f" {event.round + 1}" if event.round is not None else ""
        tick(0, f"{label}: {event.phase}{at}")
    else:
        tick(1, label)
