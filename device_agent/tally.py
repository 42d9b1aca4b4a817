"""How far a run is: rounds that need not be measured any more, and since when it measures."""

import time
from typing import Any, Dict

from device_agent import protocol
from device_agent.journal import Known

Fields = Dict[str, Any]


class Tally:
    """Counts what is journalled. A task that has ended has no rounds left, whatever came of it."""

    def __init__(self, job: Fields, known: Known) -> None:
        self._each: int = job["protocol"]["rounds"]
        names = {task["task"] for task in job["tasks"]}
        self._total = self._each * len(names)
        self._open = {task: len(rounds) for task, rounds in known.rounds.items() if task in names}
        self._ended = names.intersection(known.results)
        self._before = self._count()
        self._began_s = time.monotonic()

    def note(self, event: str, fields: Fields) -> None:
        if event == protocol.EVENT_ROUND:
            self._open[fields["task"]] = self._open.get(fields["task"], 0) + 1
        elif event == protocol.EVENT_RESULT:
            self._ended.add(fields["task"])

    def _count(self) -> int:
        open_rounds = sum(count for task, count in self._open.items() if task not in self._ended)
        return open_rounds + self._each * len(self._ended)

    def describe(self) -> Fields:
        """Rounds in all, done, and done since this start of the run, with the seconds that took."""
        done = self._count()
        return {
            "rounds_total": self._total,
            "rounds_done": done,
            "rounds_since": done - self._before,
            "elapsed_s": time.monotonic() - self._began_s,
        }
