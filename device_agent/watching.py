"""What the board does while a worker measures: looked at now and then by the process that waits for it."""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from device_agent.environment import usable_cores
from device_agent.sensors.cpufreq import read_frequencies
from device_agent.sensors.devfreq import read_gpu_clock
from device_agent.sensors.load import Memory, read_memory
from device_agent.sensors.thermal import read_temperature, read_throttling
from device_agent.validity import median

PERIOD_S = 0.5
MOST_SHARE = 0.002
"""Of one core's time that looking may take: where a sensor answers slowly, it is asked less often."""

FLOOR_SHARE = 0.05  # of the board's memory, within the two bounds
LEAST_FLOOR_MB, MOST_FLOOR_MB = 64.0, 256.0


class Starving(Exception):
    """The board is about to run out of memory; the message has the figures."""


class Look(NamedTuple):
    """The state of the board at one moment of the monotonic clock. What it does not tell is None."""

    at_s: float
    fastest_mhz: Optional[float]
    temperature_c: Optional[float]
    throttle_bits: Optional[int]
    gpu_mhz: Optional[float] = None


class Watch:
    """Looks at the board when it is time to: `next_s` says when, on the monotonic clock.

    A look is a handful of small files, read by a process that sleeps otherwise. Processes share the
    monotonic clock, so that a worker need not say when its window begins: it tells so afterwards.
    """

    def __init__(
        self,
        root: str,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.process_time,
    ) -> None:
        self._root = root
        self._cores = usable_cores()
        self._clock = clock
        self._cost = cost
        self._looks: List[Look] = []
        self._sensors_s = 0.0  # when they are asked again: not before
        self.next_s = 0.0

    def begin(self) -> None:
        """Forget what was seen, and look at once when asked."""
        self._looks = []
        self._sensors_s = self.next_s = 0.0

    def look(self) -> None:
        """Take one look: at memory always, at sensors when it is their time. Raises Starving where too little
        memory is left."""
        now = self._clock()
        self.next_s = now + PERIOD_S
        shortage = describe_shortage(read_memory("/"))
        if shortage is not None:
            raise Starving(shortage)
        if now >= self._sensors_s:
            self._ask_sensors(now)

    def _ask_sensors(self, began_s: float) -> None:
        before = self._cost()
        throttling = read_throttling(self._root)
        clocks, gpu = read_frequencies(self._root, self._cores), read_gpu_clock(self._root)
        self._looks.append(
            Look(
                at_s=self._clock(),
                fastest_mhz=max(clocks) if clocks else None,
                temperature_c=read_temperature(self._root),
                throttle_bits=throttling.bits,
                gpu_mhz=None if gpu is None else gpu.current_mhz,
            )
        )
        self._sensors_s = began_s + max(PERIOD_S, (self._cost() - before) / MOST_SHARE)

    def describe(self, began_s: float, ended_s: float) -> Dict[str, Any]:
        """What was seen in a window; looks before its end are forgotten then."""
        found = summarize_looks(self._looks, began_s, ended_s)
        self._looks = [one for one in self._looks if one.at_s > ended_s]
        return found


def summarize_looks(looks: List[Look], began_s: float, ended_s: float) -> Dict[str, Any]:
    """The extremes within a window, and the clock at its start and just before it, under the warm-up's load.

    Clocks are those of the fastest core: cores that a model does not use clock down on their own. A GPU rests
    between two inferences, so of its clock it is the median.
    """
    inside = [one for one in looks if began_s <= one.at_s <= ended_s]
    warm = [one.fastest_mhz for one in looks if one.at_s < began_s and one.fastest_mhz is not None]
    clocks = [one.fastest_mhz for one in inside if one.fastest_mhz is not None]
    degrees = [one.temperature_c for one in inside if one.temperature_c is not None]
    gpu = [one.gpu_mhz for one in inside if one.gpu_mhz is not None]
    bits = [one.throttle_bits for one in inside if one.throttle_bits is not None]
    return {
        "samples": len(inside),
        "warm_mhz": warm[-1] if warm else None,
        "first_mhz": clocks[0] if clocks else None,
        "lowest_mhz": min(clocks) if clocks else None,
        "highest_mhz": max(clocks) if clocks else None,
        "gpu_mhz": median(gpu) if gpu else None,
        "temperature_c_max": max(degrees) if degrees else None,
        "throttle_bits": _join_bits(bits) if bits else None,
    }


def _join_bits(bits: List[int]) -> int:
    joined = 0
    for one in bits:
        joined |= one
    return joined


def describe_shortage(now: Memory) -> Optional[str]:
    """Why the board cannot go on like this; None where enough memory is left, or where it does not tell."""
    if now.total is None or now.available is None:
        return None
    floor = min(max(FLOOR_SHARE * now.total, LEAST_FLOOR_MB), MOST_FLOOR_MB)
    if now.available >= floor:
        return None
    return "{:.0f} of {:.0f} MiB were left, less than the {:.0f} that the board needs itself".format(
        now.available, now.total, floor
    )
