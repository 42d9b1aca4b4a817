"""What a board is doing, as the live view tells it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from host.fleet.journal import Event, parse_event
from host.fleet.patience import Lost
from host.fleet.standing import Course, Standing, Step, describe_doing, describe_note
from tests.test_collect import tell_round

LABELS = {"t1": "dense", "t2": "int8"}
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def tell(event: str, mono: float, **fields: object) -> Event:
    return parse_event(json.dumps({"seq": 1, "wall": 1.8e9, "mono": mono, "event": event, **fields}).encode())


def start(mono: float) -> Event:
    return tell("run-started", mono, run="r1", schema=1, agent="0", python="3.11")


def measure(number: int, mono: float, task: str = "t1") -> Event:
    return tell_round(number, 10, 20).model_copy(update={"mono": mono, "task": task})


def test_each_state_of_an_errand_is_told() -> None:
    course = Course("pi4", LABELS, rounds=2)
    assert course.standing.state == "idle"
    assert course.take(Step("deploying")).state == "deploying"
    waiting = course.take(Step("waiting", "for its turn"))
    assert (waiting.state, describe_note(waiting)) == ("waiting", "for its turn")
    assert course.take(start(5.0)).state == "measuring"
    progress = course.take(tell("progress", 6.0, task="t1", phase="warming", round=0))
    assert describe_note(progress) == "dense: warming 1"
    assert course.take(tell("progress", 6.5, task="t1", phase="cooling", round=1)).state == "cooling"
    lost = course.take(Lost(SINCE, SINCE + timedelta(seconds=8), "pi4: timed out"))
    assert (lost.state, lost.task, lost.why) == ("lost", "dense", "pi4: timed out")
    assert describe_note(lost).startswith("lost since ")
    back = course.take(tell("progress", 7.0, task="t2", phase="evaluating", round=None))
    assert (back.state, back.since, describe_doing(back)) == ("measuring", None, "int8: evaluating")
    ended = course.take(tell("run-ended", 9.0, reason="completed", ok=2, failed=0))
    assert (ended.state, ended.task, ended.eta_s) == ("done", None, None)


def test_what_is_left_follows_from_the_rounds_that_are_done() -> None:
    course = Course("pi4", LABELS, rounds=2)
    course.take(start(100.0))
    assert course.take(tell("progress", 105.0, task="t1", phase="warming", round=0)).eta_s is None
    first = course.take(measure(0, 110.0))
    assert (first.rounds_done, first.rounds_total, first.eta_s) == (1, 4, pytest.approx(30.0))
    failed = {"kind": "hang", "message": "no sign of life"}
    after = course.take(tell("result", 112.0, task="t1", status="failed", error=failed))
    assert (after.rounds_done, after.eta_s) == (2, pytest.approx(12.0))


def test_rounds_of_an_earlier_sitting_do_not_make_the_rest_look_quick() -> None:
    course = Course("pi4", LABELS, rounds=2)
    course.take(start(100.0))
    for number in (0, 1):
        course.take(measure(number, 1000.0 + number))
    course.take(start(50.0))  # after a reboot: another boot, another monotonic clock
    now = course.take(measure(0, 70.0, task="t2"))
    assert (now.rounds_done, now.eta_s) == (3, pytest.approx(20.0))


def test_a_board_that_somebody_else_holds_is_told_with_who_it_is() -> None:
    assert (
        describe_doing(Standing(device="pi4", state="measuring", holder="ann@laptop")) == "held by ann@laptop"
    )
