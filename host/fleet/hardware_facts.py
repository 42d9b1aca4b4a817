"""What a board says of its hardware: records that bound what a board may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from host.fleet.ssh_intake import show_text
from host.specs.record import Record

MAX_CORES = 4096


def show_said(said: str) -> str:
    """A board's text, which may hold half a surrogate pair or words for a terminal."""
    return show_text(said.encode("utf-8", "replace"))


Word = Annotated[str, StringConstraints(max_length=200), AfterValidator(show_said)]
CoreNumber = Annotated[int, Field(ge=0, le=100_000)]
Megahertz = Annotated[float, Field(ge=0, le=20_000)]
Celsius = Annotated[float, Field(ge=-274, le=1000)]


class ClusterFacts(Record):
    """Cores that are alike and clocked together; clocks are those of its slowest and fastest core.

    `allowed_…` are the limits set now, `current_mhz` is the clock of the fastest core at this moment.
    """

    cores: tuple[CoreNumber, ...] = Field(max_length=MAX_CORES)
    core_type: Word | None = None
    capacity: int | None = Field(None, ge=0, le=1_000_000)
    min_mhz: Megahertz | None = None
    max_mhz: Megahertz | None = None
    allowed_min_mhz: Megahertz | None = None
    allowed_max_mhz: Megahertz | None = None
    current_mhz: Megahertz | None = None
    governor: Word | None = None


class TripFacts(Record):
    """Where the kernel slows the board down (`passive`) or switches it off (`critical`)."""

    kind: Word
    temperature_c: Celsius


class ThermalZoneFacts(Record):
    """A thermal zone; without a temperature while its sensor sleeps."""

    name: Word
    temperature_c: Celsius | None = None
    trips: tuple[TripFacts, ...] = Field((), max_length=64)


class PowerModeFacts(Record):
    """The mode of a Jetson's nvpmodel."""

    mode: Word | None = None
    mode_id: int | None = Field(None, ge=0, le=10_000)


class JetsonClocksFacts(Record):
    """Whether jetson_clocks holds all clocks of a Jetson, and those of GPU and memory."""

    pinned: bool | None = None
    gpu_mhz: Megahertz | None = None
    gpu_max_mhz: Megahertz | None = None
    emc_mhz: Megahertz | None = None
