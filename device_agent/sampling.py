"""Energy from sensors that tell only the power of this moment."""

import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

PERIOD_S = 0.05
"""How often a sensor is read unless said. An INA3221 of a Jetson averages over some tens of milliseconds."""

LONGEST_GAP_S = 0.5
"""What a moment may last in which the sensor gives no value; energy over a longer one is not known."""


class PowerSampler:
    """A counter of joules for a sensor of watts: trapezoids over monotonic time, from a thread of its own."""

    def __init__(
        self,
        read_w: Callable[[], Optional[float]],
        clock: Callable[[], float] = time.monotonic,
        period_s: float = PERIOD_S,
    ) -> None:
        self._read_w = read_w
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Optional[Tuple[float, float]] = None
        self._joules = 0.0
        self._gaps = 0

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """The sensor is read in the background until the block ends."""
        stopped = threading.Event()

        def sample() -> None:
            while not stopped.wait(self._period_s):
                self.read()

        thread = threading.Thread(target=sample, name="power", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def read(self) -> Optional[List[float]]:
        """The joules so far and the gaps among them, with a sample of now; None if the sensor gives none."""
        with self._lock:
            watts, now = self._read_w(), self._clock()
            if watts is None:
                return None
            if self._last is not None:
                before, watts_before = self._last
                if now - before > LONGEST_GAP_S:
                    self._gaps += 1
                self._joules += (watts + watts_before) / 2 * (now - before)
            self._last = now, watts
            return [self._joules, self._gaps]


def find_joules(before: Sequence[float], after: Sequence[float]) -> Optional[float]:
    """The energy between two readings; None if there is a gap between them."""
    return after[0] - before[0] if after[1] == before[1] else None
