"""What a host sends on standard input: frames of a header and bytes, from a link that may die in silence."""

import json
import os
import select
import signal
from contextlib import suppress
from typing import Any

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.sensors.tree import list_names, read_text
from device_agent.work_folder import check_sha256

_CHUNK = 1 << 18
_MAX_HEADER = 4096
MAX_BLOB_BYTES = 64 << 30


class Stalled(AgentFault):
    """Nothing comes any more. A cable that is pulled says nothing else, and sshd notices after hours."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(protocol.ERROR_STALLED, "nothing arrived for {:.0f} s".format(patience_s))


class Incoming:
    """The bytes of a descriptor. Raises Stalled where nothing comes for `patience_s`."""

    def __init__(self, descriptor: int, patience_s: float = protocol.STALL_S) -> None:
        self._descriptor = descriptor
        self._patience_s = patience_s
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """What is there, up to `size` bytes; nothing at the end."""
        if not self._ahead:
            return self._receive(size)
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    def read_line(self, limit: int) -> bytes:
        """Up to the next newline, to the limit, or to the end."""
        while b"\n" not in self._ahead and len(self._ahead) < limit:
            more = self._receive(limit)
            if not more:
                break
            self._ahead += more
        return self.read(min(limit, self._ahead.find(b"\n") + 1 or limit)) if self._ahead else b""

    def _receive(self, size: int) -> bytes:
        if not self._poll.poll(self._patience_s * 1000):
            raise Stalled(self._patience_s)
        return os.read(self._descriptor, size)


class Frame:
    """The chunks of one frame's content; `missing` counts what has not come yet."""

    def __init__(self, stream: Incoming, size: int) -> None:
        self._stream = stream
        self.missing = size

    def __iter__(self) -> "Frame":
        return self

    def __next__(self) -> bytes:
        chunk = self._stream.read(min(_CHUNK, self.missing)) if self.missing else b""
        if not chunk:
            raise StopIteration
        self.missing -= len(chunk)
        return chunk


def read_header(stream: Incoming) -> Any:
    """SHA-256, size and offset of the next frame; None at the end. Raises AgentFault for a broken one:
    after it nothing can be read."""
    header = stream.read_line(_MAX_HEADER)
    return parse_header(header) if header else None


def parse_header(header: bytes) -> Any:
    try:
        told = json.loads(header.decode())
        sha256, size, offset = told["sha256"], told["size"], told["offset"]
    except (ValueError, KeyError, TypeError) as error:
        raise AgentFault(protocol.ERROR_CORRUPT, "not the header of a frame: {!r}".format(error)) from error
    check_sha256(sha256)
    if type(size) is not int or type(offset) is not int or not 0 <= offset <= size <= MAX_BLOB_BYTES:
        raise AgentFault(protocol.ERROR_CORRUPT, "a frame from {!r} to {!r}".format(offset, size))
    return sha256, size, offset


def end_earlier(sender: str) -> None:
    """End what the same sender began to send before: it sends one thing at a time, so that link is dead.

    A sender is one process of one host and one of its devices, by a random name, so that no other process
    has these words.
    """
    for name in list_names("/", "proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        words = (read_text("/", "proc/{}/cmdline".format(name)) or "").split("\0")
        if words[-3:] == ["receive", "--sender", sender]:
            with suppress(OSError):  # it has just ended
                os.kill(int(name), signal.SIGTERM)
