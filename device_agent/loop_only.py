"""Rounds of a runtime that only runs loops of its own (trtexec): every round is a fresh process of it.

Each process warms up anew, so the first inferences of its loop are taken as the warm-up. Power and quality
are not measured: a window of power would hold the process's start, and a data set would need thousands of
starts.
"""

from array import array
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from device_agent import protocol, timing
from device_agent.journal import pack_samples
from device_agent.rounds import watch_window
from device_agent.runtimes.session import Loop

Fields = Dict[str, Any]

NO_POWER_NOTE = "not measured: every loop of this runtime is a process, whose start a window would hold"

_MEMORY_INFERENCES = 10


class Split(NamedTuple):
    """A loop's warm-up (how many inferences, and their seconds), and the samples after it."""

    warmup_count: int
    warmup_s: float
    samples_ns: List[int]
    is_steady: bool


class LoopRounds:
    """The rounds of one such runtime. `rules` are the protocol of the job."""

    def __init__(self, time_loop: Callable[[float, int], Loop], rules: Fields) -> None:
        self._time_loop = time_loop
        self._rules = rules
        self.compute_ms: Optional[float] = None

    def time_first(self) -> float:
        """The first inference of a process, in ms."""
        return self._time_loop(0.0, 1).durations_ns[0] / 1e6

    def measure_memory(self) -> Fields:
        """The peak of a process that inferred a few times; its share of shared pages is not known."""
        return {"peak": self._time_loop(0.0, _MEMORY_INFERENCES).peak_mb, "pss": None}

    def measure(self) -> Fields:
        """One round. The seconds are those of its inferences alone."""
        if self._rules.get("scenario") not in (None, protocol.SINGLE_STREAM, protocol.OFFLINE):
            raise ValueError("this runtime runs inferences back to back only: no pace, no sustained load")
        split = Split(0, 0.0, [], is_steady=False)

        def work() -> Fields:
            nonlocal split
            split = self._run_loop()
            return {"count": len(split.samples_ns), "seconds": sum(split.samples_ns) / 1e9}

        found = watch_window(work)
        found["warmup"] = {
            "inferences": split.warmup_count,
            "seconds": split.warmup_s,
            "steady": split.is_steady,
        }
        found["samples_ns"] = pack_samples(array("Q", split.samples_ns), found["count"])
        return found

    def sustain(self, _: Callable[[Fields], None]) -> None:
        raise ValueError("this runtime runs loops of its own: no sustained load")

    def _run_loop(self) -> Split:
        rules = self._rules
        least = rules["warmup_inferences"] + max(rules["round_samples"], 2 * rules["steady_window"])
        loop = self._time_loop(rules["warmup_s"] + rules["round_s"], least)
        self.compute_ms = loop.compute_ms
        return split_loop(loop.durations_ns, rules)


def split_loop(durations_ns: List[int], rules: Fields) -> Split:
    """The warm-up by the floors of the rules, the bounded rest, and whether its first two windows agree."""
    count = taken_ns = 0
    while count < rules["warmup_inferences"] or taken_ns < rules["warmup_s"] * 1e9:
        if count + rules["round_samples"] >= len(durations_ns):
            break  # the loop was shorter than its floors, because it held gaps
        taken_ns += durations_ns[count]
        count += 1
    rest = durations_ns[count : count + protocol.MAX_ROUND_SAMPLES]
    window = rules["steady_window"]
    first, second = rest[:window], rest[window : 2 * window]
    is_steady = len(second) == window and timing.do_agree(first, second, rules["steady_tolerance"])
    return Split(count, taken_ns / 1e9, rest, is_steady)
