"""What comes from a remote command, bounded and without the noise of its login shell."""

from __future__ import annotations

from collections.abc import Iterator

from device_agent.protocol import MAX_TEXT
from host.errors import DeviceError

MAX_NOISE_BYTES = 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024


class Intake:
    """The output of one command. What stands before the line that ends with `mark` is no part of it."""

    def __init__(self, device_name: str, mark: bytes, limit: int) -> None:
        self._device_name = device_name
        self._mark = mark + b"\n"
        self._limit = limit
        self._noise: bytearray | None = bytearray()
        self._output = bytearray()
        self._errors = bytearray()

    def feed(self, data: bytes) -> None:
        """Add to the output. Raises DeviceError if it grows beyond the limit."""
        if self._noise is None:
            self._output += data
        else:
            self._skip_noise(self._noise, data)
        if len(self._output) > self._limit:
            raise _too_long(self._device_name, "an answer", self._limit)

    def _skip_noise(self, noise: bytearray, data: bytes) -> None:
        noise += data
        before, mark, after = noise.partition(self._mark)
        if mark:
            self._noise = None
            self._output += after
        elif len(before) > MAX_NOISE_BYTES:
            raise self._silent_shell(before)

    def feed_error(self, data: bytes) -> None:
        """Add to the error output; only its end is kept."""
        self._errors += data
        del self._errors[:-MAX_ERROR_BYTES]

    def take(self) -> bytes:
        """The output so far, which is forgotten here."""
        taken = bytes(self._output)
        self._output.clear()
        return taken

    @property
    def errors(self) -> bytes:
        return bytes(self._errors)

    def close(self, code: int) -> None:
        """Raises DeviceError if the command never started."""
        if self._noise is not None:
            raise self._silent_shell(self._noise or self._errors, code)

    def _silent_shell(self, said: bytes | bytearray, code: int | None = None) -> DeviceError:
        status = "" if code is None else f" (exit status {code})"
        words = show_text(said) or "nothing"
        return DeviceError(
            f"{self._device_name}: the login shell runs no commands{status}; it said: {words}",
            "Give the account a shell such as /bin/sh, and let its start-up files end for sessions without a "
            "terminal.",
        )


class Lines:
    """Cuts bytes into lines, each bounded in size."""

    def __init__(self, device_name: str, limit: int) -> None:
        self._device_name = device_name
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are now complete, without their newlines."""
        first, *others = data.split(b"\n")
        for following in others:
            self._add(first)
            yield b"".join(self._pieces)
            self._pieces, self._size = [], 0
            first = following
        self._add(first)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise _too_long(self._device_name, "a line", self._limit)
        self._pieces.append(piece)

    def rest(self) -> Iterator[bytes]:
        """The last line, if the output ends without a newline."""
        if self._size:
            yield b"".join(self._pieces)


def _too_long(device_name: str, what: str, limit: int) -> DeviceError:
    return DeviceError(
        f"{device_name}: {what} from the board has more than {limit} bytes",
        "Look for what else prints there, such as a start-up file of its shell; a board that says so much by "
        "itself is not to be trusted.",
    )


def show_text(said: bytes | bytearray, limit: int = MAX_TEXT) -> str:
    """What a board said, as text that does nothing to a terminal: its end, if it is long."""
    text = bytes(said[-limit:]).decode("utf-8", "replace").strip()
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
