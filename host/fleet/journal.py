"""What a board is asked to measure, and what it tells of it: every line is checked before it is believed.

The names and bounds are those of `device_agent.protocol`. Keys that we do not know are ignored, since a
field may be added; an event, a type or a range that we do not know is refused.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from device_agent import protocol
from host.errors import DeviceError
from host.specs.device import Meter
from host.specs.measure import Measure
from host.specs.measurement import LONGEST_SAMPLE_NS, Failure, Memory, Power, PowerWindow
from host.specs.record import Record

YEAR_9999 = 253402300800.0
_MAX_DEPTH = 8
_MAX_VALUES = 5000


def escape_controls(text: str) -> str:
    """The text with terminal control characters written out: a board's words must not drive a terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else repr(c)[1:-1] for c in text)


def _bound_json(value: Any) -> Any:
    """The value itself, if it is small, shallow and finite. Raises ValueError if not."""
    waiting, seen = [(value, 1)], 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if depth > _MAX_DEPTH or seen > _MAX_VALUES:
            raise ValueError(f"deeper than {_MAX_DEPTH} or more than {_MAX_VALUES} values")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("a number is not finite")
        if isinstance(item, str) and len(item) > protocol.MAX_TEXT:
            raise ValueError(f"a text is longer than {protocol.MAX_TEXT} characters")
        children = (
            item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        )
        waiting += [(part, depth + 1) for pair in children for part in pair]
    return value


Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z_-][0-9a-zA-Z._-]{0,79}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z._:+-]{1,80}$")]
Text = Annotated[str, StringConstraints(max_length=protocol.MAX_TEXT), AfterValidator(escape_controls)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, lt=10**9)]
Milliseconds = Annotated[float, Field(ge=0, lt=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Facts = Annotated[dict[str, JsonValue], AfterValidator(_bound_json)]


class JobTask(Record):
    """One measurement as the board is asked for it; files are named by their SHA-256."""

    task: Id
    model: Sha256
    feeds: Sha256
    evaluation: Sha256 | None = None
    reference: Sha256 | None = None
    runtime: str
    provider: str
    threads: int | None
    batch: int
    options: dict[str, JsonValue] = Field(default_factory=dict)


class Timeouts(Record):
    """How long the agent waits: `task_s` bounds all that one task may take together, in seconds."""

    task_s: Annotated[float, Field(gt=0, le=10**6)]


class Job(Record):
    """All that one board measures in one run. `holder` says to others who holds the board."""

    run: Id
    holder: str
    seed: int
    layer: Sha256 | None
    measure: Measure
    tasks: tuple[JobTask, ...]
    meter: Meter | None = None
    timeouts: Timeouts | None = None

    def as_message(self) -> dict[str, Any]:
        """The job as the agent reads it."""
        told = self.model_dump(mode="json", exclude={"measure"} if self.timeouts else {"measure", "timeouts"})
        left_out = {"preset", "evaluation_images", "duration_s"}
        steps = self.measure.model_dump(mode="json", exclude=left_out, exclude_none=True)
        return {"schema": protocol.SCHEMA, **told, "protocol": steps}


class _Told(BaseModel):
    """Anything that a board says: types as they stand in JSON, nothing converted, unknown keys dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Happened(_Told):
    seq: int = Field(ge=1, le=10**9)
    wall: float = Field(ge=0, lt=YEAR_9999)
    mono: float = Field(ge=0, lt=10**12)


class RunStarted(_Happened):
    event: Literal["run-started"]
    run: Id
    schema_version: int = Field(alias="schema", ge=protocol.SCHEMA, le=protocol.SCHEMA)
    agent: Text
    python: Text
    boot: Text | None = None
    environment: Facts = {}


class TaskOpened(_Happened):
    event: Literal["task-opened"]
    task: Id
    provider: Text
    load_ms: Milliseconds | None = None
    first_inference_ms: Milliseconds | None = None


class TaskProgress(_Happened):
    event: Literal["progress"]
    task: Id
    phase: Literal["opening", "memory", "cooling", "warming", "round", "sustaining", "power", "evaluating"]
    round: Count | None = None


class WarmUp(_Told):
    inferences: Count
    seconds: Seconds
    steady: bool


class Pace(_Told):
    """What came of the inferences that were due in a paced round."""

    due: int = Field(ge=1, le=10**9)
    missed: Count
    wakeup_ms: Milliseconds | None = None


class Round(_Happened):
    """One round of raw samples, still packed: `decode_samples` gives them.

    A piece of a sustained loop has more inferences than samples; a paced round tells of deadlines.
    """

    event: Literal["round"]
    task: Id
    round: Count
    count: int = Field(ge=1, le=protocol.MAX_ROUND_SAMPLES)
    seconds: Seconds
    samples_ns: str
    inferences: Annotated[int, Field(ge=1, le=10**12)] | None = None
    sum_s: Seconds | None = None
    paced: Pace | None = None
    warmup: WarmUp | None = None
    environment: Facts = {}

    @model_validator(mode="after")
    def _samples_fit(self) -> Round:
        decode_samples(self)
        if self.inferences is not None and self.inferences < self.count:
            raise ValueError("there are more samples than inferences")
        if self.paced is not None and not self.paced.missed <= self.count <= self.paced.due:
            raise ValueError("more was done than was due, or more missed than done")
        return self


class ToldMemory(Memory):
    model_config = ConfigDict(extra="ignore", strict=True)


class ToldPowerWindow(PowerWindow):
    model_config = ConfigDict(extra="ignore", strict=True)


class ToldPower(Power):
    model_config = ConfigDict(extra="ignore", strict=True)

    source: Text | None = None
    rails: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    sampler: Text | None = None
    note: Text | None = None
    course: Annotated[tuple[ToldPowerWindow, ...], Field(max_length=3)] = ()


class ToldFailure(Failure):
    model_config = ConfigDict(extra="ignore", strict=True)

    kind: Word
    message: Text


class ToldMeasurement(_Told):
    """What a board found out about one task, beside the samples of its rounds."""

    started_at: float = Field(ge=0, lt=YEAR_9999)
    provider: Text
    threads: Annotated[int, Field(ge=1, le=65536)] | None = None
    runtime_version: Text
    settings: Facts = {}
    nodes: Annotated[dict[Text, Count], Field(max_length=64)] | None = None
    build_s: Seconds | None = None
    compute_ms: Milliseconds | None = None
    load_ms: Milliseconds | None = None
    first_inference_ms: Milliseconds | None = None
    memory_mb: ToldMemory = ToldMemory()
    power: ToldPower = ToldPower()
    accuracy: Share | None = None
    agreement: Share | None = None
    max_abs_diff: Annotated[float, Field(ge=0)] | None = None
    environment: Facts = {}
    flags: Annotated[tuple[Word, ...], Field(max_length=50)] = ()


class Result(_Happened):
    """The end of one task: `measurement` where it is ok, `error` where it failed."""

    event: Literal["result"]
    task: Id
    status: Literal["ok", "failed"]
    measurement: ToldMeasurement | None = None
    error: ToldFailure | None = None

    @model_validator(mode="after")
    def _holds_what_its_status_says(self) -> Result:
        if (self.measurement is None) == (self.status == "ok") or (self.error is None) == (
            self.status != "ok"
        ):
            raise ValueError("an ok result holds a measurement, a failed one an error, and never both")
        return self


class RunEnded(_Happened):
    event: Literal["run-ended"]
    reason: Literal["completed", "stopped", "interrupted", "failed"]
    ok: Count
    failed: Count
    error: ToldFailure | None = None


Event = RunStarted | TaskOpened | TaskProgress | Round | Result | RunEnded
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes, device: str = "board", number: int = 1) -> Event:
    """The event that one line of a journal holds.

    Raises DeviceError that names the device, the line and what is wrong with it.
    """
    if len(line) > protocol.MAX_LINE_BYTES:
        raise DeviceError(
            f"{device}: line {number} of the journal has {len(line)} bytes, more than is allowed"
        )
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise DeviceError(
            f"{device}: line {number} of the journal does not fit: {_describe_fault(error)}",
            f"`bench devices probe {device}` sends the agent that belongs to this version of bench.",
        ) from error


def _describe_fault(error: ValidationError, limit: int = 300) -> str:
    """The first fault, bounded and printable: the board chose the words in it."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"][1:]) or "event"
    text = f"{_shorten(where, 80)}: {_shorten(fault['msg'], limit)}"
    if fault["type"] != "value_error":
        found = fault["input"]
        text += f", found {_shorten(repr(found[:80] if isinstance(found, str | bytes) else found), 80)}"
    return text


def _shorten(text: str, limit: int) -> str:
    return escape_controls(text if len(text) <= limit else f"{text[:limit]}…")


def decode_samples(measured: Round) -> NDArray[np.int64]:
    """The (count,) samples of a round in nanoseconds, each above zero and below an hour.

    They travel as base64 of zlib of little-endian uint64. Raises ValueError if anything else is there;
    a round that `parse_event` returned has been through this.
    """
    expected = measured.count * 8
    try:
        packed = base64.b64decode(measured.samples_ns, validate=True)
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, expected + 1)  # bounded: a small text can unpack to gigabytes
    except (ValueError, zlib.error) as error:
        raise ValueError(f"the samples cannot be unpacked: {error}") from error
    if len(raw) != expected or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"expected {measured.count} samples, found other data")
    values = np.frombuffer(raw, dtype="<u8")
    if values.min() == 0 or values.max() >= LONGEST_SAMPLE_NS:
        raise ValueError("a sample is zero or lasts an hour or more")
    return values.astype(np.int64)
