"""The result of one task: what was run, what it costs, how good it is, what the board said of itself."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from device_agent import protocol
from host.specs.record import Record

Seconds = Annotated[float, Field(ge=0, lt=10**9)]

LONGEST_SAMPLE_NS = 3600 * 10**9
"""A sample lies above zero and below this."""


class Memory(Record):
    """Resident memory of the worker in MiB: before the model is opened, after, at its peak; and PSS.

    `available_fall` is by how much the memory that the board has left fell meanwhile, other processes' share
    included: what a GPU that shares the board's memory holds is in it, and in none of the others.
    """

    baseline: float | None = None
    loaded: float | None = None
    peak: float | None = None
    pss: float | None = None
    available_fall: float | None = None


class PowerWindow(Record):
    """Power over time while a board rested or inferred, as (seconds since the window began, W).

    Each point is the mean of one of equal slices of the window, at its middle. `start_s` is when the window
    began, in seconds since the first one of the measurement did.
    """

    phase: Literal["idle", "load"]
    start_s: Seconds
    points: Annotated[
        tuple[tuple[Seconds, float], ...], Field(min_length=1, max_length=protocol.MAX_COURSE_POINTS)
    ]

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if any(before > after for (before, _), (after, _) in pairwise(self.points)):
            raise ValueError("the points are not in the order of time")
        return self


class Power(Record):
    """Power in W and energy per inference in mJ. `source` None: the board has no sensor that we can read.

    `rails` are those that were summed. `energy_net_mj` is idle-subtracted, and None where the load does not
    stand out of the noise of idle. `sampler_effect` is by what share reading the sensor slowed inferences,
    None where nothing was read beside them; `sampler` is `own core` or `shared core`, where it was read, and
    `rate_hz` how often. `note` says why a source has no figures. `course` has the windows in the order of
    time: idle, load, idle; it is empty where nothing was read, and in results from before it was kept.
    """

    source: str | None = None
    rails: tuple[str, ...] = ()
    idle_w: float | None = None
    load_w: float | None = None
    energy_mj: float | None = None
    energy_net_mj: float | None = None
    sampler_effect: float | None = None
    sampler: str | None = None
    rate_hz: float | None = None
    note: str | None = None
    course: Annotated[tuple[PowerWindow, ...], Field(max_length=3)] = ()

    @model_validator(mode="after")
    def _has_windows_in_order(self) -> Self:
        if any(before.start_s > after.start_s for before, after in pairwise(self.course)):
            raise ValueError("the windows of the course are not in the order of time")
        return self


class Paced(Record):
    """Inferences at a given rate, as a camera gives them: of those `due`, some were `done`, and others were
    `dropped` because a newer one waited. `missed` of the done ones were complete after their deadline;
    `miss_rate` counts the dropped ones too. `wakeup_ms` is how late a sleeping process was woken (median).
    """

    rate_hz: float
    deadline_ms: float
    due: int
    done: int
    dropped: int
    missed: int
    miss_rate: float
    wakeup_ms: float | None
    throughput_ips: float


class Piece(Record):
    """One minute of a sustained loop: its highest temperature, and the lowest clock of the fastest core.

    Where a GPU computes, `freq_mhz` is the median of its clock.
    """

    minute: int
    seconds: float
    inferences: int
    throughput_ips: float
    p50_ms: float | None
    temperature_c: float | None
    freq_mhz: float | None


class Sustained(Record):
    """One long loop; `ratio` is the throughput of its last minute over that of its first."""

    duration_s: float
    minutes: tuple[Piece, ...]
    first_ips: float
    last_ips: float
    ratio: float
    throughput_ips: float


class Failure(Record):
    """Why there are no figures: one of the kinds of `device_agent.protocol`, `unfit` or `convert`, and more.

    `convert`: the host could not bring the variant into the form that its runtime opens.
    """

    kind: str
    message: str


class Measurement(Record):
    """One measurement. Latency is not here: its raw samples are stored beside it, round by round.

    `unfit` is the status of a task that no board spent time on, because the host found its variant to be
    less accurate than the profile asks for; `error` says so. `nodes` counts the nodes of the graph by the
    provider that ran them. `build_s` is how long an engine was built on the board, None where none was.
    `compute_ms` is the median time of an accelerator without transfers; latency has them. `scenario` is None
    where no board was asked.
    """

    run: str
    task: str
    device: str
    board: str
    is_emulated: bool
    model: str
    variant: str
    variant_id: str
    is_baseline: bool
    model_sha256: str
    runtime: str
    provider: str
    precision: str
    threads: int | None
    batch: int
    sparsity: float | None
    sparsity_target: float | None
    params: int | None
    params_nonzero: int | None
    macs: int | None
    file_bytes: int
    gzip_bytes: int | None = None
    packed_bytes: int | None = None
    accuracy_host: float | None
    scenario: str | None = None
    accuracy_device: float | None = None
    agreement: float | None = None
    max_abs_diff: float | None = None
    runtime_version: str | None = None
    runtime_settings: dict[str, JsonValue] = Field(default_factory=dict)
    nodes: dict[str, int] | None = None
    build_s: float | None = None
    compute_ms: float | None = None
    load_ms: float | None = None
    first_inference_ms: float | None = None
    memory_mb: Memory = Memory()
    power: Power = Power()
    paced: Paced | None = None
    sustained: Sustained | None = None
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()
    status: Literal["ok", "failed", "unfit"]
    error: Failure | None = None
    started_at: datetime

    def as_json(self) -> dict[str, Any]:
        """The record in JSON's own types, times in ISO 8601."""
        return self.model_dump(mode="json")
