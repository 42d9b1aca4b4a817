"""How a sweep measures: the presets of the protocol, and what a profile may change in them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from device_agent import protocol
from host.specs.record import Record

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"rounds": 3, "round_s": 0.5, "round_samples": 64, "power_window_s": 2.0},
    "standard": {"rounds": 5, "round_s": 3.0, "round_samples": 200, "power_window_s": 10.0},
    "rigorous": {"rounds": 9, "round_s": 60 / 9, "round_samples": 112, "power_window_s": 10.0},
}
"""`rigorous` asks for 60 s and 1000 samples in all: nine rounds of 6.7 s and 112 samples."""


class Measure(Record):
    """The measuring protocol of one sweep.

    A round ends when it has lasted `round_s` seconds and holds `round_samples` inferences. Warm-up
    lasts `warmup_s` and `warmup_inferences` at least, then until two neighbouring windows of
    `steady_window` inferences agree within `steady_tolerance`, at most `warmup_cap_s`.
    """

    preset: Literal["quick", "standard", "rigorous"] = "standard"
    rounds: int = Field(5, ge=1, le=1000)
    round_s: float = Field(3.0, gt=0, le=3600)
    round_samples: int = Field(200, ge=1, le=protocol.MAX_ROUND_SAMPLES)
    warmup_s: float = Field(1.0, ge=0, le=600)
    warmup_inferences: int = Field(10, ge=1, le=100_000)
    warmup_cap_s: float = Field(30.0, gt=0, le=3600)
    steady_window: int = Field(20, ge=4, le=1000)
    steady_tolerance: float = Field(0.05, gt=0, lt=1)
    power_window_s: float = Field(10.0, gt=0, le=3600)
    evaluation_images: int = Field(1000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "standard")
        return {**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **given}


def parse_measure(value: Any) -> Any:
    """`standard` as `{preset: standard}`."""
    return {"preset": value} if isinstance(value, str) else value
