"""Every line of a board is checked before it is believed."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import protocol
from host.errors import DeviceError
from host.fleet.journal import (
    Event,
    Job,
    JobTask,
    Result,
    Round,
    RunEnded,
    RunStarted,
    decode_samples,
    parse_event,
)
from host.specs.measure import Measure

STAMP: dict[str, Any] = {"seq": 7, "wall": 1.7e9, "mono": 12.5}


def pack(values: list[int]) -> str:
    return base64.b64encode(zlib.compress(np.array(values, dtype="<u8").tobytes())).decode()


STARTED = {**STAMP, "event": "run-started", "run": "r1", "schema": 1, "agent": "0.1", "python": "3.11.7"}
OPENED = {**STAMP, "event": "task-opened", "task": "t1", "provider": "CPUExecutionProvider", "load_ms": 3}
PROGRESS = {**STAMP, "event": "progress", "task": "t1", "phase": "warming", "round": None}
ROUND = {
    **STAMP,
    "event": "round",
    "task": "t1",
    "round": 0,
    "count": 3,
    "seconds": 0.5,
    "samples_ns": pack([5, 6, 7]),
    "warmup": {"inferences": 10, "seconds": 1.0, "steady": True},
    "environment": {"load": [0.1, None]},
}
MEASUREMENT = {
    "started_at": 1.7e9,
    "provider": "CPUExecutionProvider",
    "threads": 2,
    "runtime_version": "1.31.1",
    "memory_mb": {"baseline": 20.5, "loaded": 30, "peak": 40, "pss": None, "available_fall": 12.5},
    "power": {"source": None, "idle_w": None, "load_w": None, "energy_mj": None, "energy_net_mj": None},
    "accuracy": 0.98,
    "environment": {"before": {"governor": "performance"}, "after": {}},
    "flags": ["busy"],
}
OK = {**STAMP, "event": "result", "task": "t1", "status": "ok", "measurement": MEASUREMENT}
ERROR = {"kind": "crash", "message": "the worker ended by SIGSEGV"}
FAILED = {**STAMP, "event": "result", "task": "t1", "status": "failed", "error": ERROR}
ENDED = {**STAMP, "event": "run-ended", "reason": "completed", "ok": 1, "failed": 0, "error": None}
WINDOW = {"phase": "idle", "start_s": 0.5, "points": [[0.25, 2.5], [0.75, 3]]}
MOST_POINTS = [[at, 2.5] for at in range(protocol.MAX_COURSE_POINTS)]
BAD_WINDOWS: tuple[object, ...] = (
    {},
    [[0.25, 2.5]],
    {**WINDOW, "phase": "sleeping"},
    {**WINDOW, "start_s": -1.0},
    {**WINDOW, "start_s": "0.5"},
    {**WINDOW, "points": []},
    {**WINDOW, "points": [*MOST_POINTS, [1e6, 2.5]]},
    {**WINDOW, "points": [[0.75, 3.0], [0.25, 2.5]]},
    {**WINDOW, "points": [[-0.25, 2.5]]},
    {**WINDOW, "points": [[0.25, None]]},
    {**WINDOW, "points": [[0.25, "2.5"]]},
    {**WINDOW, "points": [[0.25, float("nan")]]},
    {**WINDOW, "points": [[0.25, float("inf")]]},
    {**WINDOW, "points": [[float("nan"), 2.5]]},
    {**WINDOW, "points": [[0.25, 2.5, 1.0]]},
    {**WINDOW, "points": {"0.25": 2.5}},
)
EVERY_EVENT = (STARTED, OPENED, PROGRESS, ROUND, OK, FAILED, ENDED)


def make_course(*windows: object) -> dict[str, Any]:
    """The result of a task whose power took this course."""
    return {**OK, "measurement": {**MEASUREMENT, "power": {"source": "rapl", "course": windows}}}


def parse(told: object) -> Event:
    return parse_event(json.dumps(told).encode(), "pi4", 7)


def refusal(told: object) -> str:
    with pytest.raises(DeviceError) as caught:
        parse(told)
    return caught.value.message


@pytest.mark.parametrize("told", EVERY_EVENT, ids=lambda told: f"{told['event']}-{told.get('status', '')}")
def test_every_event_is_read(told: dict[str, Any]) -> None:
    event = parse(told)
    assert event.event == told["event"]
    assert event.seq == 7


@pytest.mark.parametrize("told", EVERY_EVENT, ids=lambda told: f"{told['event']}-{told.get('status', '')}")
def test_a_key_of_a_newer_agent_is_ignored(told: dict[str, Any]) -> None:
    assert parse({**told, "novelty": {"a": 1}}) == parse(told)


def test_a_newer_key_inside_a_measurement_is_ignored() -> None:
    memory = {**MEASUREMENT["memory_mb"], "swap": 3}  # type: ignore[dict-item]
    event = parse({**OK, "measurement": {**MEASUREMENT, "memory_mb": memory, "gpu": 1}})
    assert isinstance(event, Result)
    assert event.measurement is not None
    assert event.measurement.memory_mb.peak == 40
    assert event.measurement.memory_mb.available_fall == 12.5


def test_samples_come_out_as_nanoseconds() -> None:
    event = parse(ROUND)
    assert isinstance(event, Round)
    samples = decode_samples(event)
    assert samples.tolist() == [5, 6, 7]
    assert samples.dtype == np.int64


@given(st.lists(st.integers(1, 3600 * 10**9 - 1), min_size=1, max_size=300))
def test_packed_samples_come_out_as_they_went_in(values: list[int]) -> None:
    event = parse({**ROUND, "count": len(values), "samples_ns": pack(values)})
    assert isinstance(event, Round)
    assert decode_samples(event).tolist() == values


@pytest.mark.parametrize(
    "fault",
    [
        {"count": 4},
        {"count": 2},
        {"count": 0, "samples_ns": pack([])},
        {"count": protocol.MAX_ROUND_SAMPLES + 1},
        {"samples_ns": pack([5, 0, 7])},
        {"samples_ns": pack([5, 6, 3600 * 10**9])},
        {"samples_ns": pack([5, 6, 2**64 - 1])},
        {"samples_ns": "not base64!"},
        {"samples_ns": base64.b64encode(b"not zlib").decode()},
        {"samples_ns": base64.b64encode(zlib.compress(b"x" * 24)[:-4]).decode()},
        {"samples_ns": base64.b64encode(zlib.compress(b"\x01" * 24) + b"more").decode()},
        {"count": True},
        {"round": -1},
        {"round": "0"},
    ],
    ids=str,
)
def test_a_round_that_does_not_add_up_is_refused(fault: dict[str, Any]) -> None:
    assert "pi4: line 7 of the journal" in refusal({**ROUND, **fault})


def test_a_bomb_of_zeros_is_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(b"\0" * 200_000_000)).decode()
    line = json.dumps({**ROUND, "samples_ns": bomb}).encode()
    tracemalloc.start()
    with pytest.raises(DeviceError):
        parse_event(line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "told",
    [
        {**ENDED, "seq": 0},
        {**ENDED, "seq": 1.5},
        {**ENDED, "seq": True},
        {**ENDED, "seq": "7"},
        {**ENDED, "wall": -1},
        {**ENDED, "wall": 1e300},
        {**ENDED, "mono": float("nan")},
        {**ENDED, "mono": float("inf")},
        {**ENDED, "ok": None},
        {**ENDED, "reason": "bored"},
        {**ENDED, "event": "run-paused"},
        {key: value for key, value in ENDED.items() if key != "event"},
        {**STARTED, "schema": 2},
        {**STARTED, "run": "../../etc/passwd"},
        {**STARTED, "run": ".."},
        {**STARTED, "run": "a/b"},
        {**STARTED, "run": "r1\n"},
        {**STARTED, "environment": {"load": float("inf")}},
        {**STARTED, "environment": ["not", "a", "dict"]},
        {**OPENED, "task": "t/1"},
        {**OPENED, "provider": "x" * (protocol.MAX_TEXT + 1)},
        {**PROGRESS, "phase": "sleeping"},
        {**OK, "measurement": None},
        {**OK, "error": ERROR},
        {**FAILED, "error": None},
        {**FAILED, "measurement": MEASUREMENT},
        {**FAILED, "error": {"kind": "../x", "message": ""}},
        {**FAILED, "error": {"kind": "crash", "message": "x" * (protocol.MAX_TEXT + 1)}},
        {**OK, "measurement": {**MEASUREMENT, "accuracy": 1.5}},
        {**OK, "measurement": {**MEASUREMENT, "memory_mb": {"peak": "40"}}},
        {**OK, "measurement": {**MEASUREMENT, "power": {"idle_w": float("nan")}}},
        *(make_course(one) for one in BAD_WINDOWS),
        make_course(*[WINDOW] * 4),
        make_course(WINDOW, {**WINDOW, "start_s": 0.0}),
        {**OK, "measurement": {**MEASUREMENT, "flags": ["busy"] * 51}},
        {**OK, "measurement": {**MEASUREMENT, "flags": "busy"}},
        None,
        [],
        "run-ended",
        7,
    ],
    ids=lambda told: repr(told)[-60:],
)
def test_what_does_not_fit_is_refused(told: object) -> None:
    assert "pi4: line 7 of the journal does not fit" in refusal(told)


def test_a_course_of_power_is_kept_and_may_be_missing() -> None:
    longest = {**WINDOW, "phase": "load", "start_s": 2.0, "points": MOST_POINTS, "more": 1}
    event = parse(make_course(WINDOW, longest))
    assert isinstance(event, Result)
    assert event.measurement is not None
    first, second = event.measurement.power.course
    assert first.points == ((0.25, 2.5), (0.75, 3.0))
    assert len(second.points) == protocol.MAX_COURSE_POINTS
    earlier = parse(OK)
    assert isinstance(earlier, Result)
    assert earlier.measurement is not None
    assert earlier.measurement.power.course == ()


def nested(depth: int) -> dict[str, Any]:
    return {"deeper": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "environment",
    [nested(9), {str(i): i for i in range(5001)}, {"text": "x" * 4001}, {"x" * 4001: 1}],
    ids=["deep", "many", "long text", "long key"],
)
def test_an_environment_is_bounded(environment: dict[str, Any]) -> None:
    assert "environment" in refusal({**STARTED, "environment": environment})


def test_an_environment_of_usual_size_is_kept() -> None:
    told = {"before": {"clocks": [1500] * 64, "governor": "performance", "temperature_c": None}}
    event = parse({**STARTED, "environment": told})
    assert isinstance(event, RunStarted)
    assert event.environment == told


def test_megabytes_of_garbage_are_refused_in_a_short_message() -> None:
    for line in (
        b"[" * 10**6,
        b"\xff" * 10**6,
        b'{"event": "' + b"x" * 10**6 + b'"}',
        b"{" * 17 * 1024 * 1024,
    ):
        with pytest.raises(DeviceError) as caught:
            parse_event(line, "pi4", 7)
        assert len(caught.value.message) < 1000


def test_words_of_a_board_cannot_drive_a_terminal() -> None:
    event = parse({**FAILED, "error": {"kind": "crash", "message": "\x1b[2Jgone\x07\nline 2 – fine"}})
    assert isinstance(event, Result)
    assert event.error is not None
    assert event.error.message == "\\x1b[2Jgone\\x07\nline 2 – fine"
    assert "\x1b" not in refusal({**ENDED, "event": "\x1b[2J"})
    assert "\x1b" not in refusal({**STARTED, "environment": {"\x1b[2J": float("nan")}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else_happens(line: bytes) -> None:
    with pytest.raises(DeviceError):
        parse_event(line)


@given(st.sampled_from(EVERY_EVENT), st.data())
def test_an_event_with_any_one_value_changed_is_read_or_refused(
    told: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(told)))
    changed = {**told, key: data.draw(JSON)}
    try:
        event = parse(changed)
    except DeviceError:
        assert len(refusal(changed)) < 1000
    else:
        assert event.event == told["event"]


def test_a_job_reads_as_the_agent_expects_it() -> None:
    digest = "a" * 64
    task = JobTask(
        task="t1",
        model=digest,
        feeds=digest,
        runtime="onnxruntime",
        provider="CPUExecutionProvider",
        threads=None,
        batch=1,
    )
    measure = Measure(preset="quick")
    job = Job(run="r1", holder="me@laptop", seed=3, layer=None, measure=measure, tasks=(task,))
    message = job.as_message()
    assert message["schema"] == protocol.SCHEMA
    assert set(message) == {"schema", "run", "holder", "seed", "layer", "protocol", "tasks", "meter"}
    assert set(message["protocol"]) == {
        *("rounds", "round_s", "round_samples", "warmup_s", "warmup_inferences", "warmup_cap_s"),
        *("steady_window", "steady_tolerance", "power_window_s", "cooldown_cap_s", "scenario"),
    }
    assert message["tasks"][0]["evaluation"] is None


def test_the_end_of_a_run_that_failed_says_why() -> None:
    event = parse({**ENDED, "reason": "failed", "error": {"kind": "no-space", "message": "disk full"}})
    assert isinstance(event, RunEnded)
    assert event.error is not None
    assert event.error.kind == protocol.ERROR_NO_SPACE
