"""The one retry policy: what may pass is tried again, later and later, for as long as patience lasts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from host.errors import DeviceError, Interrupted, LinkLost
from host.fleet.remote import Remote
from host.progress import Progress, Silent, Tick

T = TypeVar("T")
Connect = Callable[[], AbstractContextManager[Remote]]

ASLEEP_S = 5.0
"""A machine that was suspended for longer has lost its links, whatever the boards did meanwhile."""


@dataclass(frozen=True)
class Patience:
    """How long a silent board is waited for: delays double from the first to the longest.

    A delay is shortened by up to its share `jitter`, by chance: boards behind one switch that went away
    together do not come back to be asked in the same moment. A board that never answered gets `meeting_s`,
    one that did `total_s`. `restarts` bounds how often a run that vanished is started again while nothing
    new is measured.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    total_s: float = 300.0
    meeting_s: float = 10.0
    restarts: int = 2
    jitter: float = 0.25


@dataclass(frozen=True)
class Lost:
    """A board that does not answer: since when, when it is tried again, and why it counts as lost."""

    since: datetime
    next_try: datetime
    why: str


Notice = Callable[[Lost], None]


def say_nothing(_lost: Lost) -> None:
    """What is told of a lost board where nobody listens."""


def count_asleep_s() -> float:
    """Seconds that this machine was suspended since it was started; zero where the system does not tell.

    Linux's monotonic clock stands still while the machine sleeps, its boot-time clock does not.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) - time.monotonic() if clock is not None else 0.0


@dataclass
class Outage:
    """The time without a sign of one board, and how long it may last.

    Time in which this machine slept is nobody's silence: the monotonic clock leaves it out, and who wakes up
    has all the patience again, since networks take a while to come back.
    """

    device: str
    patience: Patience = field(default_factory=Patience)
    progress: Progress = field(default_factory=Silent)
    stopping: threading.Event = field(default_factory=threading.Event)
    notice: Notice = say_nothing
    clock: Callable[[], float] = time.monotonic
    asleep: Callable[[], float] = count_asleep_s
    _has_met: bool = False
    _reached: float = 0.0
    _held_since: float | None = None
    _began: float | None = None
    _since: datetime | None = None
    _delay_s: float = 0.0
    _asleep_s: float | None = None

    def __post_init__(self) -> None:
        self._asleep_s = self.asleep()

    def note_met(self) -> None:
        """The board let us in: whatever happens from now on, it is no wrong address."""
        self._has_met = True

    def note_quiet(self) -> None:
        """From here on a link that merely holds is a sign of life, as there may be nothing to say."""
        self._held_since = self.clock()

    def note_reached(self, step: float) -> None:
        """A step that was not reached before is a sign of life; one repeated after a loss is none."""
        if step > self._reached:
            self._reached = step
            self.end()

    def end(self) -> None:
        """A sign of life: the next outage has all the patience again."""
        self._began, self._since, self._delay_s = None, None, 0.0

    def check_stopping(self) -> None:
        """Raise Interrupted where the caller does not want anything to be started any more."""
        if self.stopping.is_set():
            raise Interrupted(f"{self.device}: interrupted before its run was started")

    def wait(self, error: LinkLost) -> None:
        """Sleep before the next try. Raises `error` or DeviceError once patience is over, and Interrupted."""
        now = self.clock()
        self._end_if_held(now)
        self._end_if_slept()
        if self._began is None:
            self._began, self._since = now, datetime.now(UTC)
        self._check_patience(now - self._began, error)
        delay_s = self._choose_delay(now - self._began)
        since = self._since or datetime.now(UTC)
        self.notice(Lost(since, datetime.now(UTC) + timedelta(seconds=delay_s), error.message))
        self.progress.say(f"{error.message}; trying again in {delay_s:.2g} s")
        if self.stopping.wait(delay_s):
            raise Interrupted(f"{self.device}: interrupted while its link was lost") from error

    def _end_if_held(self, now: float) -> None:
        held_since, self._held_since = self._held_since, None
        if held_since is not None and now - held_since > self.patience.longest_s:
            self.end()

    def _end_if_slept(self) -> None:
        before, self._asleep_s = self._asleep_s, self.asleep()
        slept_s = self._asleep_s - (before or 0.0)
        if slept_s > ASLEEP_S:
            self.end()
            self.progress.say(f"{self.device}: this machine slept for {slept_s:.0f} s; reaching it again")

    def _check_patience(self, silent_s: float, error: LinkLost) -> None:
        if not self._has_met:
            if silent_s >= self.patience.meeting_s:
                raise error
        elif silent_s >= self.patience.total_s:
            raise DeviceError(
                f"{self.device}: no sign of it for {silent_s:.0f} s: "
                f"{error.message.removeprefix(f'{self.device}: ')}",
                "Check its power and its network. It may still be measuring: "
                "resuming the run fetches what it has.",
            ) from error

    def _choose_delay(self, silent_s: float) -> float:
        self._delay_s = min(max(self.patience.first_s, 2 * self._delay_s), self.patience.longest_s)
        if not self._has_met:
            self._delay_s = min(self._delay_s, self.patience.meeting_s - silent_s)
        return self._delay_s * (1 - self.patience.jitter * random.random())  # noqa: S311 (spreads load only)


def over_links(connect: Connect, work: Callable[[Remote], T], outage: Outage) -> T:
    """What `work` comes to over a connection, which is opened anew where it breaks.

    `work` is called from its beginning each time, so what it does must be safe to do again. Raises what
    stays as it is (a refused key, a full disk, an old Python) at once.
    """
    while True:
        try:
            with connect() as remote:
                outage.note_met()
                return work(remote)
        except LinkLost as error:
            outage.wait(error)


@dataclass
class Advancing:
    """Progress that passes everything on. Less left to send than ever before is a sign of the board's life.

    What is left is what the board itself does not have yet: bytes that only went into a dead link's buffer
    do not count.
    """

    progress: Progress
    outage: Outage
    _least: float | None = None

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        if total is not None:
            if self._least is not None and total < self._least:
                self.outage.end()
            self._least = total if self._least is None else min(total, self._least)
        with self.progress.track(description, total) as tick:
            yield tick

    def say(self, message: str) -> None:
        self.progress.say(message)
