"""A program that a worker waits for: its output, its memory, and never longer than it may take."""

import os
import signal
import subprocess
import threading
from typing import NamedTuple, Optional, Sequence

from device_agent.parent_death import start_pdeathsig


class Finished(NamedTuple):
    """How a program ended. `code` is negative for a signal; `peak_mb` is its highest resident memory."""

    code: int
    text: str
    peak_mb: float
    is_late: bool


def run_child(command: Sequence[str], log: str, timeout_s: float) -> Finished:
    """Run a program to its end, its output going to `log`; it dies with this process. Raises OSError.

    The kernel wakes us when it ends: `subprocess` would look every 50 ms, beside what is being measured.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=start_pdeathsig(),
        )
    late = threading.Event()

    def kill() -> None:
        if process.returncode is None:
            late.set()
            os.kill(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_s, kill)
    timer.start()
    try:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = decode_status(status)
    finally:
        timer.cancel()
    return Finished(process.returncode, read_log(log), used.ru_maxrss / 1024.0, late.is_set())


def decode_status(status: int) -> int:
    """The exit code, or minus the signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def read_log(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def describe_end(finished: Finished, timeout_s: Optional[float] = None) -> str:
    """In words: by its exit code, by a signal, or for taking too long."""
    if finished.is_late:
        return "did not end within {:.0f} s".format(timeout_s or 0)
    if finished.code < 0:
        return "was killed by signal {}".format(-finished.code)
    return "ended with exit code {}".format(finished.code)
