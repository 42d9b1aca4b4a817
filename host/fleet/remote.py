"""What the host needs from a connection to a board, whatever carries it."""

from __future__ import annotations

import re
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


_PLAIN = re.compile(r"[A-Za-z0-9_@:,./+-]+")
_ESCAPED = ("\\", "'", "!")
"""What stands behind a backslash outside of quotes, where all shells read it alike: inside single quotes fish
takes a backslash for its own, and csh an exclamation mark for its history."""


def quote_word(word: str) -> str:
    """A word as sh, bash, zsh, fish and csh read it back; a leading `~/` means the remote home folder.

    A newline passes through all but csh, which has no way to write one.
    """
    if word == "~":
        return '"$HOME"'
    if word.startswith("~/"):
        return '"$HOME"/' + _quote(word[2:])
    return _quote(word)


def _quote(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    pieces = [piece for piece in re.split(r"([\\'!])", word) if piece]
    return "".join(f"\\{piece}" if piece in _ESCAPED else f"'{piece}'" for piece in pieces) or "''"


def quote_command(argv: Sequence[str]) -> str:
    """The one place where words become a command line for a remote shell."""
    return " ".join(quote_word(word) for word in argv)
