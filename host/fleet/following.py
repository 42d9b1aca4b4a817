"""A run on a board from its start to its end: every event once and in order, across links that break."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from device_agent import protocol
from host.errors import DeviceError, Interrupted, LinkLost
from host.fleet.journal import (
    Event,
    Job,
    Result,
    Round,
    RunEnded,
    RunStarted,
    TaskOpened,
    TaskProgress,
    escape_controls,
    parse_event,
)
from host.fleet.probing import agent_argv, call_agent
from host.fleet.remote import Remote
from host.progress import Progress
from host.specs.artifact import Blob
from host.specs.device import Device

Connect = Callable[[], AbstractContextManager[Remote]]

IDLE_SECONDS = 60.0
"""How long a link may be silent (keep-alives included) before it counts as lost."""

START_SECONDS = 120.0  # a slow board reads its environment before it says that it has begun
LOG_BYTES = 2000


@dataclass(frozen=True)
class Patience:
    """How long a silent board is waited for: delays double from the first to the longest.

    `restarts` bounds how often a run that vanished without an end is started again.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    total_s: float = 300.0
    restarts: int = 2


def follow_run(
    open_remote: Connect,
    device: Device,
    agent: Blob,
    job: Job,
    on_event: Callable[[Event], None],
    progress: Progress,
    *,
    earlier_tasks: Collection[str] = (),
    patience: Patience | None = None,
    stopping: threading.Event | None = None,
) -> RunEnded:
    """Start a run, or join it where it is under way or over, and follow it to its end.

    Every event goes to `on_event` once, in order, and always from the first on: what the board measured
    before, in this or an earlier sitting of the same run, comes again. So whoever resumes must know what is
    saved already. Events of `earlier_tasks`, which belong to the run but not to this job, are passed over.
    A lost link is opened again within the bounds of `patience`; one that never opened is an error.

    Raises BoardBusy where another run measures, DeviceError where the board stays silent, tells what
    cannot be, or loses the run again and again, and Interrupted where `stopping` is set while waiting.
    """
    checker = Checker(device.name, job, frozenset(earlier_tasks))
    outage = _Outage(device.name, patience or Patience(), progress, stopping or threading.Event())
    attendant = _Attendant(device, agent, job, checker, on_event, outage, progress)
    while True:
        try:
            with open_remote() as remote:
                outage.note_connected()
                return attendant.attend(remote)
        except LinkLost as error:
            outage.wait(error)


def stop_run(remote: Remote, device: Device, agent: Blob, run: str) -> bool:
    """Whether a run was under way; it journals its end, and what it measured stays on the board."""
    return call_agent(remote, device, agent, ["stop", run]).get("stopped") is True


@dataclass
class Checker:
    """Accepts the lines of one journal in their order, and refuses what this job cannot have caused."""

    device: str
    job: Job
    earlier_tasks: frozenset[str]
    seq: int = 0
    _taken: set[str] = field(default_factory=set)

    def accept(self, line: bytes) -> Event | None:
        """The event of a line; None for one that came before or is not ours. Raises DeviceError."""
        event = parse_event(line, self.device, self.seq + 1)
        if event.seq <= self.seq:
            return None
        if event.seq != self.seq + 1:
            raise self._refuse(event, f"it follows number {self.seq}")
        self.seq = event.seq
        if isinstance(event, RunStarted):
            self._check_run(event)
        elif not isinstance(event, RunEnded):
            if event.task in self.earlier_tasks:
                return None
            self._check_task(event)
        return event

    def _check_run(self, event: RunStarted) -> None:
        if event.run != self.job.run:
            raise self._refuse(event, f"it belongs to run {event.run!r}")

    def _check_task(self, event: TaskOpened | TaskProgress | Round | Result) -> None:
        if event.task not in {task.task for task in self.job.tasks}:
            raise self._refuse(event, f"nobody asked for task {event.task!r}")
        if isinstance(event, Round):
            if event.round >= self.job.measure.rounds:
                raise self._refuse(event, f"there are {self.job.measure.rounds} rounds, it is {event.round}")
            self._take_once(event, f"round {event.round} of {event.task!r}")
        elif isinstance(event, Result):
            self._take_once(event, f"the result of {event.task!r}")
            self._check_rounds(event)

    def _check_rounds(self, event: Result) -> None:
        """A result that is ok stands for every round."""
        asked = [f"round {number} of {event.task!r}" for number in range(self.job.measure.rounds)]
        missing = [name for name in asked if name not in self._taken]
        if event.status == "ok" and missing:
            raise self._refuse(event, f"{missing[0]} is missing")

    def _take_once(self, event: Event, name: str) -> None:
        if name in self._taken:
            raise self._refuse(event, f"{name} comes a second time")
        self._taken.add(name)

    def _refuse(self, event: Event, why: str) -> DeviceError:
        return DeviceError(
            f"{self.device}: event {event.seq} ({event.event}) of the journal cannot be: {why}",
            f"Look at runs/{self.job.run}/journal.jsonl on the board; a new run starts a new journal.",
        )


@dataclass
class _Outage:
    """The time without a sign of the board, and how long it may last."""

    device: str
    patience: Patience
    progress: Progress
    stopping: threading.Event
    _has_connected: bool = False
    _connected_at: float | None = None
    _began: float | None = None
    _delay_s: float = 0.0

    def note_connected(self) -> None:
        self._has_connected = True
        self._connected_at = time.monotonic()

    def check_stopping(self) -> None:
        """Raise Interrupted where the caller does not want a run to be started any more."""
        if self.stopping.is_set():
            raise Interrupted(f"{self.device}: interrupted before its run was started")

    def end(self) -> None:
        """A sign of life: the next outage has all the patience again."""
        self._began, self._delay_s = None, 0.0

    def wait(self, error: LinkLost) -> None:
        """Sleep before the next try. Raises `error` itself where there never was a link, and Interrupted."""
        if not self._has_connected:
            raise error
        now = time.monotonic()
        if self._connected_at is not None and now - self._connected_at > self.patience.longest_s:
            self.end()  # a link that held for a while is a sign of life, even if the run had nothing to say
        self._connected_at = None
        self._began = now if self._began is None else self._began
        if now - self._began >= self.patience.total_s:
            raise DeviceError(
                f"{self.device}: no sign of it for {now - self._began:.0f} s: {error.message}",
                "Check its power and its network. It may still be measuring: "
                "resuming the run fetches what it has.",
            ) from error
        self._delay_s = min(max(self.patience.first_s, 2 * self._delay_s), self.patience.longest_s)
        self.progress.say(f"{self.device}: {error.message}; trying again in {self._delay_s:g} s")
        if self.stopping.wait(self._delay_s):
            raise Interrupted(f"{self.device}: interrupted while its link was lost") from error


@dataclass
class _Attendant:
    """What has been done for one run so far, whichever connection it was done over."""

    device: Device
    agent: Blob
    job: Job
    checker: Checker
    on_event: Callable[[Event], None]
    outage: _Outage
    progress: Progress
    is_put: bool = False
    is_started: bool = False
    vanished: int = 0
    last: Event | None = None

    def attend(self, remote: Remote) -> RunEnded:
        """Put and start the job as far as it is needed, then follow it to its end over one connection."""
        while True:
            self.outage.check_stopping()
            if not self.is_put:
                message = json.dumps(self.job.as_message()).encode()
                call_agent(remote, self.device, self.agent, ["put-job", self.job.run], stdin=message)
                self.is_put = True
            if not self.is_started:
                call_agent(remote, self.device, self.agent, ["start", self.job.run], timeout=START_SECONDS)
                self.is_started = True
            ended = self._follow(remote)
            if ended is not None:
                return ended
            self.is_started = False
            self._note_vanished(remote)

    def _follow(self, remote: Remote) -> RunEnded | None:
        """The end of the run; None where its process is gone without one."""
        words = ("follow", self.job.run, "--after", str(self.checker.seq))
        lines = remote.stream(agent_argv(self.device, self.agent, *words), idle_timeout=IDLE_SECONDS)
        while True:
            try:
                line = next(lines)
            except StopIteration as end:
                is_whole = end.value == protocol.EXIT_OK
                return self.last if is_whole and isinstance(self.last, RunEnded) else None
            self._take(line)

    def _take(self, line: bytes) -> None:
        event = self.checker.accept(line)
        self.outage.end()
        if event is not None:
            self.last = event
            self.on_event(event)

    def _note_vanished(self, remote: Remote) -> None:
        """Allow one more start, or raise DeviceError with the last words of the agent."""
        self.vanished += 1
        allowed = self.outage.patience.restarts
        if self.vanished > allowed:
            raise DeviceError(
                f"{self.device.name}: the run ended {self.vanished} times without a word"
                f"{_read_log_end(remote, self.device, self.job.run)}",
                f"runs/{self.job.run}/agent.log in {self.device.work_folder} on the board may tell more.",
            )
        self.progress.say(
            f"{self.device.name}: the run is gone; starting it again ({self.vanished} of {allowed})"
        )


def _read_log_end(remote: Remote, device: Device, run: str) -> str:
    """The end of what the agent printed, as the end of a sentence; empty where there is nothing."""
    path = f"{device.work_folder.rstrip('/')}/runs/{run}/agent.log"
    said = remote.run(["tail", "-c", str(LOG_BYTES), path]).stdout.decode(errors="replace").strip()
    return f"; its log ends:\n{escape_controls(said[-LOG_BYTES:])}" if said else ""
