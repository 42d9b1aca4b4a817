"""Values that are asked for, as often as the source renews them and as asking may cost."""

import random
import time
from typing import Callable, List, Optional

from device_agent.line_source import SourceFailed
from device_agent.sensors.meter_lines import Arrival
from device_agent.sensors.process_cpu import cpu_s

MOST_DUTY, MOST_SHARED_DUTY = 0.02, 0.005
"""Of one core's time that asking may take: of a core of its own, and of one on which a model computes, where
a pause of one thread makes all others wait."""

MOST_SPARING_S = 0.3
"""So far a period grows for what asking costs, no farther: a short window must still hold some values."""

MOST_WAITING = 0.5  # of the time may be spent waiting for answers
JITTER = 0.5
_MOST_OF_FAILURE = 160
_TRIALS = 5
_TRYING_S = 0.5


def choose_period(best_s: float, cost_s: float, wait_s: float, has_own_core: bool) -> float:
    """The best period of a source, or a longer one where asking costs or takes too much."""
    duty = MOST_DUTY if has_own_core else MOST_SHARED_DUTY
    return max(best_s, min(cost_s / duty, MOST_SPARING_S), wait_s / MOST_WAITING)


class PolledSource:
    """Asks at uneven moments: an even pace might always meet the same point of an inference.

    Where asking raises SourceFailed there is no value, and `odd_line` is its last message.
    """

    reason: Optional[str] = None

    def __init__(
        self,
        ask: Callable[[], Optional[float]],
        best_s: float,
        has_own_core: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self.odd_line = ""
        self._clock = clock
        self._random = random.Random(0)  # noqa: S311 (jitter, not a secret)
        self.period_s = self._find_period(best_s, has_own_core)
        self._next = clock()

    def _find_period(self, best_s: float, has_own_core: bool) -> float:
        cost, began, asked = cpu_s(), self._clock(), 0
        while asked < _TRIALS and self._clock() - began < _TRYING_S:
            self._ask_once()
            asked += 1
        cost_s, wait_s = (cpu_s() - cost) / asked, (self._clock() - began) / asked
        return choose_period(best_s, cost_s, wait_s, has_own_core)

    def _ask_once(self) -> Optional[float]:
        try:
            return self._ask()
        except SourceFailed as failure:
            self.odd_line = str(failure)[:_MOST_OF_FAILURE]
            return None

    @property
    def descriptors(self) -> List[int]:
        """None: it is time that wakes it."""
        return []

    def find_wait(self) -> Optional[float]:
        """Seconds until it is time to ask."""
        return max(0.0, self._next - self._clock())

    def take(self, ready: List[int]) -> List[Arrival]:  # noqa: ARG002 (a source of lines needs it)
        """The value with its moment, the middle of asking; nothing before it is time."""
        began = self._clock()
        if began < self._next:
            return []
        value = self._ask_once()
        ended = self._clock()
        # After a pause the missed moments are not made up for.
        pause = self.period_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._next = max(self._next + pause, ended)
        return [Arrival((began + ended) / 2, None, value)]

    def close(self) -> None:
        """Nothing is held."""
