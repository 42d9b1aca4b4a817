"""Cooling down before a round: what a board's idle temperature is, and how long anybody waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from device_agent.cooling import KEPT_S, Cooling, read_idle, write_idle
from device_agent.supervision import Stopped


class Board:
    """A thermometer that shows one value after another, once a second, and a clock."""

    def __init__(self, path: Path, *temperatures: float | None, cap_s: float = 120.0) -> None:
        self.now = 0.0
        self.said = 0
        self._shown: Iterator[float | None] = chain(temperatures, repeat(temperatures[-1]))
        self.path = path / "board.json"
        self.cooling = Cooling(str(self.path), "/", cap_s, lambda: next(self._shown), lambda: self.now)

    def show(self, *temperatures: float) -> None:
        self._shown = chain(temperatures, repeat(temperatures[-1]))

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def say(self) -> None:
        self.said += 1

    def rest(self, wait: Callable[[float], None] | None = None) -> tuple[float | None, float | None, float]:
        found = self.cooling.rest(wait or self.wait, self.say)
        return found["temperature_c"], found["idle_c"], found["cooled_s"]


def falling(start: float, end: float, step: float = 1.0) -> list[float]:
    return [start - step * at for at in range(int((start - end) / step) + 1)]


def test_a_cool_board_does_not_wait_and_nothing_is_said(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0)
    board.show(45.0)
    assert board.rest() == (45.0, 40.0, 0.0)
    assert board.said == 0


def test_a_warm_board_waits_until_it_is_five_degrees_above_its_idle(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0)
    board.show(*falling(60.0, 40.0))
    assert board.rest() == (45.0, 40.0, 15.0)
    assert board.said == 1


def test_nobody_waits_longer_than_the_limit(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0, cap_s=10.0)
    board.show(*falling(80.0, 40.0))
    assert board.rest() == (70.0, 40.0, 10.0)


def test_a_limit_of_nothing_is_no_wait(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0, cap_s=0.0)
    board.show(80.0)
    assert board.rest() == (80.0, 40.0, 0.0)
    assert board.said == 0


def test_a_board_without_a_thermometer_never_waits(tmp_path: Path) -> None:
    board = Board(tmp_path, None)
    assert board.rest() == (None, None, 0.0)
    assert not board.path.exists()


def test_a_board_that_does_not_become_cooler_is_not_waited_for_again(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0)
    board.show(50.0, 49.0, 48.0)  # the room is warmer than it was
    temperature, idle, seconds = board.rest()
    assert (temperature, idle) == (48.0, 40.0)  # and still: idle is what this board has been at
    assert 20.0 <= seconds <= 24.0
    board.show(52.0)
    assert board.rest() == (52.0, 40.0, 0.0)
    board.show(*falling(60.0, 40.0))
    assert board.rest()[0] == 53.0


def test_the_lowest_temperature_is_remembered_by_the_next_run(tmp_path: Path) -> None:
    Board(tmp_path, 40.0)
    hot = Board(tmp_path, 70.0)
    assert hot.cooling.idle_c == 40.0
    hot.show(38.0)
    hot.rest()
    assert Board(tmp_path, 70.0).cooling.idle_c == 38.0
    assert json.loads(hot.path.read_text())["date"].endswith("UTC")


def test_a_slip_of_the_sensor_is_not_how_cool_this_board_can_be(tmp_path: Path) -> None:
    board = Board(tmp_path, 3.0, 40.0)  # the first thing it says of this board is a slip
    assert board.cooling.idle_c is None
    assert not board.path.exists()
    assert board.rest() == (40.0, 40.0, 0.0)
    board.show(3.0, 42.0)
    assert board.rest() == (42.0, 40.0, 0.0)
    board.show(38.0, 39.0)
    assert board.rest() == (39.0, 39.0, 0.0)
    assert Board(tmp_path, 70.0).cooling.idle_c == 39.0


def test_another_day_is_another_room(tmp_path: Path) -> None:
    path = str(tmp_path / "board.json")
    write_idle(path, "/", 20.0, 1e9)
    assert read_idle(path, "/", 1e9 + KEPT_S - 1) == 20.0
    assert read_idle(path, "/", 1e9 + KEPT_S) is None
    assert read_idle(path, "/", 1e9 - 1) is None  # the clock of this board was set back
    assert read_idle(path, "/other", 1e9) is None
    assert Board(tmp_path, 35.0).cooling.idle_c == 35.0


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"idle_c": "cold", "at": 1, "root": "/"}', '{"idle_c": 1}']
)
def test_what_cannot_be_read_is_not_remembered(tmp_path: Path, content: str) -> None:
    path = tmp_path / "board.json"
    path.write_text(content)
    assert read_idle(str(path), "/", 2.0) is None


def test_a_wait_ends_when_the_run_is_to_end(tmp_path: Path) -> None:
    board = Board(tmp_path, 40.0)
    board.show(80.0)

    def stop(_seconds: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        board.rest(stop)
