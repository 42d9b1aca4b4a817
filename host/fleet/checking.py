"""What a board tells of a run, held against what it was asked: in order, once, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from host.errors import DeviceError
from host.fleet.journal import (
    Event,
    Job,
    Result,
    Round,
    RunEnded,
    RunStarted,
    TaskOpened,
    TaskProgress,
    parse_event,
)


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
