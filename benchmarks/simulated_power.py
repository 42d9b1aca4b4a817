"""A simulated board of known power, seen through a sensor that averages, rounds and adds noise. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.energy import Load, Window
from device_agent.polled_source import JITTER
from device_agent.power import INA_S, Source
from device_agent.power_pass import Timeline, evaluate_record
from device_agent.sampling import Record
from device_agent.sensors.meter_lines import Arrival

Series = NDArray[np.float64]
STEP_W = 0.04
"""An INA3221 with a shunt of 5 mOhm tells 8 mA apart, which at 5 V is 40 mW."""

SETTLE_S = 0.5
GRID_S = 0.001


@dataclass(frozen=True)
class Board:
    """What it draws in W: evenly at idle, and in every inference more in its first half than in its last."""

    idle_w: float
    load_w: float
    ripple_w: float
    inference_s: float
    warming_w: float
    """By so much more at idle after the load than before, as a warm chip leaks more."""

    def find_power(self, at: Series, load: Window) -> Series:
        first_half = ((at - load.start) / self.inference_s) % 1 < 0.5
        loaded = self.load_w + np.where(first_half, self.ripple_w, -self.ripple_w)
        idle = np.where(at < load.start, self.idle_w - self.warming_w / 2, self.idle_w + self.warming_w / 2)
        return np.where((at >= load.start) & (at < load.end), loaded, idle)


@dataclass(frozen=True)
class Sensor:
    """How a sensor sees it: the mean over its conversion, with noise, in steps, and now and then nothing."""

    period_s: float
    conversion_s: float
    noise_w: float
    missing: float

    def read(self, board: Board, load: Window, until: float, random: np.random.Generator) -> list[Arrival]:
        steps = random.uniform(1 - JITTER, 1 + JITTER, int(1.2 * until / self.period_s))
        moments = np.cumsum(self.period_s * steps)
        grid = np.arange(0, self.conversion_s, GRID_S)
        inside = grid + random.uniform(0, GRID_S, (len(moments), len(grid)))  # in step with no inference
        power = board.find_power(moments[:, None] - inside, load).mean(axis=1)
        told = STEP_W * np.round((power + random.normal(0, self.noise_w, len(power))) / STEP_W)
        is_there = random.uniform(size=len(told)) >= self.missing
        return [
            Arrival(float(at), None, float(watts) if there else None)
            for at, watts, there in zip(moments, told, is_there, strict=True)
        ]


@dataclass(frozen=True)
class Errors:
    """By what share the figures are off; net None where none was given."""

    gross: float
    net: float | None


def draw(random: np.random.Generator) -> tuple[Board, Sensor]:
    """A board between a Nano at idle and an Orin at work, and a sensor as one of theirs."""
    idle_w = random.uniform(1.5, 6)
    over_w = random.uniform(2, 12)
    board = Board(
        idle_w=idle_w,
        load_w=idle_w + over_w,
        ripple_w=over_w * random.uniform(0, 0.5),
        inference_s=10 ** random.uniform(-3, -1),
        warming_w=random.uniform(0, 0.1),
    )
    conversion_s = random.uniform(0.007, 0.1)
    return board, Sensor(INA_S, conversion_s, noise_w=random.uniform(0.01, 0.06), missing=0.005)


def simulate_pass(seed: int, window_s: float) -> Errors:
    """One power pass over a drawn board, by the arithmetic that the agent uses."""
    random = np.random.default_rng(seed)
    board, sensor = draw(random)
    begin = SETTLE_S
    before = Window(begin, begin + window_s)
    lead = before.end  # the load begins here, and counts when the sensor has settled
    count = int(window_s / board.inference_s) + 1
    seconds = count * board.inference_s
    counted = Window(lead + SETTLE_S, lead + SETTLE_S + seconds)
    loaded = Window(lead, counted.end)
    after = Window(loaded.end + SETTLE_S, loaded.end + SETTLE_S + window_s)
    arrivals = sensor.read(board, loaded, after.end + SETTLE_S, random)
    timeline = Timeline(before, Load(counted, seconds, count), after)
    source = Source("ina VDD_IN", ("VDD_IN",), {}, "", SETTLE_S)
    found = evaluate_record(source, timeline, Record(arrivals, None))
    gross_mj = board.load_w * board.inference_s * 1e3
    net_mj = (board.load_w - board.idle_w) * board.inference_s * 1e3
    net = found["energy_net_mj"]
    return Errors(found["energy_mj"] / gross_mj - 1, None if net is None else net / net_mj - 1)
