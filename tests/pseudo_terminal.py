"""A program with a terminal of its own: what it shows there, and what a person types."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench_command import environment

TAKE = (
    "import os, signal, sys; os.open(sys.argv[1], os.O_RDWR); signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execv(sys.argv[2], sys.argv[2:])"
)
"""The first terminal that the leader of a session opens is its own; then it becomes the program, which hears
Ctrl-C also where the tests were started in the background."""


class Terminal:
    """A program with a terminal of its own, and what it shows there."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        """`words` are those of the Python of this process."""
        self.seen = ""
        self.master, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, os.ttyname(end), sys.executable, *words],
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
        os.close(end)

    def wait_for(self, words: str) -> None:
        while words not in self.seen:
            self.seen += os.read(self.master, 4096).decode()

    def wait_unseen(self) -> None:
        for _ in range(200):
            if not self.has_echo():
                return
            time.sleep(0.02)
        raise AssertionError("what is typed is shown")

    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def type(self, words: str) -> None:
        os.write(self.master, words.encode())

    def end(self) -> int:
        """The exit code, once all is read."""
        try:
            while data := os.read(self.master, 4096):
                self.seen += data.decode()
        except OSError:
            pass  # the other end is closed
        os.close(self.master)
        return self.process.wait()
