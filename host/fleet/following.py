"""A run on a board from its start to its end: every event once and in order, across links that break."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from device_agent import protocol
from host.errors import DeviceError, Interrupted
from host.fleet.board_clock import BoardClock, read_clock
from host.fleet.checking import Checker
from host.fleet.journal import Event, Job, Result, Round, RunEnded, TaskOpened, escape_controls
from host.fleet.patience import Connect, Notice, Outage, Patience, over_links, say_nothing
from host.fleet.probing import agent_argv, call_agent
from host.fleet.remote import Remote
from host.progress import Progress
from host.specs.artifact import Blob
from host.specs.device import Device

IDLE_SECONDS = 60.0
"""How long a link may be silent (keep-alives included) before it counts as lost."""

START_SECONDS = 120.0  # a slow board reads its environment before it says that it has begun
LOG_BYTES = 2000


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
    notice: Notice = say_nothing,
    silence_s: float | None = None,
) -> RunEnded:
    """Start a run, or join it where it is under way or over, and follow it to its end.

    Every event goes to `on_event` once, in order, and always from the first on: what the board measured
    before, in this or an earlier sitting of the same run, comes again. So whoever resumes must know what is
    saved already. Events of `earlier_tasks`, which belong to the run but not to this job, are passed over.
    Their `wall` is by the clock of this machine where the board's own is wrong.

    A lost link is opened again within the bounds of `patience`, and `notice` is told. A run whose process is
    gone, as after a reboot, is started again and goes on from its journal.

    Raises BoardBusy where another run measures, DeviceError where the board stays silent, tells what
    cannot be, loses the run again and again or says nothing of it for `silence_s`, and Interrupted where
    `stopping` is set while waiting.
    """
    checker = Checker(device.name, job, frozenset(earlier_tasks))
    stopping = stopping or threading.Event()
    outage = Outage(device.name, patience or Patience(), progress, stopping, notice)
    attendant = _Attendant(device, agent, job, checker, on_event, outage, progress, silence_s)
    return over_links(open_remote, attendant.attend, outage)


def stop_run(remote: Remote, device: Device, agent: Blob, run: str) -> bool:
    """Whether a run was under way; it journals its end, and what it measured stays on the board."""
    return call_agent(remote, device, agent, ["stop", run]).get("stopped") is True


@dataclass
class _Attendant:
    """What has been done for one run so far, whichever connection it was done over."""

    device: Device
    agent: Blob
    job: Job
    checker: Checker
    on_event: Callable[[Event], None]
    outage: Outage
    progress: Progress
    silence_s: float | None
    is_put: bool = False
    is_started: bool = False
    vanished: int = 0
    slowest_s: float = 1.0
    last: Event | None = None
    clock: BoardClock | None = None

    def attend(self, remote: Remote) -> RunEnded:
        """Put and start the job as far as it is needed, then follow it to its end over one connection."""
        while True:
            self.outage.check_stopping()
            if not self.is_put:
                message = json.dumps(self.job.as_message()).encode()
                call_agent(remote, self.device, self.agent, ["put-job", self.job.run], stdin=message)
                self.is_put = True
            if not self.is_started:
                self._start(remote)
            ended = self._follow(remote)
            if ended is not None and not self._is_to_go_on(ended):
                return ended
            self.is_started = False
            self._note_vanished(remote)

    def _start(self, remote: Remote) -> None:
        words = ["start", self.job.run, "--clock"]
        told = read_clock(call_agent(remote, self.device, self.agent, words, timeout=START_SECONDS))
        if told is not None and self.clock is None:
            self.clock = BoardClock(datetime.now(UTC).timestamp(), told)
        elif told is not None and self.clock is not None:
            self.clock.renew(datetime.now(UTC).timestamp(), told)
        self.is_started = True

    def _is_to_go_on(self, ended: RunEnded) -> bool:
        """Whether the run got a signal that we know nothing of: a board that reboots sends it to all."""
        return ended.reason == "interrupted" and not self.outage.stopping.is_set()

    def _follow(self, remote: Remote) -> RunEnded | None:
        """The end of the run; None where its process is gone without one."""
        words = ["follow", self.job.run, "--after", str(self.checker.seq)]
        words += [] if self.silence_s is None else ["--silence", f"{self.silence_s:.0f}"]
        lines = remote.stream(agent_argv(self.device, self.agent, *words), idle_timeout=IDLE_SECONDS)
        self.outage.note_quiet()
        while True:
            try:
                line = next(lines)
            except StopIteration as end:
                if end.value == protocol.EXIT_SILENT and self._is_slow():
                    return self._follow(remote)
                return self._judge_end(end.value)
            self._take(line)

    def _is_slow(self) -> bool:
        """Whether the run may say nothing for longer than was thought: its models are slow. Then it may."""
        thought_s = self.silence_s or 0.0
        self.silence_s = thought_s * self.slowest_s
        self.slowest_s = 1.0  # counted once
        return self.silence_s > thought_s

    def _judge_end(self, code: int) -> RunEnded | None:
        if code == protocol.EXIT_SILENT:
            raise DeviceError(
                f"{self.device.name}: the run has said nothing for {self.silence_s or 0:.0f} s, "
                "though its process lives: it hangs where its own timeouts do not reach, as in a driver",
                "Reboot the board; what it has measured is there, and resuming the run goes on.",
            )
        is_whole = code == protocol.EXIT_OK
        return self.last if is_whole and isinstance(self.last, RunEnded) else None

    def _take(self, line: bytes) -> None:
        event = self.checker.accept(line)
        self.outage.end()
        if event is None:
            return
        if isinstance(event, Round | Result):
            self.vanished = 0
        elif isinstance(event, TaskOpened) and event.first_inference_ms is not None:
            self.slowest_s = max(self.slowest_s, event.first_inference_ms / 1e3)
        self.last = event
        self.on_event(event if self.clock is None else self.clock.place(event))

    def _note_vanished(self, remote: Remote) -> None:
        """Allow one more start, or raise DeviceError with the last words of the agent."""
        self.vanished += 1
        patience = self.outage.patience
        if self.vanished > patience.restarts:
            raise DeviceError(
                f"{self.device.name}: the run ended {self.vanished} times without a word"
                f"{_read_log_end(remote, self.device, self.job.run)}",
                f"runs/{self.job.run}/agent.log in {self.device.work_folder} on the board may tell more.",
            )
        self.progress.say(
            f"{self.device.name}: the run is gone; starting it again ({self.vanished} of {patience.restarts})"
        )
        # A board that shuts down would end it once more: by then it is out of reach.
        if self.outage.stopping.wait(patience.first_s * self.vanished):
            raise Interrupted(f"{self.device.name}: interrupted while its run was gone")


def _read_log_end(remote: Remote, device: Device, run: str) -> str:
    """The end of what the agent printed, as the end of a sentence; empty where there is nothing."""
    path = f"{device.work_folder.rstrip('/')}/runs/{run}/agent.log"
    said = remote.run(["tail", "-c", str(LOG_BYTES), path]).stdout.decode(errors="replace").strip()
    return f"; its log ends:\n{escape_controls(said[-LOG_BYTES:])}" if said else ""
