"""Progress on standard error: bars with the time left on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from host.progress import Tick
from host.report.cells import clean_text
from host.terminal import begin_drawing, end_drawing

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_INTERVAL_S = 10.0


class LiveProgress:
    """Shows the progress of work, several pieces at once and from several threads.

    To be used in a `with` block: whatever ends it, the terminal is as it was before.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._lock = threading.RLock()
        self._bars: Progress | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from host.report.bars import build_bars  # a quarter of a second that a log does without

            self._bars = build_bars(self._stream)
            self._bars.start()
            begin_drawing(self._hold_still)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            end_drawing(self._hold_still)
            self._bars.stop()
            self._bars = None

    @contextmanager
    def _hold_still(self) -> Iterator[None]:
        """Leave the terminal to somebody who is asked something there; nobody else waits for the answer."""
        bars = self._bars
        if bars is not None:
            bars.stop()
        try:
            yield
        finally:
            if bars is not None and self._bars is bars:
                bars.start()

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        """Show one piece of work of `total` units (None: unknown) until the block ends."""
        label, bars = clean_text(description), self._bars
        started = self._clock()
        shown = self._follow_lines(label, total) if bars is None else self._follow_bar(bars, label, total)
        try:
            with shown as tick:
                yield tick
        except BaseException:
            self.say(f"{label}: stopped after {format_seconds(self._clock() - started)}")
            raise
        self.say(f"{label}: done in {format_seconds(self._clock() - started)}")

    def say(self, message: str) -> None:
        """Tell one lasting fact, above the bars."""
        line = clean_text(message)
        with self._lock:
            if self._bars is not None:
                self._bars.console.print(line, soft_wrap=True, markup=False, highlight=False)
            else:
                print(line, file=self._stream, flush=True)

    @contextmanager
    def _follow_bar(self, bars: Progress, label: str, total: float | None) -> Iterator[Tick]:
        task = bars.add_task(label, total=total, note="")

        def tick(advance: float = 1, note: str = "") -> None:
            bars.update(task, advance=advance, note=clean_text(note) if note else "")

        try:
            yield tick
        finally:
            bars.remove_task(task)

    @contextmanager
    def _follow_lines(self, label: str, total: float | None) -> Iterator[Tick]:
        self.say(f"{label} …")
        track = _PlainTrack(label, total, self._clock)

        def tick(advance: float = 1, note: str = "") -> None:
            with self._lock:
                line = track.advance(advance, note)
                if line is not None:
                    self.say(line)

        yield tick


class _PlainTrack:
    """One piece of work that is told in lines, at most one every `PLAIN_INTERVAL_S` seconds."""

    def __init__(self, label: str, total: float | None, clock: Callable[[], float]) -> None:
        self._label, self._total, self._clock = label, total, clock
        self._done = 0.0
        self._started = self._told = clock()

    def advance(self, units: float, note: str) -> str | None:
        """The line to tell, None where one was told just now."""
        self._done += units
        now = self._clock()
        if now - self._told < PLAIN_INTERVAL_S:
            return None
        self._told = now
        parts = [self._describe_share(now), clean_text(note) if note else ""]
        return f"{self._label}: {', '.join(part for part in parts if part)}"

    def _describe_share(self, now: float) -> str:
        if not self._total:
            return f"{self._done:g} done"
        if self._done <= 0:
            return "0 %"
        left = (now - self._started) * max(self._total - self._done, 0) / self._done
        return f"{100 * min(self._done / self._total, 1):.0f} %, about {format_seconds(left)} left"


def format_seconds(seconds: float) -> str:
    """A duration such as `8.2 s`, `2:05` or `1:02:05`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
