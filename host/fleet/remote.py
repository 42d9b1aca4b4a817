"""What the host needs from a connection to a board, whatever carries it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Completed(NamedTuple):
    """What a finished remote command left: both streams, bounded in size, and its exit status."""

    stdout: bytes
    stderr: bytes
    code: int


class Remote(Protocol):
    """A connection to one board. Every call has a timeout and raises LinkLost when the link breaks.

    `argv` is a list of words: the connection quotes them with `quote_command`, nobody else does.
    Methods may be called from one thread at a time.
    """

    device_name: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """Run a command to its end. `timeout` bounds the whole call, in seconds."""
        ...

    def send(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float = 60.0) -> Completed:
        """Run a command and feed `chunks` to its standard input as fast as the link takes them.

        `timeout` bounds the time without any progress, in seconds.
        """
        ...

    def stream(self, argv: Sequence[str], *, idle_timeout: float) -> Iterator[bytes]:
        """The lines of a command's standard output as they come, without their newlines.

        Raises LinkLost if nothing (not even a keep-alive's answer) comes for `idle_timeout` seconds.
        The generator's return value is the exit status; closing it early ends the remote command.
        """
        ...


def quote_word(word: str) -> str:
    """A word as a POSIX shell, fish or csh reads it back; a leading `~/` means the remote home folder."""
    if word == "~":
        return '"$HOME"'
    if word.startswith("~/"):
        return '"$HOME"/' + shlex.quote(word[2:])
    return shlex.quote(word)


def quote_command(argv: Sequence[str]) -> str:
    """The one place where words become a command line for a remote shell."""
    return " ".join(quote_word(word) for word in argv)
