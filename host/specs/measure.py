"""How a sweep measures: the presets of the protocol, and what a profile may change in them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from device_agent import protocol
from host.specs.durations import read_duration
from host.specs.record import Record

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "rounds": 3,
        "round_s": 0.5,
        "round_samples": 64,
        "power_window_s": 2.0,
        "cooldown_cap_s": 30.0,
    },
    "standard": {"rounds": 5, "round_s": 3.0, "round_samples": 200, "power_window_s": 10.0},
    "rigorous": {"rounds": 9, "round_s": 60 / 9, "round_samples": 112, "power_window_s": 10.0},
}
"""`rigorous` asks for 60 s and 1000 samples in all: nine rounds of 6.7 s and 112 samples."""

Scenario = Literal["single-stream", "offline", "paced", "sustained"]

LONGEST_S = 12 * 3600.0
PIECE_S = 60.0
"""The longest piece of a sustained loop: its figures are told minute by minute."""

OF_SCENARIO = {"rate_hz": "paced", "deadline_ms": "paced", "duration_s": "sustained"}
"""Values that only one scenario has."""


class Measure(Record):
    """The measuring protocol of one sweep.

    A round ends when it has lasted `round_s` seconds and holds `round_samples` inferences. Warm-up
    lasts `warmup_s` and `warmup_inferences` at least, then until two neighbouring windows of
    `steady_window` inferences agree within `steady_tolerance`, at most `warmup_cap_s`. Before a round the
    board may cool down for `cooldown_cap_s` at most; 0 means that nobody waits.

    `paced` makes an inference due `rate_hz` times a second, each to be complete after `deadline_ms` (default:
    when the next one is due). `sustained` is one loop of `duration_s`, from which its rounds follow.
    """

    preset: Literal["quick", "standard", "rigorous"] = "standard"
    scenario: Scenario = "single-stream"
    rounds: int = Field(5, ge=1, le=1000)
    round_s: float = Field(3.0, gt=0, le=3600)
    round_samples: int = Field(200, ge=1, le=protocol.MAX_ROUND_SAMPLES)
    rate_hz: float | None = Field(None, ge=0.001, le=1e5)
    deadline_ms: float | None = Field(None, ge=0.001, le=3.6e6)
    duration_s: Annotated[float | None, BeforeValidator(read_duration)] = Field(None, ge=2, le=LONGEST_S)
    warmup_s: float = Field(1.0, ge=0, le=600)
    warmup_inferences: int = Field(10, ge=1, le=100_000)
    warmup_cap_s: float = Field(30.0, gt=0, le=3600)
    steady_window: int = Field(20, ge=4, le=1000)
    steady_tolerance: float = Field(0.05, gt=0, lt=1)
    cooldown_cap_s: float = Field(120.0, ge=0, le=3600)
    power_window_s: float = Field(10.0, gt=0, le=3600)
    evaluation_images: int = Field(1000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "standard")
        filled = {**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **given}
        return _fill_from_scenario(given, filled)

    @model_validator(mode="after")
    def _says_what_its_scenario_needs(self) -> Self:
        for name, scenario in OF_SCENARIO.items():
            if getattr(self, name) is not None and self.scenario != scenario:
                raise ValueError(f"{name} belongs to scenario: {scenario}")
        if self.scenario == "paced" and self.rate_hz is None:
            raise ValueError("scenario: paced needs rate_hz, how many inferences a second are due")
        if self.scenario == "sustained" and self.duration_s is None:
            raise ValueError("scenario: sustained needs duration_s, such as 30m")
        return self


def _fill_from_scenario(given: dict[str, Any], filled: dict[str, Any]) -> dict[str, Any]:
    """What follows from a scenario's own values; values that are no numbers are found out later."""
    rate_hz = _read_positive(given.get("rate_hz"))
    duration_s = _read_positive(read_duration(given.get("duration_s")))
    if rate_hz and given.get("deadline_ms") is None and given.get("scenario") == "paced":
        return {**filled, "deadline_ms": 1e3 / rate_hz}
    if duration_s and given.get("scenario") == "sustained":
        rounds, round_s = split_duration(duration_s)
        if given.get("rounds", rounds) != rounds or given.get("round_s", round_s) != round_s:
            raise ValueError("the rounds of scenario: sustained follow from duration_s; leave them out")
        return {**filled, "rounds": rounds, "round_s": round_s}
    return filled


def _read_positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


def split_duration(duration_s: float) -> tuple[int, float]:
    """Pieces of equal length, two at least and none longer than a minute: how many, and their seconds."""
    pieces = max(2, math.ceil(duration_s / PIECE_S))
    return pieces, duration_s / pieces


def change_scenario(measure: Measure, scenario: Scenario, **values: float) -> Measure:
    """The same protocol in another scenario."""
    left_out = {"scenario", *OF_SCENARIO}
    if "sustained" in (scenario, measure.scenario):
        left_out |= {"rounds", "round_s"}
    return Measure.model_validate({**measure.model_dump(exclude=left_out), "scenario": scenario, **values})


def parse_measure(value: Any) -> Any:
    """`standard` as `{preset: standard}`."""
    return {"preset": value} if isinstance(value, str) else value
