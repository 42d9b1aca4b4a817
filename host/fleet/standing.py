"""What each board is doing, as a person wants to see it: its state, its task, and how long it still takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from host.fleet.journal import Event, Result, Round, RunEnded, RunStarted, TaskOpened, TaskProgress
from host.fleet.patience import Lost
from host.specs.record import Record

State = Literal["off", "idle", "deploying", "waiting", "measuring", "cooling", "lost", "failed", "done"]


class Standing(Record):
    """One board at one moment. What is not known, or means nothing in that state, is None.

    `round` counts from 1. `eta_s` is what the rest takes at the pace so far. `since` and `next_try` are of a
    board that is lost, `why` says why it is lost, failed or waiting.
    """

    device: str
    state: State
    run: str | None = None
    holder: str | None = None
    task: str | None = None
    phase: str | None = None
    round: int | None = None
    rounds_done: int | None = None
    rounds_total: int | None = None
    eta_s: float | None = None
    since: datetime | None = None
    next_try: datetime | None = None
    why: str | None = None


@dataclass(frozen=True)
class Step:
    """What a board's thread says that it does before there is a run."""

    state: State
    why: str | None = None


def name_state(phase: str | None) -> State:
    """The state of a board whose run says this of its phase."""
    return "cooling" if phase == "cooling" else "measuring"


def estimate_left_s(elapsed_s: float, done: int, left: int) -> float | None:
    """Seconds that the rest takes at the pace so far; None before anything is done."""
    return elapsed_s / done * left if done > 0 else None


class Course:
    """One board's way through its errand: its standing after each thing that is said of it.

    Time is the board's monotonic clock within one start of its run: a date that is set meanwhile, or rounds
    that come again when a run is gone on with, do not change what is left.
    """

    def __init__(self, device: str, labels: dict[str, str], rounds: int) -> None:
        self._labels = labels
        self._each = rounds
        self._open: dict[str, int] = {}
        self._ended: set[str] = set()
        self._began_s: float | None = None
        self._before = 0
        self.standing = Standing(device=device, state="idle", rounds_total=len(labels) * rounds)

    def take(self, said: Event | Step | Lost) -> Standing:
        """Where the board stands now."""
        told: dict[str, object]
        if isinstance(said, Lost):
            told = {"state": "lost", "since": said.since, "next_try": said.next_try, "why": said.why}
        elif isinstance(said, Step):
            told = {"state": said.state, "why": said.why, "since": None, "next_try": None}
        else:
            told = {**self._take_event(said), "why": None, "since": None, "next_try": None}
        self.standing = self.standing.model_copy(update=told)
        return self.standing

    def _take_event(self, event: Event) -> dict[str, object]:
        if isinstance(event, RunEnded):
            return {"state": "done", "task": None, "phase": None, "round": None, "eta_s": None}
        if isinstance(event, RunStarted):
            self._began_s, self._before = event.mono, self._count()
            return {"state": "measuring", "run": event.run}
        if isinstance(event, Round):
            self._open[event.task] = self._open.get(event.task, 0) + 1
        elif isinstance(event, Result):
            self._ended.add(event.task)
        return {**self._tell_phase(event), **self._tell_progress(event)}

    def _tell_phase(self, event: TaskOpened | TaskProgress | Round | Result) -> dict[str, object]:
        told: dict[str, object] = {"task": self._labels.get(event.task, event.task)}
        if isinstance(event, TaskProgress):
            told["phase"] = event.phase
            told["round"] = None if event.round is None else event.round + 1
            told["state"] = name_state(event.phase)
        else:
            told["state"] = "measuring"
        return told

    def _tell_progress(self, event: Event) -> dict[str, object]:
        done, total = self._count(), len(self._labels) * self._each
        left_s = None
        if self._began_s is not None:
            left_s = estimate_left_s(event.mono - self._began_s, done - self._before, total - done)
        return {"rounds_done": done, "eta_s": left_s}

    def _count(self) -> int:
        """Rounds that need not be measured any more: a task that has failed has none left."""
        open_rounds = sum(count for task, count in self._open.items() if task not in self._ended)
        return open_rounds + self._each * len(self._ended)


def describe_doing(standing: Standing) -> str:
    """What a board does in its state, in a few words: `dense: round 3`, or since when it is lost."""
    if standing.state == "lost":
        return f"since {format_clock(standing.since)}, next try {format_clock(standing.next_try)}"
    if standing.why is not None:
        return standing.why
    parts = [part for part in (standing.task, _describe_phase(standing)) if part]
    return ": ".join(parts) or (f"held by {standing.holder}" if standing.holder else "")


def _describe_phase(standing: Standing) -> str:
    if standing.phase is None:
        return ""
    at = f" {standing.round}" if standing.round is not None else ""
    return f"{standing.phase}{at}"


def format_clock(at: datetime | None) -> str:
    """The time of day where the reader sits."""
    return "-" if at is None else f"{at.replace(tzinfo=at.tzinfo or UTC).astimezone():%H:%M:%S}"


def describe_note(standing: Standing) -> str:
    """State and doing in one, for a line that names the board already."""
    doing = describe_doing(standing)
    if standing.state == "measuring":
        return doing or "measuring"
    return f"{standing.state} {doing}".rstrip() if standing.state == "lost" else doing or standing.state
