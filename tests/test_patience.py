"""One retry policy: what may pass is tried again for a while, what stays as it is never."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host.errors import DeviceError, Interrupted, LinkLost
from host.fleet.patience import Advancing, Lost, Outage, Patience, count_asleep_s, over_links
from host.fleet.remote import Remote
from tests.local_remote import LocalRemote
from tests.tiny_plans import Watched


class Rest(threading.Event):
    """The wait between two tries: time passes, and nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.asleep = 0.0
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        self.now += timeout or 0.0
        return self.is_set()


def make_outage(rest: Rest, **patience: Any) -> tuple[Outage, Watched]:
    progress = Watched()
    settled = Patience(**{"jitter": 0.0, **patience})
    outage = Outage("pi4", settled, progress, rest, clock=lambda: rest.now, asleep=lambda: rest.asleep)
    return outage, progress


def lose(outage: Outage, times: int) -> None:
    for _ in range(times):
        outage.wait(LinkLost("pi4: timed out"))


def repeat(work: Callable[[], None]) -> None:
    for _ in range(100):
        work()


def test_delays_double_up_to_the_longest() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()
    lose(outage, 8)
    assert rest.waited == [1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_shortens_delays_and_never_to_nothing() -> None:
    rest = Rest()
    outage, _ = make_outage(rest, jitter=0.25)
    outage.note_met()
    lose(outage, 8)
    bare = [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(0.75 * most <= waited <= most for waited, most in zip(rest.waited, bare, strict=True))
    assert rest.waited != bare


def test_a_board_that_was_met_is_given_up_after_the_limit_and_one_that_was_not_sooner() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    with pytest.raises(LinkLost, match="timed out"):
        lose(outage, 100)
    assert rest.now == 10
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()
    with pytest.raises(DeviceError, match="pi4: no sign of it for 301 s: timed out"):
        lose(outage, 100)


def test_a_sign_of_life_brings_all_the_patience_back() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()
    for _ in range(5):
        lose(outage, 10)
        outage.end()
    assert rest.waited.count(1) == 5


def test_a_link_that_held_while_there_was_nothing_to_say_is_a_sign_of_life() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()
    for _ in range(50):
        outage.note_quiet()
        rest.now += 31
        lose(outage, 1)
    assert set(rest.waited) == {1}


def test_a_command_that_hangs_each_time_is_no_sign_of_life() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()

    def hang() -> None:
        rest.now += 120
        lose(outage, 1)

    with pytest.raises(DeviceError, match="no sign"):
        repeat(hang)
    assert rest.now < 600


def test_a_step_counts_once() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()

    def come_as_far() -> None:
        outage.note_reached(1)
        lose(outage, 1)

    with pytest.raises(DeviceError, match="no sign"):
        repeat(come_as_far)


def test_sending_counts_as_life_while_less_is_left() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    outage.note_met()
    shown = Advancing(Watched(), outage)
    for left in range(1000, 0, -20):
        with shown.track("pi4: sending", left):
            rest.now += 25
        lose(outage, 1)

    def send_the_same() -> None:
        with shown.track("pi4: sending", 20):
            lose(outage, 1)

    with pytest.raises(DeviceError, match="no sign"):
        repeat(send_the_same)


def test_time_in_which_this_machine_slept_is_nobodys_silence() -> None:
    rest = Rest()
    outage, progress = make_outage(rest)
    outage.note_met()
    lose(outage, 12)
    rest.asleep += 3600
    lose(outage, 12)
    assert "pi4: this machine slept for 3600 s; reaching it again" in progress.said


def test_a_clock_tells_how_long_this_machine_slept() -> None:
    assert count_asleep_s() >= -0.1


def test_it_is_said_what_failed_and_when_it_is_tried_again() -> None:
    rest, told = Rest(), list[Lost]()
    outage, progress = make_outage(rest)
    outage.notice = told.append
    lose(outage, 2)
    assert progress.said == [f"pi4: timed out; trying again in {delay} s" for delay in (1, 2)]
    assert round((told[0].next_try - told[0].since).total_seconds()) == 1
    assert told[0].since == told[1].since


def test_who_is_to_stop_does_not_wait() -> None:
    rest = Rest()
    outage, _ = make_outage(rest)
    rest.set()
    with pytest.raises(Interrupted):
        lose(outage, 1)


@pytest.mark.parametrize("breaks", [0, 1, 3])
def test_work_goes_on_over_new_links(tmp_path: Path, breaks: int) -> None:
    opened: list[int] = []

    @contextmanager
    def connect() -> Iterator[Remote]:
        opened.append(1)
        yield LocalRemote("pi4", tmp_path)

    def work(remote: Remote) -> bytes:
        if len(opened) <= breaks:
            raise LinkLost("pi4: the link broke")
        return remote.run(["echo", "here"]).stdout

    outage, _ = make_outage(Rest())
    assert over_links(connect, work, outage) == b"here\n"
    assert len(opened) == breaks + 1


def test_what_stays_as_it_is_is_tried_once(tmp_path: Path) -> None:
    tried: list[int] = []

    @contextmanager
    def connect() -> Iterator[Remote]:
        yield LocalRemote("pi4", tmp_path)

    def work(_remote: Remote) -> None:
        tried.append(1)
        raise DeviceError("pi4: the disk is full")

    outage, _ = make_outage(Rest())
    with pytest.raises(DeviceError, match="full"):
        over_links(connect, work, outage)
    assert tried == [1]
