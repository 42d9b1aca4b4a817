"""Power and energy per inference, from counters of energy; always labelled with their source."""

from contextlib import contextmanager
from typing import Any, Callable, ContextManager, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from device_agent.firmware import ask_power_w
from device_agent.sampling import PowerSampler, find_joules
from device_agent.sensors.ina import find_rails, find_total, read_rails, sum_rails
from device_agent.sensors.rapl import find_packages, read_counters, sum_joules
from device_agent.validity import median

IDLE_PIECES = 10
NOISE_FACTOR = 3.0
FIRMWARE_PERIOD_S = 0.2  # every reading is a process
NO_POWER = {"source": None, "idle_w": None, "load_w": None, "energy_mj": None, "energy_net_mj": None}


@contextmanager
def _count_by_itself() -> Iterator[None]:
    yield


class EnergySource(NamedTuple):
    """A counter of joules, which counts while `counting` is entered.

    `read` gives an opaque reading, None where the sensor refuses; `joules` the energy between two, None
    where it is not known.
    """

    name: str
    read: Callable[[], Optional[Sequence[float]]]
    joules: Callable[[Sequence[float], Sequence[float]], Optional[float]]
    counting: Callable[[], ContextManager[None]] = _count_by_itself


def find_source(root: str = "/") -> Optional[EnergySource]:
    """The first of INA sensors, a Raspberry Pi's firmware and RAPL that can be read, else None."""
    for source in (_find_ina(root), _find_pmic(), _find_rapl(root)):
        if source is not None and source.read() is not None:
            return source
    return None


def _find_ina(root: str) -> Optional[EnergySource]:
    """The rails that make up a Jetson's power; which they are is in the name."""
    rails = find_rails(root)
    total = find_total(rail.name for rail in rails)
    if total is None:
        return None
    summed = [rail for rail in rails if rail.name in total]

    def read_w() -> Optional[float]:
        milliwatts = sum_rails(read_rails(root, summed), total)
        return None if milliwatts is None else milliwatts / 1e3

    sampler = PowerSampler(read_w)
    return EnergySource("ina {}".format("+".join(total)), sampler.read, find_joules, sampler.sampling)


def _find_pmic() -> Optional[EnergySource]:
    """The rails of a Raspberry Pi 5 that its power chip measures."""
    if ask_power_w() is None:
        return None
    sampler = PowerSampler(ask_power_w, period_s=FIRMWARE_PERIOD_S)
    return EnergySource("pmic", sampler.read, find_joules, sampler.sampling)


def _find_rapl(root: str) -> Optional[EnergySource]:
    packages = find_packages(root)
    if not packages:
        return None
    return EnergySource(
        "rapl",
        lambda: read_counters(root, packages),
        lambda before, after: sum_joules(packages, before, after),
    )


def describe_sources(root: str = "/") -> List[Dict[str, Any]]:
    """What a probe tells of the sources on this board, readable or not, the first choice first."""
    notes = (
        (_find_ina(root), "the sum of these rails", "a rail of the sum gives no value"),
        (_find_pmic(), "rails of the board, without what hangs on 5 V", "vcgencmd does not answer"),
        (_find_rapl(root), "processor packages only", "energy_uj may be read by root only"),
    )
    found = []
    for source, note, refusal in notes:
        if source is not None:
            is_readable = source.read() is not None
            told = note if is_readable else refusal
            found.append({"name": source.name, "readable": is_readable, "note": told})
    return found


def read_idle(
    source: EnergySource, window_s: float, wait: Callable[[float], None], clock: Callable[[], float]
) -> List[float]:
    """The power in W of each piece of an idle window: their spread is the noise of idle."""
    powers, before, started = [], source.read(), clock()
    for _ in range(IDLE_PIECES):
        wait(window_s / IDLE_PIECES)
        after, ended = source.read(), clock()
        joules = None if before is None or after is None else source.joules(before, after)
        if joules is not None and ended > started:
            powers.append(joules / (ended - started))
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
