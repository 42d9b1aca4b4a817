"""Threads that work side by side: what they say arrives, and nobody waits for those that hang."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from host.crew import Crew, Ended, Said, Say


def count_to(number: int, say: Say) -> int:
    for step in range(number):
        say(step)
    return number


def test_everything_that_is_said_arrives_in_order() -> None:
    heard: dict[str, list[object]] = {"a": [], "b": []}
    for message in Crew().start({"a": partial(count_to, 3), "b": partial(count_to, 5)}).listen():
        heard[message.name].append(message.what if isinstance(message, Said) else message.value)
    assert heard == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3, 4, 5]}


def test_one_failure_does_not_hold_up_the_others() -> None:
    def fail(_say: Say) -> None:
        raise ValueError("planted")

    ended = {
        message.name: message
        for message in Crew().start({"bad": fail, "good": partial(count_to, 2)}).listen()
        if isinstance(message, Ended)
    }
    assert ended["good"].value == 2
    assert isinstance(ended["bad"].error, ValueError)


def test_a_silent_thread_is_left_alone_after_the_patience() -> None:
    release = threading.Event()
    crew = Crew().start({"silent": lambda _say: release.wait(60), "quick": partial(count_to, 0)})
    try:
        assert [message.name for message in crew.listen(patience_s=0.2)] == ["quick"]
        assert crew.busy == {"silent"}
    finally:
        release.set()


def test_no_work_is_done_at_once() -> None:
    assert list(Crew().start({}).listen()) == []


@pytest.mark.parametrize("count", [1, 8])
def test_threads_run_at_the_same_time(count: int) -> None:
    meeting = threading.Barrier(count)
    crew = Crew().start({str(index): lambda _say: meeting.wait(10) for index in range(count)})
    assert all(isinstance(message, Ended) and message.error is None for message in crew.listen())


def test_no_more_than_the_limit_work_at_once_and_all_are_done() -> None:
    working, most, lock = 0, 0, threading.Lock()

    def work(_say: Say) -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        threading.Event().wait(0.01)
        with lock:
            working -= 1

    crew = Crew(3).start({str(index): work for index in range(12)})
    assert len([message for message in crew.listen() if isinstance(message, Ended)]) == 12
    assert most == 3


def test_who_has_not_begun_can_be_sent_home() -> None:
    release = threading.Event()
    crew = Crew(1).start({name: lambda _say: release.wait(10) for name in ("a", "b", "c")})
    assert crew.dismiss() == {"b", "c"}
    assert crew.busy == {"a"}
    release.set()
    assert [message.name for message in crew.listen()] == ["a"]
