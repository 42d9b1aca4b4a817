"""Flags that tell why a number may not be trusted. Every rule is a pure function over what was recorded."""

from typing import Any, Dict, List, Optional, Sequence

from device_agent.sensors.thermal import NOW_BITS, SINCE_BOOT_BITS

DROP = 0.9  # of the clock at the start of the first round
DRIFT = 1.03  # last quarter against first
BUSY = 0.05  # of the time of the usable cores
HOT_START_C = 10.0  # above the board's idle temperature

Environment = Dict[str, Any]
Round = Dict[str, Environment]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


def is_throttled(before: Environment, after: Environment, during: Optional[Environment] = None) -> bool:
    """Throttling was counted in between, was on at either end or when somebody looked in between, or happened
    for the first time since boot.

    What was seen in between comes from sysfs. What that says of the time since boot is no news to vcgencmd,
    whose answers the ends may hold (see firmware.add_throttled): only what was on then counts.
    """
    if _rose(before.get("throttle_count"), after.get("throttle_count")):
        return True
    first = before.get("throttle_bits")
    later = (after.get("throttle_bits") or 0) | (((during or {}).get("throttle_bits") or 0) & NOW_BITS)
    if ((first or 0) | later) & NOW_BITS:
        return True
    # What happened since boot is news only where it is known what had happened before.
    return first is not None and bool(later & ~first & SINCE_BOOT_BITS)


def _rose(first: Optional[int], last: Optional[int]) -> bool:
    return first is not None and last is not None and last > first


def has_frequency_dropped(environments: Sequence[Round], is_resting: bool = False) -> bool:
    """The fastest core was more than 10 % below its clock at the start of the first round, at any time.

    The fastest, because cores that a model does not use clock down on their own. Where the processor rests
    between inferences (`is_resting`: a camera or an accelerator sets the pace) it may clock down in between;
    then the highest clock of each round counts.
    """
    if not environments:
        return False
    pick = find_highest_mhz if is_resting else find_lowest_mhz
    start = find_highest_mhz(environments[0]) if is_resting else find_start_mhz(environments[0])
    seen = [pick(one) for one in environments]
    measured = [_fastest(one["after"], "measured_mhz") for one in environments]
    return _fell(start, seen) or _fell(_fastest(environments[0]["before"], "measured_mhz"), measured)


def has_gpu_dropped(environments: Sequence[Round]) -> bool:
    """The GPU ran some round more than 10 % below its clock in the first."""
    seen = [(one.get("during") or {}).get("gpu_mhz") for one in environments]
    return _fell(seen[0] if seen else None, seen)


def _fell(start: Optional[float], seen: Sequence[Optional[float]]) -> bool:
    return start is not None and any(clock is not None and clock < DROP * start for clock in seen)


def find_start_mhz(first: Round) -> Optional[float]:
    """The clock of the fastest core when the first round began: the median of the reading just before it, the
    last one under the warm-up's load, and the first one in the round.

    One reading alone may be a moment of turbo, when all but one core rested, or a governor that just woke.
    """
    during = first.get("during") or {}
    readings = [_fastest(first["before"]), during.get("warm_mhz"), during.get("first_mhz")]
    told = [clock for clock in readings if clock]
    return median(told) if told else None


def find_lowest_mhz(one: Round) -> Optional[float]:
    """The lowest clock of the fastest core in a round and at its end."""
    told = [clock for clock in (_fastest(one["after"]), (one.get("during") or {}).get("lowest_mhz")) if clock]
    return min(told) if told else None


def find_highest_mhz(one: Round) -> Optional[float]:
    """The highest clock of any core in a round and around it."""
    during = (one.get("during") or {}).get("highest_mhz")
    told = [clock for clock in (_fastest(one["before"]), during, _fastest(one["after"])) if clock]
    return max(told) if told else None


def _fastest(state: Environment, key: str = "freq_mhz") -> Optional[float]:
    return max(state[key]) if state.get(key) else None


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


def is_hot_start(rests: Sequence[Optional[Environment]]) -> bool:
    """Some round began, before its warm-up, more than 10 °C above this board's idle."""
    return any(
        rest is not None
        and rest["temperature_c"] is not None
        and rest["idle_c"] is not None
        and rest["temperature_c"] - rest["idle_c"] > HOT_START_C
        for rest in rests
    )


def find_flags(
    rounds: Sequence[Sequence[int]],
    environments: Sequence[Round],
    is_steady: bool,
    is_fallback: bool,
    is_resting: bool = False,
    uses_gpu: bool = False,
) -> List[str]:
    """The flags of one task. `environments` holds `rest`, `before`, `during` and `after` of every round; an
    agent that did not look in between left the first and the third out."""
    start, ends = environments[0]["before"], [one["after"] for one in environments]
    found = {
        "throttled": any(is_throttled(one["before"], one["after"], one.get("during")) for one in environments)
        or is_throttled(start, ends[-1]),
        "frequency-dropped": has_frequency_dropped(environments, is_resting)
        or (uses_gpu and has_gpu_dropped(environments)),
        "drift": has_drifted(rounds),
        "unsteady": not is_steady,
        "busy": is_busy([end.get("cpu_busy") for end in ends]),
        "hot-start": is_hot_start([one.get("rest") for one in environments]),
        "fallback": is_fallback,
    }
    return [name for name, is_set in found.items() if is_set]
