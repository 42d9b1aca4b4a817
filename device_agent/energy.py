"""Energy between two moments from what a sensor told around them, and energy per inference. Pure."""

from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from device_agent.protocol import MAX_COURSE_POINTS
from device_agent.sensors.meter_lines import pair_neighbours
from device_agent.validity import median

Sample = Tuple[float, Optional[float]]

LONGEST_GAP_S = 0.5
"""What a moment may last in which a fast sensor gives no value; energy over a longer one is not known."""

GAP_PERIODS = 3.0
LEAST_SAMPLES = 5
"""So many values must lie in a window: fewer do not tell its energy."""

PIECES = 10
NOISE_FACTOR = 3.0

Fields = Dict[str, Any]
NO_POWER = {
    "source": None,
    "rails": [],
    "idle_w": None,
    "load_w": None,
    "energy_mj": None,
    "energy_net_mj": None,
    "sampler_effect": None,
    "sampler": None,
    "rate_hz": None,
    "note": None,
    "course": [],
}  # type: Fields


class Window(NamedTuple):
    """A stretch of monotonic seconds."""

    start: float
    end: float


class Load(NamedTuple):
    """What a worker did in a window by its own account: the seconds that so many inferences took."""

    window: Window
    seconds: float
    inferences: int


class Curve(NamedTuple):
    """Joules since the first sample, at the times of the samples that have a value; and the values."""

    times: List[float]
    joules: List[float]
    watts: List[float]
    longest_gap_s: float


def integrate_power(samples: Sequence[Sample]) -> Curve:
    """The curve under samples of watts: trapezoids. A sample without a value only leaves a gap."""
    known = [(at, watts) for at, watts in samples if watts is not None]
    joules = [0.0] if known else []
    for (before, first), (after, last) in pair_neighbours(known):
        joules.append(joules[-1] + (first + last) / 2 * (after - before))
    return _make_curve(known, joules)


def follow_counter(samples: Sequence[Sample]) -> Curve:
    """The curve of a counter that tells joules itself."""
    known = [(at, joules) for at, joules in samples if joules is not None]
    return _make_curve(known, [joules for _, joules in known])


def _make_curve(known: Sequence[Tuple[float, float]], joules: List[float]) -> Curve:
    times = [at for at, _ in known]
    steps = [after - before for before, after in pair_neighbours(times)]
    longest = max(LONGEST_GAP_S, GAP_PERIODS * median(steps)) if steps else LONGEST_GAP_S
    return Curve(times, joules, [value for _, value in known], longest)


def find_joules(curve: Curve, window: Window) -> Optional[float]:
    """The energy in a window; None where it begins or ends outside of the samples, or has a gap."""
    first = bisect_right(curve.times, window.start) - 1
    last = bisect_left(curve.times, window.end)
    if first < 0 or last >= len(curve.times) or window.end <= window.start:
        return None
    around = curve.times[first : last + 1]
    if any(after - before > curve.longest_gap_s for before, after in pair_neighbours(around)):
        return None
    return _joules_at(curve, window.end) - _joules_at(curve, window.start)


def _joules_at(curve: Curve, moment: float) -> float:
    """Between two samples the power is taken as even: what that loses is far below a period's energy."""
    after = bisect_left(curve.times, moment)
    if curve.times[after] == moment:
        return curve.joules[after]
    start, end = curve.times[after - 1], curve.times[after]
    share = (moment - start) / (end - start)
    return curve.joules[after - 1] + share * (curve.joules[after] - curve.joules[after - 1])


def count_samples(curve: Curve, window: Window) -> int:
    return bisect_right(curve.times, window.end) - bisect_left(curve.times, window.start)


def find_watts(curve: Curve, window: Window) -> Optional[float]:
    """The mean power in a window; None where its energy is not known, or hangs on too few samples."""
    joules = find_joules(curve, window)
    if joules is None or count_samples(curve, window) < LEAST_SAMPLES:
        return None
    return joules / (window.end - window.start)


def find_idle(curve: Curve, window: Window) -> Optional[List[float]]:
    """The mean power of each piece of an idle window; None where the window has none of its own."""
    if find_watts(curve, window) is None:
        return None
    return [watts for _, watts in _slice_power(curve, window, PIECES)]


def thin_power(curve: Curve, window: Window) -> List[Tuple[float, float]]:
    """The mean power in equal slices of a window, each at its middle in seconds since the window began.

    There are as many slices as samples, up to a limit; together they have the energy of the window. None at
    all where its power is not known.
    """
    if find_watts(curve, window) is None:
        return []
    return _slice_power(curve, window, min(count_samples(curve, window), MAX_COURSE_POINTS))


def _slice_power(curve: Curve, window: Window, count: int) -> List[Tuple[float, float]]:
    """(seconds since the window began, W) of each slice whose energy is known."""
    step = (window.end - window.start) / count
    edges = [window.start + step * at for at in range(count)] + [window.end]
    slices = [Window(*edge) for edge in pair_neighbours(edges)]
    found = [((at + 0.5) * step, one, find_joules(curve, one)) for at, one in enumerate(slices)]
    return [(at, joules / (one.end - one.start)) for at, one, joules in found if joules is not None]


def find_step(curve: Curve) -> float:
    """The smallest difference between two values that the sensor told; 0 where all were the same.

    An INA3221 at 5 V tells multiples of 40 mW: what it calls even may move by as much.
    """
    values = sorted(set(curve.watts))
    return min((high - low for low, high in pair_neighbours(values)), default=0.0)


def summarize_power(
    load_w: Optional[float],
    load: Load,
    before: Optional[List[float]],
    after: Optional[List[float]],
    step_w: float = 0.0,
) -> Fields:
    """Power and energy per inference: gross, and net where the load stands out of the noise of idle.

    Idle is the middle between what it was before and after, so that a drift over the load cancels; the noise
    is the deviation of the pieces from it, so that a drift counts, and of a value that the sensor rounds.
    """
    found: Fields = dict.fromkeys(("idle_w", "load_w", "energy_mj", "energy_net_mj"))
    if load_w is None or load.inferences == 0 or load.seconds <= 0:
        return found
    inference_s = load.seconds / load.inferences
    found.update(load_w=load_w, energy_mj=load_w * inference_s * 1e3)
    if before and after:
        idle_w = (median(before) + median(after)) / 2
        spread = sum((one - idle_w) ** 2 for one in before + after) / len(before + after)
        noise_w = (spread + step_w**2 / 12) ** 0.5
        found["idle_w"] = idle_w
        if load_w - idle_w > NOISE_FACTOR * noise_w:
            found["energy_net_mj"] = (load_w - idle_w) * inference_s * 1e3
    return found
