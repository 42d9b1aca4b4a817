"""When things happened: by the host's clock, however wrong that of the board is."""

from __future__ import annotations

import json

import pytest

from host.fleet.board_clock import BoardClock, ToldClock, read_clock
from host.fleet.journal import Event, parse_event

NOW = 1.8e9
YEAR = 365 * 86400.0


def start(wall: float, mono: float, boot: str | None = "now") -> Event:
    told = {"run": "r1", "schema": 1, "agent": "0", "python": "3.11", "boot": boot}
    return parse_event(
        json.dumps({"seq": 1, "event": "run-started", "wall": wall, "mono": mono, **told}).encode()
    )


def clock_of(wall: float, mono: float = 1000.0) -> BoardClock:
    """What a board's clocks said at NOW."""
    return BoardClock(NOW, ToldClock(wall=wall, mono=mono, boot="now"))


def test_a_board_whose_date_is_right_is_believed() -> None:
    event = start(NOW - 500.25, 499.0)
    assert clock_of(NOW - 2).place(event) is event


@pytest.mark.parametrize("off", [-30 * YEAR, -YEAR, 3600, 10 * YEAR])
def test_a_date_that_is_off_is_put_right(off: float) -> None:
    assert clock_of(NOW + off).place(start(NOW + off - 400, 600.0)).wall == pytest.approx(NOW - 400)


def test_a_date_that_was_set_while_it_ran_is_put_right() -> None:
    assert clock_of(NOW).place(start(0.0, 600.0)).wall == pytest.approx(NOW - 400)
    assert clock_of(NOW).place(start(NOW + 5 * YEAR, 600.0)).wall == pytest.approx(NOW - 400)


def test_of_an_earlier_boot_the_date_is_as_far_off_as_now() -> None:
    event = start(NOW - 2 * YEAR - 86400, 5e6, boot="before")
    assert clock_of(NOW - 2 * YEAR, mono=60.0).place(event).wall == pytest.approx(NOW - 86400)


def test_nothing_has_happened_that_is_yet_to_come() -> None:
    """A board without a battery begins in 1970 after each boot; before this one its date was right."""
    event = start(NOW - 86400, 5e6, boot="before")
    assert clock_of(30.0, mono=30.0).place(event).wall == NOW - 86400
    assert clock_of(30.0, mono=30.0).place(start(NOW + YEAR, 5e6, boot="before")).wall == NOW


def test_after_a_reboot_the_new_clocks_count() -> None:
    clock = clock_of(NOW)
    clock.place(start(NOW, 1000.0))
    clock.renew(NOW + 100, ToldClock(wall=40.0, mono=40.0, boot="later"))
    assert clock.place(start(38.0, 38.0, boot="later")).wall == pytest.approx(NOW + 98)


@pytest.mark.parametrize(
    "told", [None, {}, {"wall": "x", "mono": 1.0}, {"wall": -1.0, "mono": 1.0}, {"wall": 1e300, "mono": 1.0}]
)
def test_clocks_that_cannot_be_are_not_told(told: object) -> None:
    assert read_clock({"clock": told}) is None
