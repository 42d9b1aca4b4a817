"""Cooling down before a round: how cool a board is when it idles, and waiting until it is so again."""

import json
import os
import time
from typing import Any, Callable, Dict, Optional

from device_agent.work_folder import write_file

NEAR_C = 5.0  # above idle: as cool as it need be
AGREE_C = 3.0  # of two readings one right after the other: more is a sensor's slip
STEP_S = 1.0
FALL_C = 0.5
PLATEAU_S = 20.0
"""A board that has not become cooler by FALL_C for so long idles where it is: its room is warmer now."""

KEPT_S = 24 * 3600.0
"""How long the lowest temperature of a board is remembered: rooms and seasons change."""

_MOST_BYTES = 4096


class Cooling:
    """The idle temperature of one board, which outlives a run in a file, and waits for it.

    `root` is where the sensors are: what one tree of sensors said tells nothing about another.
    """

    def __init__(
        self,
        path: str,
        root: str,
        cap_s: float,
        read_c: Callable[[], Optional[float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._root = root
        self._cap_s = cap_s
        self._read_c = read_c
        self._clock = clock
        self._settled_c: Optional[float] = None
        self.idle_c = read_idle(path, root, time.time())
        self._read()

    def _read(self) -> Optional[float]:
        """The temperature now; a lower one than any before is this board's idle, if a second reading agrees.

        One slip of a sensor would have every round of a day wait for a coolness that never comes.
        """
        now_c = self._read_c()
        if now_c is None or (self.idle_c is not None and now_c >= self.idle_c):
            return now_c
        again_c = self._read_c()
        if again_c is None:
            return None
        higher_c = max(now_c, again_c)
        is_sure = abs(now_c - again_c) <= AGREE_C
        if is_sure and (self.idle_c is None or higher_c < self.idle_c):
            self.idle_c = higher_c
            write_idle(self._path, self._root, higher_c, time.time())
        return higher_c

    def _is_cool(self, now_c: Optional[float]) -> bool:
        """Near idle, or near where it stopped cooling in this run; without a sensor always."""
        known = [one for one in (self.idle_c, self._settled_c) if one is not None]
        return now_c is None or not known or now_c <= max(known) + NEAR_C

    def rest(self, wait: Callable[[float], None], say: Callable[[], None]) -> Dict[str, Any]:
        """Wait until the board is cool, does not become cooler, or `cap_s` is over; what it is then.

        `say` is called once, where there is a wait at all. `wait` may raise: then the run is to end.
        """
        began, now_c = self._clock(), self._read()
        cooled_s = 0.0
        if not self._is_cool(now_c) and self._cap_s > 0:
            say()
            now_c = self._wait_until_cool(now_c, began + self._cap_s, wait)
            cooled_s = self._clock() - began
        return {"temperature_c": now_c, "idle_c": self.idle_c, "cooled_s": cooled_s}

    def _wait_until_cool(
        self, now_c: Optional[float], until: float, wait: Callable[[float], None]
    ) -> Optional[float]:
        lowest, fell_at = now_c, self._clock()
        while not self._is_cool(now_c) and self._clock() < until:
            wait(STEP_S)
            now_c = self._read()
            if now_c is not None and lowest is not None and now_c <= lowest - FALL_C:
                lowest, fell_at = now_c, self._clock()
            elif self._clock() - fell_at >= PLATEAU_S:
                self._settled_c = now_c
        return now_c


def read_idle(path: str, root: str, now: float) -> Optional[float]:
    """The remembered idle temperature in °C; None where there is none, or only an old one."""
    try:
        with open(path, "rb") as file:
            told = json.loads(file.read(_MOST_BYTES).decode())
        idle_c, at = float(told["idle_c"]), float(told["at"])
        is_of_root = told["root"] == root
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A date to come is of a board without a clock of its own, before it asked the network.
    return idle_c if is_of_root and 0 <= now - at < KEPT_S else None


def write_idle(path: str, root: str, idle_c: float, now: float) -> None:
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    told = {"idle_c": idle_c, "at": now, "date": date, "root": root}
    write_file(os.path.abspath(path), json.dumps(told).encode())
