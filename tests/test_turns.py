"""Emulated boards that share cores: one after another, first come first served; real boards never wait."""

from __future__ import annotations

import threading

import pytest

from host.errors import Interrupted
from host.fleet.turns import Turns


def cores(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


class Boards:
    """Threads that take turns, each until it is released."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []
        self.refused: list[str] = []
        self._changed = threading.Condition()
        self._release: dict[str, threading.Event] = {}
        self._waiting: set[str] = set()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, wanted: frozenset[int]) -> None:
        """Return once the board has its turn, or waits for it."""
        self._release[name] = threading.Event()
        thread = threading.Thread(target=self._take, args=(name, wanted), daemon=True)
        self._threads.append(thread)
        thread.start()
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.begun or name in self._waiting, 10)

    def _take(self, name: str, wanted: frozenset[int]) -> None:
        try:
            with self.turns.take(wanted, lambda: self._note(self._waiting.add, name)):
                self._note(self.begun.append, name)
                self._release[name].wait(10)
        except Interrupted:
            self.refused.append(name)

    def _note(self, add: object, name: str) -> None:
        with self._changed:
            add(name)  # type: ignore[operator]
            self._changed.notify_all()

    def release(self, name: str, then: str | None = None) -> None:
        """End a turn, and wait until `then` has begun."""
        self._release[name].set()
        if then is not None:
            with self._changed:
                assert self._changed.wait_for(lambda: then in self.begun, 10)

    def end(self) -> None:
        for event in self._release.values():
            event.set()
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)


def test_boards_on_one_core_measure_one_after_another() -> None:
    boards = Boards()
    for name in ("a", "b", "c"):
        boards.start(name, cores(1))
    assert boards.begun == ["a"]
    boards.release("a", then="b")
    assert boards.begun == ["a", "b"]
    boards.release("b", then="c")
    boards.end()


def test_boards_on_other_cores_and_real_ones_do_not_wait() -> None:
    boards = Boards()
    for name, wanted in (("a", cores(0)), ("b", cores(1)), ("pi4", cores()), ("orin", cores())):
        boards.start(name, wanted)
    assert boards.begun == ["a", "b", "pi4", "orin"]
    boards.end()


def test_a_board_with_many_cores_is_not_passed_for_ever() -> None:
    boards = Boards()
    boards.start("a", cores(0))
    boards.start("wide", cores(0, 1))
    boards.start("b", cores(1))
    assert boards.begun == ["a"]
    boards.release("a", then="wide")
    assert boards.begun == ["a", "wide"]
    boards.release("wide", then="b")
    boards.end()


def test_who_waits_when_all_is_over_is_sent_home() -> None:
    boards = Boards()
    boards.start("a", cores(1))
    boards.start("b", cores(1))
    boards.turns.close()
    boards.end()
    assert (boards.begun, boards.refused) == (["a"], ["b"])


def test_a_board_that_fails_lets_go_of_its_cores() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="planted"), turns.take(cores(1), lambda: None):
        raise ValueError("planted")
    with turns.take(cores(1), lambda: pytest.fail("it is free")):
        pass
