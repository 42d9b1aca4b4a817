"""The rounds of one opened model: warm-up, the loop of the scenario, the state of the board around it."""

import time
from array import array
from typing import Any, Callable, Dict, Optional, Sequence

from device_agent import protocol, scenarios, timing
from device_agent.board_root import find_root
from device_agent.environment import read_environment
from device_agent.journal import pack_samples
from device_agent.others import watch_others
from device_agent.validity import median

Fields = Dict[str, Any]


class Rounds:
    """The state between the rounds of one worker: the buffer of samples, and how the warm-up ended.

    `rules` are the protocol of the job. What an inference raises passes untouched.
    """

    def __init__(self, infer: timing.Infer, feeds: Sequence[Any], rules: Fields) -> None:
        self._infer = infer
        self._feeds = feeds
        self._rules = rules
        self._buffer: Any = None
        self._is_steady: Optional[bool] = None
        self._stride = 1

    def measure(self) -> Fields:
        """Warm up, then one round; `window` is when it was, by the monotonic clock."""
        is_paced = self._rules.get("scenario") == protocol.PACED
        return self._measure_window(self._warm_up(), self._pace if is_paced else self._time)

    def sustain(self, send: Callable[[Fields], None]) -> None:
        """Warm up, then one long loop; each piece of it is sent as a round when it is complete."""
        warmup = self._warm_up()
        for _ in range(self._rules["rounds"]):
            send(self._measure_window(warmup, self._time_piece))
            warmup = dict(warmup, inferences=0, seconds=0.0)

    def _measure_window(self, warmup: Fields, work: Callable[[], Fields]) -> Fields:
        """What `work` found, with the state of the board around it."""
        found = watch_window(work)
        found.update(warmup=warmup, samples_ns=pack_samples(self._buffer, found["count"]))
        return found

    def _warm_up(self) -> Fields:
        """To steady state before the first round of this process, briefly before the others."""
        rules = self._rules
        if self._buffer is not None:
            inferences, seconds = timing.warm_again(self._infer, self._feeds)
            return {"inferences": inferences, "seconds": seconds, "steady": self._is_steady}
        warmed = timing.warm_up(
            self._infer,
            self._feeds,
            least_inferences=rules["warmup_inferences"],
            least_s=rules["warmup_s"],
            window=rules["steady_window"],
            tolerance=rules["steady_tolerance"],
            cap_s=rules["warmup_cap_s"],
        )
        self._buffer = array("Q", bytes(8 * self._choose_capacity(warmed.shortest_ns)))
        self._is_steady = warmed.is_steady
        return {"inferences": warmed.inferences, "seconds": warmed.seconds, "steady": warmed.is_steady}

    def _choose_capacity(self, shortest_ns: int) -> int:
        """Samples that a round of this scenario can hold."""
        rules, scenario = self._rules, self._rules.get("scenario")
        round_s, round_samples = rules["round_s"], rules["round_samples"]
        if scenario == protocol.PACED:
            return scenarios.choose_paced_capacity(round_s, round_samples, rules["rate_hz"])
        if scenario == protocol.SUSTAINED:
            self._stride, capacity = scenarios.choose_stride(round_s, shortest_ns)
            return capacity
        return timing.choose_capacity(round_s, round_samples, shortest_ns)

    def _time(self) -> Fields:
        """A round of inferences back to back."""
        round_s, round_samples = self._rules["round_s"], self._rules["round_samples"]
        count, seconds = timing.time_round(self._infer, self._feeds, self._buffer, round_s, round_samples)
        return {"count": count, "seconds": seconds}

    def _pace(self) -> Fields:
        """A round at the given rate; `wakeup_ms` is the median of how late its sleeps ended."""
        rules = self._rules
        paced = scenarios.pace_round(
            self._infer,
            self._feeds,
            self._buffer,
            rules["round_s"],
            rules["round_samples"],
            rules["rate_hz"],
            rules["deadline_ms"] / 1e3,
        )
        wakeup_ms = median(paced.waits_ns) / 1e6 if paced.waits_ns else None
        told = {"due": paced.due, "missed": paced.missed, "wakeup_ms": wakeup_ms}
        return {"count": paced.done, "seconds": paced.seconds, "paced": told}

    def _time_piece(self) -> Fields:
        """A piece of a sustained loop: `count` samples are kept of `inferences`, which took `sum_s`."""
        piece_s = self._rules["round_s"]
        kept = scenarios.sustain_piece(self._infer, self._feeds, self._buffer, piece_s, self._stride)
        return {
            "count": kept.kept,
            "seconds": kept.seconds,
            "inferences": kept.inferences,
            "sum_s": kept.sum_ns / 1e9,
        }


def watch_window(work: Callable[[], Fields]) -> Fields:
    """What `work` found, with when it was and the state of the board around it."""
    root = find_root()
    before = read_environment(root)
    share_others, started = watch_others(), time.monotonic()
    found = work()
    ended = time.monotonic()
    after = read_environment(root)
    after["cpu_busy"] = share_others()
    before["cpu_busy"] = None
    found.update(window=[started, ended], environment={"before": before, "after": after})
    return found
