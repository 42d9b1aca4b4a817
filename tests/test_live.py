"""Progress: lines where nobody watches, bars on a terminal, and a clean end in both."""

from __future__ import annotations

import io
import threading

import pytest

from host.progress import Progress
from host.report.live import LiveProgress, format_seconds


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_is_a_progress() -> None:
    progress: Progress = LiveProgress(io.StringIO())
    with progress.track("x") as tick:
        tick()


def test_a_log_gets_a_line_at_the_start_at_the_end_and_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    with LiveProgress(stream, clock) as progress, progress.track("training net", 100) as tick:
        for _ in range(50):
            clock.now += 0.5
            tick(1, "epoch 1")
    assert stream.getvalue().splitlines() == [
        "training net …",
        "training net: 20 %, about 40.0 s left, epoch 1",
        "training net: 40 %, about 30.0 s left, epoch 1",
        "training net: done in 25.0 s",
    ]


def test_work_of_unknown_size_counts_what_is_done() -> None:
    stream, clock = io.StringIO(), Clock()
    with LiveProgress(stream, clock) as progress, progress.track("sending") as tick:
        clock.now = 11.0
        tick(3)
    assert "sending: 3 done" in stream.getvalue()


def test_what_fails_is_not_called_done() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        LiveProgress(stream, Clock()) as progress,
        progress.track("building"),
    ):
        raise KeyboardInterrupt
    assert "building: stopped after 0.0 s" in stream.getvalue()
    assert "done" not in stream.getvalue()


def test_threads_report_at_once_and_no_line_is_torn() -> None:
    stream, clock = io.StringIO(), Clock()
    with LiveProgress(stream, clock) as progress:

        def work(name: str) -> None:
            with progress.track(name, 200) as tick:
                for _ in range(200):
                    tick()

        run_together([lambda name=name: work(name) for name in ("pi4", "orin", "x86")])
    lines = sorted(stream.getvalue().splitlines())
    assert lines == sorted(
        f"{name}{end}" for name in ("pi4", "orin", "x86") for end in (" …", ": done in 0.0 s")
    )


def run_together(works: list[object]) -> None:
    threads = [threading.Thread(target=work) for work in works]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def test_a_terminal_gets_bars_and_its_cursor_back(terminal: Terminal) -> None:
    with LiveProgress(terminal) as progress, progress.track("measuring [red]pi4", 4) as tick:
        tick(1, "round 2 [bold]")
        progress.say("run [blue]7 started")
    shown = terminal.getvalue()
    assert "measuring [red]pi4" in shown
    assert "run [blue]7 started" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0


def test_an_interrupt_gives_the_terminal_back(terminal: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), LiveProgress(terminal) as progress, progress.track("measuring", 4):
        raise KeyboardInterrupt
    shown = terminal.getvalue()
    assert "measuring: stopped after" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")
    drawing = [thread for thread in threading.enumerate() if "Refresh" in type(thread).__name__]
    for thread in drawing:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in drawing)


def test_several_tracks_run_on_a_terminal_from_threads(terminal: Terminal) -> None:
    with LiveProgress(terminal) as progress:

        def work(name: str) -> None:
            with progress.track(name, 50) as tick:
                for _ in range(50):
                    tick(1, name)

        run_together([lambda name=name: work(name) for name in ("pi4", "orin")])
    assert "pi4: done in" in terminal.getvalue()
    assert "orin: done in" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "said"), [(8.24, "8.2 s"), (125, "2:05"), (3725, "1:02:05")])
def test_durations_are_short(seconds: float, said: str) -> None:
    assert format_seconds(seconds) == said
