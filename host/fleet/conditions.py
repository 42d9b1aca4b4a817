"""What a board is like at this moment, asked of its agent, and changing it for measurements and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from host.errors import DeviceError
from host.fleet.hardware_facts import Word, show_said
from host.fleet.probing import call_agent
from host.fleet.remote import Remote
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.reading import describe_faults
from host.specs.record import Record

CONDITIONS_S = 60.0
CHANGE_S = 300.0  # jetson_clocks takes seconds on a Nano, and each of three steps asks it several times

Told = TypeVar("Told", bound=Record)
Count = Annotated[int, Field(ge=0, le=2**63)]
Megabytes = Annotated[float, Field(ge=0, le=1e12)]
Cores = Annotated[float, Field(ge=0, le=100_000)]
Sentence = Annotated[str, StringConstraints(max_length=2000), AfterValidator(show_said)]
Words = Annotated[tuple[Word, ...], Field(max_length=64)]


class Swap(Record):
    """Where memory is swapped to; `is_zram` where it is memory that the processor compresses."""

    name: Word
    size_mb: Megabytes
    used_mb: Megabytes
    is_zram: bool


class Busy(Record):
    """A process that computes, and how many cores it keeps busy."""

    name: Word
    cores: Cores


class FastestMode(Record):
    """The mode of nvpmodel without limits; `asks_for_restart` where only a restart gets there."""

    mode: Word
    mode_id: int = Field(ge=0, le=10_000)
    asks_for_restart: bool


class Changed(Record):
    """One thing that is changed on the board for measurements."""

    kind: Word
    now: Word
    before: Word | None = None


class Fix(Record):
    """What is changed on the board now, by whom and since when; `problem` where its record is unreadable."""

    since: Word | None = None
    holder: Word | None = None
    state: Word | None = None
    run: Word | None = None
    changed: tuple[Changed, ...] = Field((), max_length=16)
    problem: Sentence | None = None
    path: Sentence | None = None


class Outcome(Record):
    """What came of one change, or of undoing it."""

    kind: Word
    state: Literal["done", "already", "refused", "failed"]
    wanted: Word
    before: Word | None = None
    message: Sentence | None = None


Outcomes = Annotated[tuple[Outcome, ...], Field(max_length=16)]


class Conditions(Record):
    """What a board is like now; what it cannot tell is None. `settled` is what it has just put back, since
    the run that it was changed for is dead."""

    time: float = Field(ge=0, lt=1e12)
    throttle_bits: Count | None = None
    throttle_events: Count | None = None
    voltage_alarm: bool | None = None
    overcurrent_events: Count | None = None
    swaps: tuple[Swap, ...] = Field((), max_length=64)
    memory_mb: Megabytes | None = None
    available_mb: Megabytes | None = None
    load_1m: float | None = Field(None, ge=0, le=1e6)
    busy_cores: Cores | None = None
    busiest: tuple[Busy, ...] = Field((), max_length=16)
    desktop: Words = ()
    installing: Words = ()
    upgrade_timers: Words = ()
    fastest_mode: FastestMode | None = None
    measuring: Word | None = None
    fix: Fix | None = None
    settled: Outcomes = ()


class Seen(Record):
    """Conditions, and how many seconds the board's clock is ahead of ours, within `doubt_s`."""

    conditions: Conditions
    ahead_s: float
    doubt_s: float


class _Answer(Record):
    outcomes: Outcomes


def ask_conditions(remote: Remote, device: Device, agent: Blob) -> Seen:
    """What the board is like now. It watches itself for a second."""
    asked = time.time()
    told = call_agent(remote, device, agent, ("conditions",), timeout=CONDITIONS_S)
    answered = time.time()
    conditions = _check(device, Conditions, told)
    middle, doubt = (asked + answered) / 2, (answered - asked) / 2
    return Seen(conditions=conditions, ahead_s=conditions.time - middle, doubt_s=doubt)


def fix_board(remote: Remote, device: Device, agent: Blob, holder: str) -> Sequence[Outcome]:
    """Change what is safe to change, until the next run there has ended. Raises BoardBusy while one runs."""
    return _change(remote, device, agent, "fix", holder)


def restore_board(remote: Remote, device: Device, agent: Blob, holder: str) -> Sequence[Outcome]:
    """Undo what `fix_board` has changed; empty where nothing is. Raises BoardBusy while a run is there."""
    return _change(remote, device, agent, "restore", holder)


def _change(remote: Remote, device: Device, agent: Blob, word: str, holder: str) -> Sequence[Outcome]:
    told = call_agent(remote, device, agent, (word, holder), timeout=CHANGE_S)
    return _check(device, _Answer, told).outcomes


def _check(device: Device, kind: type[Told], told: dict[str, Any]) -> Told:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        faults = "; ".join(describe_faults(error, told))
        raise DeviceError(
            f"{device.name}: what the agent says of the board's condition is not understood: {faults}",
            "This is a fault of boardbench or of the board's agent: please report it.",
        ) from error
