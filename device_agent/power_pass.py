"""The power pass of one measurement: idle, load, idle again while a sampler reads the source; and then by
what share the sampler itself slows the load."""

import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar

from device_agent.affinity import choose_core, keep_off
from device_agent.energy import (
    LEAST_SAMPLES,
    NO_POWER,
    Curve,
    Load,
    Window,
    count_samples,
    find_idle,
    find_step,
    find_watts,
    follow_counter,
    integrate_power,
    summarize_power,
    thin_power,
)
from device_agent.environment import usable_cores
from device_agent.others import watch_others
from device_agent.power import Source
from device_agent.protocol import PHASE_IDLE, PHASE_LOAD
from device_agent.sampling import Record, Sampler, SamplerFailed
from device_agent.sensors.meter_lines import place_samples
from device_agent.sensors.process_cpu import cpu_s, read_group_ticks, read_ticks
from device_agent.supervision import Wakeup, WorkerProcess
from device_agent.validity import is_busy, median

# The sampler's own effect: short pieces of load without it (A) and with it (B), so that what drifts weighs on
# both alike. What else goes on differs from piece to piece: many short ones tell more than few long ones.
BLOCK = "ABBA"
LEAST_BLOCKS, MOST_BLOCKS = 3, 32
PIECE_SHARE, LEAST_PIECE_S = 1 / 256.0, 0.03  # of the window; a piece must hold some values
EFFECT_SHARE = 0.5  # of the window, for all pieces
MOST_UNCERTAINTY = 0.05

OWN_CORE, SHARED_CORE = "own core", "shared core"

PACED_NOTE = "power is read under load back to back, not at the pace; energy at the pace is not known"

Fields = Dict[str, Any]
T = TypeVar("T")


class Pass(NamedTuple):
    """What a power pass works with: a worker that waits for commands, the length of its windows, how long an
    answer may take, and whether the rounds were at a pace."""

    source: Source
    worker: WorkerProcess
    threads: Optional[int]
    window_s: float
    timeout_s: float
    wakeup: Wakeup
    is_paced: bool = False


class Timeline(NamedTuple):
    """When what was done, on the monotonic clock; and what share of the usable cores other processes took
    meanwhile, at idle the greater of both windows. None where nothing tells it."""

    before: Window
    load: Load
    after: Window
    load_others: Optional[float] = None
    idle_others: Optional[float] = None


def measure_power(asked: Pass) -> Fields:
    """Power in W at idle and under load, and energy per inference in mJ.

    Whatever the source does wrong costs its figures and is said in `note`. Raises TaskFailed where the worker
    does not answer, Stopped where the run is to end.
    """
    source = asked.source
    found = dict(NO_POWER, source=source.name, rails=list(source.rails))
    if source.failure is not None:
        return dict(found, note=source.failure)
    core = choose_core(usable_cores(), asked.threads)
    try:
        with keep_off(asked.worker.pid, core) as has_own_core:
            spec_core = core if has_own_core else None
            with Sampler(source.spec, spec_core, asked.wakeup.descriptor) as sampler:
                sampler.wait_ready()
                timeline = _pass_windows(asked, sampler.pid)
                paces = _measure_effect(asked, sampler, timeline.load)
                record = sampler.stop()
    except SamplerFailed as failure:
        return dict(found, note=str(failure))
    found["sampler"] = SHARED_CORE if spec_core is None else OWN_CORE
    found["sampler_effect"] = find_effect(paces)
    figures = evaluate_record(source, timeline, record)
    found.update(withhold_energy(figures, timeline, asked.is_paced))
    if found["note"] is None and found["sampler_effect"] is None:
        found["note"] = "other work made the load too uneven to tell what the sampler costs"
    return found


def _pass_windows(asked: Pass, sampler_pid: int) -> Timeline:
    """Idle, load, idle: each begins when the values have settled, so that none tells of what was before."""
    settle_s = min(asked.source.settle_s, asked.window_s)
    pids = (asked.worker.pid, sampler_pid)
    asked.wakeup.wait(settle_s)
    before, others_before = _watch_others(pids, lambda: _rest(asked))
    _infer(asked, settle_s)
    load, others_under_load = _watch_others(pids, lambda: _infer(asked, asked.window_s))
    asked.wakeup.wait(settle_s)
    after, others_after = _watch_others(pids, lambda: _rest(asked))
    asked.wakeup.wait(settle_s)  # a value after the last window ends it
    at_idle = [share for share in (others_before, others_after) if share is not None]
    return Timeline(before, load, after, others_under_load, max(at_idle) if at_idle else None)


def _watch_others(pids: Tuple[int, int], work: Callable[[], T]) -> Tuple[T, Optional[float]]:
    """What `work` gives, and what share of the usable cores was taken meanwhile by others than the worker,
    the sampler with what it reads, and this process."""
    share = watch_others(lambda: cpu_s() + _read_ticks(pids) / os.sysconf("SC_CLK_TCK"))
    found = work()
    return found, share()


def _read_ticks(pids: Tuple[int, int]) -> int:
    worker, sampler = pids
    return read_ticks(worker) + read_group_ticks(sampler)


def _rest(asked: Pass) -> Window:
    start = time.monotonic()
    asked.wakeup.wait(asked.window_s)
    return Window(start, time.monotonic())


def _infer(asked: Pass, seconds: float) -> Load:
    start = time.monotonic()
    told = asked.worker.ask({"do": "load", "seconds": seconds}, asked.timeout_s)
    return Load(Window(start, time.monotonic()), told["seconds"], told["inferences"])


def _measure_effect(asked: Pass, sampler: Sampler, load: Load) -> List[float]:
    """Seconds per inference in each piece of all blocks."""
    piece_s = max(asked.window_s * PIECE_SHARE, LEAST_PIECE_S)
    block_s = len(BLOCK) * max(piece_s, load.seconds / load.inferences)
    blocks = min(max(int(asked.window_s * EFFECT_SHARE / block_s), LEAST_BLOCKS), MOST_BLOCKS)
    paces = []
    for kind in BLOCK * blocks:
        if kind == "A":
            sampler.hold()
        else:
            sampler.go_on()
        piece = _infer(asked, piece_s)
        paces.append(piece.seconds / piece.inferences)
    return paces


def find_effect(paces: List[float]) -> Optional[float]:
    """By what share an inference takes longer while the source is read: the middle of what the blocks tell.

    None where they contradict each other too much: where the 95 % interval of the middle, by the order of the
    blocks, is wider than what an effect would be worth telling.
    """
    blocks = [paces[at : at + len(BLOCK)] for at in range(0, len(paces), len(BLOCK))]
    effects = sorted((one[1] + one[2]) / (one[0] + one[3]) - 1 for one in blocks)
    beyond = max(0, int((len(effects) - 1.96 * len(effects) ** 0.5) / 2))
    uncertainty = (effects[-1 - beyond] - effects[beyond]) / 2
    return median(effects) if uncertainty <= MOST_UNCERTAINTY else None


def evaluate_record(source: Source, timeline: Timeline, record: Record) -> Fields:
    """The figures of the windows, and a note where the load has none."""
    # What came while the sampler was held still at times says nothing of how lines arrive.
    end = timeline.after.end + min(source.settle_s, timeline.after.end - timeline.after.start)
    samples = place_samples([one for one in record.arrivals if one.at <= end])
    curve = follow_counter(samples) if source.is_counter else integrate_power(samples)
    window = timeline.load.window
    load_w = find_watts(curve, window)
    idle = [find_idle(curve, one) for one in (timeline.before, timeline.after)]
    step_w = 0.0 if source.is_counter else find_step(curve)
    figures = summarize_power(load_w, timeline.load, idle[0], idle[1], step_w)
    figures["rate_hz"] = count_samples(curve, window) / (window.end - window.start)
    figures["note"] = _explain_gap(curve, window, record) if load_w is None else None
    figures["course"] = [] if load_w is None else describe_course(curve, timeline)
    return figures


def describe_course(curve: Curve, timeline: Timeline) -> List[Fields]:
    """Power over time in each window whose power is known: when it began, in seconds since the first one did,
    and its points as [seconds since then, W]."""
    windows = (
        (PHASE_IDLE, timeline.before),
        (PHASE_LOAD, timeline.load.window),
        (PHASE_IDLE, timeline.after),
    )
    found = []
    for phase, window in windows:
        points = [[round(at, 4), round(watts, 5)] for at, watts in thin_power(curve, window)]
        if points:
            start_s = round(window.start - timeline.before.start, 4)
            found.append({"phase": phase, "start_s": start_s, "points": points})
    return found


def withhold_energy(figures: Fields, timeline: Timeline, is_paced: bool) -> Fields:
    """The figures without an energy that is not that of the inferences of the rounds; `note` says why.

    What the board drew stays: the power is what it was, whoever caused it.
    """
    if figures["load_w"] is None:
        return figures
    notes, withheld = [], set()
    if is_paced:
        notes.append(PACED_NOTE)
        withheld |= {"energy_mj", "energy_net_mj"}
    if is_busy([timeline.load_others]):
        notes.append(_tell_others(timeline.load_others, "power was read under load"))
        withheld |= {"energy_mj", "energy_net_mj"}
    if is_busy([timeline.idle_others]):
        notes.append(_tell_others(timeline.idle_others, "power was read at idle"))
        withheld.add("energy_net_mj")
    if not notes:
        return figures
    return dict(figures, note="; ".join(notes), **dict.fromkeys(withheld))


def _tell_others(share: Optional[float], when: str) -> str:
    return "other processes took {:.0f} % of the cores while {}".format(100 * (share or 0.0), when)


def _explain_gap(curve: Curve, window: Window, record: Record) -> str:
    if record.reason is not None:
        return record.reason
    count = count_samples(curve, window)
    if count < LEAST_SAMPLES:
        return "{} values in {:.1f} s of load are too few".format(count, window.end - window.start)
    return "the source fell silent under load"
