"""Flags that tell why a number may not be trusted. Every rule is a pure function over what was recorded."""

from typing import Any, Dict, List, Optional, Sequence

from device_agent.sensors.thermal import NOW_BITS, SINCE_BOOT_BITS

DROP = 0.9  # of the clock at the start of the first round
DRIFT = 1.03  # last quarter against first
BUSY = 0.05  # of the time of the usable cores
HOT_START_C = 10.0  # above the run's idle temperature

Environment = Dict[str, Any]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


def is_throttled(before: Environment, after: Environment) -> bool:
    """Throttling was counted in between, is on at either end, or happened for the first time since boot."""
    if _rose(before.get("throttle_count"), after.get("throttle_count")):
        return True
    first, last = before.get("throttle_bits"), after.get("throttle_bits")
    if first is None or last is None:
        return False
    return bool((first | last) & NOW_BITS or last & ~first & SINCE_BOOT_BITS)


def _rose(first: Optional[int], last: Optional[int]) -> bool:
    return first is not None and last is not None and last > first


def has_frequency_dropped(start: Environment, after: Sequence[Environment]) -> bool:
    """The fastest core ended a round more than 10 % below where it was at the start of the first.

    The fastest, because cores that a model does not use clock down on their own.
    """
    if not start.get("freq_mhz"):
        return False
    floor = DROP * max(start["freq_mhz"])
    return any(one.get("freq_mhz") and max(one["freq_mhz"]) < floor for one in after)


def has_drifted(rounds: Sequence[Sequence[int]]) -> bool:
    """The last quarter of all samples, in the order of time, is more than 3 % slower than the first."""
    samples = [sample for one in rounds for sample in one]
    quarter = len(samples) // 4
    if quarter == 0:
        return False
    return median(samples[-quarter:]) > DRIFT * median(samples[:quarter])


def is_busy(shares: Sequence[Optional[float]]) -> bool:
    """Other processes took more than 5 % of the usable cores in some round."""
    return any(share is not None and share > BUSY for share in shares)


def share_of_others(
    before: Optional[int], after: Optional[int], tick_s: float, own_s: float, core_s: float
) -> Optional[float]:
    """The share of the usable cores' time that other processes (and a hypervisor) took between two
    readings of busy ticks, when this process used `own_s`. One tick is forgiven: only whole ones count.
    """
    if before is None or after is None or core_s <= 0:
        return None
    return max(0.0, (after - before - 1) * tick_s - own_s) / core_s


def is_hot_start(start_c: Optional[float], idle_c: Optional[float]) -> bool:
    """The board was more than 10 °C above idle when the task was opened."""
    return start_c is not None and idle_c is not None and start_c - idle_c > HOT_START_C


def find_flags(
    rounds: Sequence[Sequence[int]],
    environments: Sequence[Dict[str, Environment]],
    is_steady: bool,
    is_fallback: bool,
    start_c: Optional[float],
    idle_c: Optional[float],
) -> List[str]:
    """The flags of one task. `environments` holds `before` and `after` of every round."""
    start, ends = environments[0]["before"], [one["after"] for one in environments]
    found = {
        "throttled": any(is_throttled(one["before"], one["after"]) for one in environments)
        or is_throttled(start, ends[-1]),
        "frequency-dropped": has_frequency_dropped(start, ends),
        "drift": has_drifted(rounds),
        "unsteady": not is_steady,
        "busy": is_busy([end.get("cpu_busy") for end in ends]),
        "hot-start": is_hot_start(start_c, idle_c),
        "fallback": is_fallback,
    }
    return [name for name, is_set in found.items() if is_set]
