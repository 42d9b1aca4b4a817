"""Inferences at a given rate, and a long loop of which a part is kept, on a clock that the test winds."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from device_agent import protocol
from device_agent.scenarios import (
    KEPT_SAMPLES,
    Paced,
    choose_paced_capacity,
    choose_stride,
    pace_round,
    sustain_piece,
)
from host.fleet.agent_archive import build_agent
from tests.agent_board import PROTOCOL, Board, make_model, pick, unpack

MS = 1000000


class Bench:
    """A model whose inferences last as told, the clock that sees them, and sleeps that end a little late."""

    def __init__(self, *durations_ms: float, then_ms: float = 1.0, late_ms: float = 0.0) -> None:
        self.now = 0
        self.began: list[float] = []
        self.slept: list[float] = []
        self._late = int(late_ms * MS)
        self._durations: Iterator[float] = chain(durations_ms, repeat(then_ms))

    def infer(self, feed: Any) -> None:
        self.began.append(self.now / MS)
        self.now += int(next(self._durations) * MS)

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1e9) + self._late


def pace(
    bench: Bench, count: int, rate_hz: float = 100.0, deadline_ms: float = 10.0
) -> tuple[Paced, list[float]]:
    buffer = array("Q", bytes(8 * 64))
    found = pace_round(
        bench.infer, ["feed"], buffer, 0.0, count, rate_hz, deadline_ms / 1e3, bench.clock, bench.sleep
    )
    return found, [one / MS for one in buffer[: found.done]]


def test_an_inference_begins_when_it_is_due_and_is_timed_from_then() -> None:
    bench = Bench(then_ms=3.0)
    found, latencies = pace(bench, 4)
    assert bench.began == [0.0, 10.0, 20.0, 30.0]
    assert latencies == [3.0] * 4
    assert (found.done, found.due, found.missed) == (4, 4, 0)
    assert len(bench.slept) == 3  # it sleeps once for each, and does not spin


def test_being_woken_late_counts_and_is_told() -> None:
    found, latencies = pace(Bench(then_ms=3.0, late_ms=0.5), 3)
    assert latencies == [3.0, 3.5, 3.5]
    assert found.waits_ns == [MS // 2, MS // 2]


def test_a_frame_that_waits_is_late_and_one_that_a_newer_one_overtakes_is_dropped() -> None:
    # The first takes 25 ms: frame 1 (due at 10) is overtaken by frame 2 (due at 20), which begins at 25.
    bench = Bench(25.0, 2.0, 2.0)
    found, latencies = pace(bench, 3)
    assert bench.began == [0.0, 25.0, 30.0]
    assert latencies == [25.0, 7.0, 2.0]
    assert (found.done, found.due, found.missed) == (3, 4, 1)


def test_a_model_that_is_too_slow_misses_every_deadline_and_drops_in_between() -> None:
    found, latencies = pace(Bench(then_ms=25.0), 4)
    assert found.missed == 4
    assert found.due > found.done
    assert max(latencies) < 25 + 10  # no queue builds up: each takes the newest frame
    assert found.waits_ns == []


def test_the_deadline_may_be_later_than_the_next_frame() -> None:
    assert pace(Bench(then_ms=12.0), 4, deadline_ms=30.0)[0].missed == 0


def test_a_paced_round_lasts_as_long_as_it_is_told_and_never_overfills() -> None:
    bench = Bench(then_ms=1.0)
    buffer = array("Q", bytes(8 * choose_paced_capacity(0.2, 5, 100.0)))
    found = pace_round(bench.infer, ["feed"], buffer, 0.2, 5, 100.0, 0.01, bench.clock, bench.sleep)
    assert found.done == 21
    assert found.seconds == pytest.approx(0.201)
    assert choose_paced_capacity(3600.0, 5, 1e5) == protocol.MAX_ROUND_SAMPLES


def test_a_sustained_piece_counts_all_and_keeps_every_nth() -> None:
    bench = Bench(5.0, 1.0, 3.0, 1.0)
    buffer = array("Q", bytes(8 * 64))
    found = sustain_piece(bench.infer, ["feed"], buffer, 0.1, 2, bench.clock)
    assert tuple(found) == (47, 94, 100 * MS, pytest.approx(0.1))
    assert list(buffer[:3]) == [5 * MS, 3 * MS, 1 * MS]


def test_a_full_buffer_does_not_end_a_sustained_piece() -> None:
    bench = Bench()
    found = sustain_piece(bench.infer, ["feed"], array("Q", bytes(8 * 3)), 0.1, 1, bench.clock)
    assert (found.kept, found.inferences) == (3, 100)


def test_of_fast_inferences_few_are_kept_and_of_slow_ones_all() -> None:
    stride, capacity = choose_stride(60.0, 100_000)  # 600,000 in a minute
    assert stride == 60
    assert KEPT_SAMPLES < capacity < protocol.MAX_ROUND_SAMPLES
    assert choose_stride(60.0, 100 * MS)[0] == 1


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"scenario": "burst"}, "protocol.scenario: expected one of single-stream, offline"),
        ({"scenario": "paced", "deadline_ms": 10}, "protocol.rate_hz"),
        ({"scenario": "paced", "rate_hz": 0, "deadline_ms": 10}, "protocol.rate_hz"),
        ({"scenario": "paced", "rate_hz": 10}, "protocol.deadline_ms"),
        ({"cooldown_cap_s": -1}, "protocol.cooldown_cap_s"),
    ],
)
def test_a_job_without_what_its_scenario_needs_is_refused(
    board: Board, rules: dict[str, Any], told: str
) -> None:
    task = board.describe_task("a", make_model(4))
    job = {"schema": 1, "run": "r1", "holder": "ann", "seed": 0, "layer": None, "tasks": [task]}
    asked = json.dumps({**job, "protocol": {**PROTOCOL, **rules}}).encode()
    code, answer = board.call("put-job", "r1", stdin=asked)
    assert code == protocol.EXIT_FAULT
    assert told in answer["error"]["message"]


def measure(board: Board, **rules: Any) -> list[dict[str, Any]]:
    tasks = [board.describe_task(name, make_model(4)) for name in ("a", "b")]
    board.put_job("r1", *tasks, protocol={**PROTOCOL, **rules})
    return board.measure("r1")


def test_a_board_is_paced_by_its_clock(board: Board) -> None:
    rules = {"scenario": "paced", "rate_hz": 50.0, "deadline_ms": 1000.0, "round_s": 0.2}
    events = measure(board, **rules)
    assert events[-1]["ok"] == 2
    for one in pick(events, "round"):
        assert one["paced"]["due"] >= one["count"] >= PROTOCOL["round_samples"]
        assert one["paced"]["due"] / one["seconds"] == pytest.approx(50, rel=0.2)
        assert one["paced"]["missed"] == 0
        assert one["paced"]["wakeup_ms"] > 0


def test_a_sustained_loop_has_the_board_to_itself_and_tells_of_each_piece(board: Board) -> None:
    events = measure(board, scenario="sustained", rounds=3, round_s=0.3)
    assert events[-1]["ok"] == 2
    order = [(one["event"], one["task"]) for one in events if one["event"] in ("task-opened", "result")]
    assert order == [(kind, task) for task in ("a", "b") for kind in ("task-opened", "result")]
    for task in ("a", "b"):
        rounds = pick(events, "round", task)
        assert [one["round"] for one in rounds] == [0, 1, 2]
        for one in rounds:
            assert len(unpack(one)) == one["count"] <= one["inferences"]
            assert one["seconds"] >= 0.3
            assert 0 < one["sum_s"] <= one["seconds"]
        told = [one for one in pick(events, "progress", task) if one["phase"] == "sustaining"]
        assert [one["inferences"] for one in told] == [one["inferences"] for one in rounds]
        assert [one["warmup"]["inferences"] > 0 for one in rounds] == [True, False, False]


def test_a_sustained_loop_that_was_interrupted_begins_anew(board: Board) -> None:
    rules = {**PROTOCOL, "scenario": "sustained", "rounds": 60, "round_s": 1.0}
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol=rules)
    board.call("start", "r1")
    with board.follow("r1") as events:
        next(one for one in events if one.get("phase") == "sustaining")
        board.call("stop", "r1")
    assert pick(board.read_journal("r1"), "round") == []
    board.put_job(
        "r1", board.describe_task("a", make_model(4)), protocol={**rules, "rounds": 2, "round_s": 0.2}
    )
    found = board.measure("r1")
    assert [one["round"] for one in pick(found, "round")] == [0, 1]
    assert pick(found, "result")[0]["status"] == "ok"
