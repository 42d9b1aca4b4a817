"""Every board measures its tasks at the same time; what they send is saved as it arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from host.crew import AT_ONCE, Crew, Ended, Said, Say
from host.errands import Errand
from host.errors import BenchError, DeviceError, LedgerError
from host.fleet.deploying import Deployment, deploy
from host.fleet.following import follow_run, stop_run
from host.fleet.journal import Event, RunEnded, RunStarted, TaskProgress
from host.fleet.patience import Advancing, Lost, Notice, Outage, over_links, say_nothing
from host.fleet.probing import describe_refusal
from host.fleet.remote import Remote
from host.fleet.standing import Course, Standing, Step, describe_note
from host.fleet.turns import Turns
from host.progress import Progress, Tick
from host.specs.device import Device

if TYPE_CHECKING:  # a deployment plans errands, and does without a database
    from host.ledger.store import Ledger

SILENCE_SPARE_S = 120.0  # for what a run does between two tasks

STOP_SECONDS = 15.0
"""How long an interrupted sweep waits for a board to stop and to say what it has finished."""


@dataclass
class Tally:
    """What has come of the tasks so far; `errors` are those of boards that could not go on."""

    measured: int = 0
    failed: int = 0
    errors: dict[str, BenchError] = field(default_factory=dict)


@dataclass(frozen=True)
class Desk:
    """One board's errand, where it stands, and who sees that."""

    errand: Errand
    course: Course
    tick: Tick


@dataclass(frozen=True)
class Sitting:
    """What all boards of one sitting share: who watches, whether it is to end, who has which cores."""

    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event)
    turns: Turns = field(default_factory=Turns)
    sending: threading.Semaphore = field(default_factory=partial(threading.Semaphore, AT_ONCE))


def measure_errands(
    errands: Sequence[Errand], ledger: Ledger, progress: Progress, limit: int | None = None
) -> Tally:
    """Carry out the errands of all boards at once, and save every measurement as it arrives.

    At most `limit` boards are worked on at once. On KeyboardInterrupt the boards are stopped, what they
    finished is saved, and it is raised again; so is the error of a ledger that cannot save, and then what
    they finished waits in their journals.
    """
    tally, sitting, crew = Tally(), Sitting(progress), Crew(limit)
    by_name = {errand.board.device.name: errand for errand in errands}
    with ExitStack() as shown:
        desks = {
            name: _set_up(one, shown.enter_context(_show(one, progress))) for name, one in by_name.items()
        }
        try:
            crew.start({name: partial(_carry, one, sitting) for name, one in by_name.items()})
            for message in crew.listen():
                _handle(message, desks, ledger, tally)
        except (KeyboardInterrupt, LedgerError) as reason:
            can_save = isinstance(reason, KeyboardInterrupt)
            kept = "what they have finished is saved" if can_save else "resuming fetches what they have"
            progress.say(f"stopping the boards; {kept}")
            sitting.stopping.set()
            sitting.turns.close()
            crew.dismiss()
            stopping = Crew().start({name: partial(_stop, by_name[name], crew) for name in crew.busy})
            for message in crew.listen(patience_s=STOP_SECONDS):
                if can_save:
                    _handle(message, desks, ledger, tally)
            for _ in stopping.listen(patience_s=STOP_SECONDS):
                pass  # a board whose link broke meanwhile has yet to hear of it
            for name in sorted(crew.busy):
                progress.say(f"{name} did not say that it stopped; what it still measures, resuming fetches")
            raise
    return tally


def _carry(errand: Errand, sitting: Sitting, say: Say) -> None:
    """Send one board its files and its job, and say every event of its journal."""
    board, device = errand.board, errand.board.device
    say(Step("deploying"))
    with sitting.sending:
        send_errand(errand, sitting.progress, sitting.stopping, say)
    with sitting.turns.take(
        board.cores, lambda: say(Step("waiting", "for its turn on this machine's cores"))
    ):
        ended = follow_run(
            board.connect,
            device,
            board.agent,
            errand.job,
            say,
            sitting.progress,
            earlier_tasks=errand.earlier_tasks,
            stopping=sitting.stopping,
            notice=say,
            silence_s=find_silence_s(errand),
        )
    if not sitting.stopping.is_set():
        check_end(device, ended)


def find_silence_s(errand: Errand) -> float | None:
    """How long its run may say nothing: all that one task may take, and the cooling down before it."""
    timeouts = errand.job.timeouts
    return None if timeouts is None else timeouts.task_s + errand.job.measure.cooldown_cap_s + SILENCE_SPARE_S


def send_errand(
    errand: Errand,
    progress: Progress,
    stopping: threading.Event | None = None,
    notice: Notice = say_nothing,
) -> Deployment:
    """Send what the board does not have yet of what its job names, over as many links as that takes."""
    board = errand.board
    outage = Outage(
        board.device.name, progress=progress, stopping=stopping or threading.Event(), notice=notice
    )
    shown = Advancing(progress, outage)

    def send(remote: Remote) -> Deployment:
        outage.check_stopping()
        return deploy(remote, board.device, board.agent, errand.blobs, board.layer, shown, errand.packed)

    return over_links(board.connect, send, outage)


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
        stop_run(remote, board.device, board.agent, errand.job.run)
        while board.device.name in crew.busy:
            time.sleep(0.5)
            stop_run(remote, board.device, board.agent, errand.job.run)


def _show(errand: Errand, progress: Progress) -> AbstractContextManager[Tick]:
    steps = errand.job.measure.rounds + 2  # opened, its rounds, its result
    return progress.track(f"measuring on {errand.board.device.name}", len(errand.job.tasks) * steps)


def _set_up(errand: Errand, tick: Tick) -> Desk:
    labels = {name: task.label for name, task in errand.collector.tasks.items()}
    return Desk(errand, Course(errand.board.device.name, labels, errand.job.measure.rounds), tick)


def _handle(message: Said[object] | Ended, desks: Mapping[str, Desk], ledger: Ledger, tally: Tally) -> None:
    """Take what one board said: save what is complete, count it, and move the bar."""
    desk = desks[message.name]
    if isinstance(message, Ended):
        if isinstance(message.error, BenchError):
            tally.errors[message.name] = message.error
            desk.tick(0, "given up")
        elif message.error is not None:
            raise message.error
        return
    said = cast(Event | Step | Lost, message.what)
    _show_standing(said, desk.course.take(said), desk.tick)
    if isinstance(said, Step | Lost):
        return
    collected = desk.errand.collector.take(said)
    if collected is not None:
        ledger.save(collected.measurement, collected.rounds)
        is_ok = collected.measurement.status == "ok"
        tally.measured += is_ok
        tally.failed += not is_ok


def _show_standing(said: Event | Step | Lost, standing: Standing, tick: Tick) -> None:
    is_step = not isinstance(said, Step | Lost | RunStarted | RunEnded | TaskProgress)
    tick(1 if is_step else 0, describe_note(standing))
