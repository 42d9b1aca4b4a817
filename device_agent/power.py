"""Power and energy per inference, from counters of energy; always labelled with their source."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agent.sensors.rapl import find_packages, read_counters, sum_joules
from device_agent.validity import median

IDLE_PIECES = 10
NOISE_FACTOR = 3.0
NO_POWER = {"source": None, "idle_w": None, "load_w": None, "energy_mj": None, "energy_net_mj": None}


class EnergySource(NamedTuple):
    """A counter of joules. `read` gives an opaque reading, `joules` the energy between two."""

    name: str
    read: Callable[[], Optional[List[int]]]
    joules: Callable[[List[int], List[int]], float]


def find_source(root: str = "/") -> Optional[EnergySource]:
    """RAPL where it can be read, else None."""
    packages = find_packages(root)
    if not packages or read_counters(root, packages) is None:
        return None
    return EnergySource(
        "rapl",
        lambda: read_counters(root, packages),
        lambda before, after: sum_joules(packages, before, after),
    )


def describe_sources(root: str = "/") -> List[Dict[str, Any]]:
    """What a probe tells of the sources on this board, readable or not."""
    packages = find_packages(root)
    if not packages:
        return []
    is_readable = read_counters(root, packages) is not None
    note = "processor packages only" if is_readable else "energy_uj may be read by root only"
    return [{"name": "rapl", "readable": is_readable, "note": note}]


def read_idle(
    source: EnergySource, window_s: float, wait: Callable[[float], None], clock: Callable[[], float]
) -> List[float]:
    """The power in W of each piece of an idle window: their spread is the noise of idle."""
    powers, before, started = [], source.read(), clock()
    for _ in range(IDLE_PIECES):
        wait(window_s / IDLE_PIECES)
        after, ended = source.read(), clock()
        if before is not None and after is not None and ended > started:
            powers.append(source.joules(before, after) / (ended - started))
        before, started = after, ended
    return powers


def measure_load(
    source: EnergySource, work: Callable[[], int], clock: Callable[[], float]
) -> Tuple[Optional[float], float, int]:
    """Joules (None if the source failed), seconds and the inferences that `work` did in them."""
    before, started = source.read(), clock()
    inferences = work()
    after, ended = source.read(), clock()
    joules = None if before is None or after is None else source.joules(before, after)
    return joules, ended - started, inferences


def summarize_power(
    source: str, idle: List[float], joules: Optional[float], seconds: float, inferences: int
) -> Dict[str, Any]:
    """Gross and net energy per inference; net only where load stands out of three times the noise of idle."""
    found: Dict[str, Any] = dict(NO_POWER, source=source)
    if joules is None or not idle or inferences == 0 or seconds <= 0:
        return found
    idle_w, load_w = median(idle), joules / seconds
    noise_w = (sum((one - idle_w) ** 2 for one in idle) / len(idle)) ** 0.5
    found.update(idle_w=idle_w, load_w=load_w, energy_mj=joules / inferences * 1e3)
    if load_w - idle_w > NOISE_FACTOR * noise_w:
        found["energy_net_mj"] = (load_w - idle_w) * seconds / inferences * 1e3
    return found
