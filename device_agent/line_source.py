"""Values that come as lines, from a command or a serial device, at the pace of whoever prints them."""

import errno
import os
import shlex
import subprocess
import sys
import termios
import time
import tty
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from device_agent.sensors.meter_lines import Arrival

_CHUNK = 1 << 16
_MOST_BYTES_OF_LINE = 1 << 14
_TAIL_BYTES = 300
_MOST_OF_ODD_LINE = 80
_ENDING_S = 2.0

# What a line says, as (the source's own seconds, watts): None for a line without a value, and a value
# without watts where the line shows that the sensor gave none.
ParseLine = Callable[[str], Optional[Tuple[Optional[float], Optional[float]]]]


class SourceFailed(Exception):
    """The source gives no values; the message says why."""


class Link(NamedTuple):
    """An open source of lines: what is read, where a command complains, and the command."""

    lines: int
    complaints: Optional[int] = None
    process: Optional[Any] = None


class LineSource:
    """Reads whole lines as they arrive; `reason` says why no more will, None while they may."""

    def __init__(self, link: Link, parse: ParseLine, is_device: bool = False) -> None:
        self._link = link
        self._parse = parse
        self._pending = b""
        self._is_device = is_device
        self._skip_first = is_device  # the first line of a device is cut where we began to listen
        self._complaints = b""
        self.odd_line = ""
        self.reason: Optional[str] = None

    @property
    def descriptors(self) -> List[int]:
        found = [] if self.reason else [self._link.lines]
        return found + ([] if self._link.complaints is None else [self._link.complaints])

    def find_wait(self) -> Optional[float]:
        """Lines come when they come."""
        return None

    def take(self, ready: List[int]) -> List[Arrival]:
        """The values of the lines that have arrived on the descriptors that are ready."""
        if self._link.complaints in ready:
            self._take_complaint()
        piece = self._read(self._link.lines) if self._link.lines in ready else None
        now = time.monotonic()
        if piece is None:
            return []
        if not piece:
            self.reason = self._explain_end()
            return []
        if self._is_device:
            piece = piece.replace(b"\r", b"\n")  # some end their lines with it alone
        *whole, self._pending = (self._pending + piece).split(b"\n")
        self._pending = self._pending[-_MOST_BYTES_OF_LINE:]
        if self._skip_first and whole:
            whole, self._skip_first = whole[1:], False
        found = [self._parse_line(line) for line in whole]
        return [Arrival(now, *one) for one in found if one is not None]

    def _parse_line(self, line: bytes) -> Optional[Tuple[Optional[float], Optional[float]]]:
        text = line.decode("utf-8", "replace")
        found = self._parse(text)
        if found is None and text.strip():
            self.odd_line = text.strip()[:_MOST_OF_ODD_LINE]
        return found

    def _take_complaint(self) -> None:
        if self._link.complaints is None:
            return
        piece = self._read(self._link.complaints)
        self._complaints = (self._complaints + (piece or b""))[-_TAIL_BYTES:]
        if piece == b"":
            os.close(self._link.complaints)
            self._link = self._link._replace(complaints=None)

    @staticmethod
    def _read(descriptor: int) -> Optional[bytes]:
        """What has arrived, None for nothing yet; empty at the end.

        A terminal tells by EIO that nobody writes to it any more, a device by ENODEV that it was unplugged.
        """
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO):
                return b""
            raise

    def _explain_end(self) -> str:
        if self._link.process is None:
            return "the device is gone"
        try:
            code = self._link.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "the command closed its output"
        self._take_complaint()
        tail = self._complaints.decode("utf-8", "replace").strip()
        return "the command ended with exit code {}{}".format(code, ": " + tail if tail else "")

    def close(self) -> None:
        """Let go; a command does not outlive this."""
        if self._link.process is not None:
            try:
                self._link.process.kill()
            except PermissionError:  # a meter that `sudo` starts: it ends when nobody reads its lines
                sys.stderr.write("the meter's command belongs to another user and cannot be killed\n")
        for descriptor in (self._link.lines, self._link.complaints):
            if descriptor is not None:
                os.close(descriptor)
        self._wait_for_end()
        self._link = self._link._replace(complaints=None)

    def _wait_for_end(self) -> None:
        if self._link.process is None:
            return
        try:
            self._link.process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            sys.stderr.write("the meter's command does not end\n")


def start_command(command: List[str]) -> Link:
    """A command that prints lines, in the user's home folder. Raises SourceFailed where it cannot start.

    It prints to a terminal of its own where there may be one: most programs hold back what they print to a
    pipe until there are 4 KiB of it. It ends with this process.
    """
    from device_agent.parent_death import start_pdeathsig

    output, end = _open_terminal()
    errors, errors_end = os.pipe()
    os.set_blocking(errors, False)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=end,
            stderr=errors_end,
            cwd=os.path.expanduser("~") if os.path.isdir(os.path.expanduser("~")) else "/",
            preexec_fn=start_pdeathsig(),
        )
    except OSError as error:
        os.close(output)
        os.close(errors)
        words = " ".join(shlex.quote(word) for word in command)
        raise SourceFailed("{} cannot be started: {}".format(words, error.strerror or error)) from error
    finally:
        os.close(end)
        os.close(errors_end)
    return Link(output, errors, process)


def _open_terminal() -> Tuple[int, int]:
    """Where lines arrive and where a command writes them, neither changed on the way."""
    try:
        output, end = os.openpty()
        tty.setraw(end)
    except (OSError, termios.error):  # no /dev/pts here
        return os.pipe()
    return output, end


def open_serial(path: str, baud: int) -> Link:
    """A serial device as it comes, eight bits and no handshake. Raises SourceFailed."""
    speed = getattr(termios, "B{}".format(baud), None)
    if speed is None:
        raise SourceFailed("{}: no serial device here knows {} baud".format(path, baud))
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except PermissionError as error:
        raise SourceFailed(
            "{}: permission denied; most systems let members of the group dialout use it".format(path)
        ) from error
    except OSError as error:
        raise SourceFailed("{}: {}".format(path, error.strerror)) from error
    try:
        _set_raw(descriptor, speed)
    except termios.error as error:
        os.close(descriptor)
        raise SourceFailed("{} is no serial device: {}".format(path, error)) from error
    return Link(descriptor)


def _set_raw(descriptor: int, speed: int) -> None:
    controls = termios.tcgetattr(descriptor)[6]
    controls[termios.VMIN], controls[termios.VTIME] = b"\1", b"\0"
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL
    attributes: List[Any] = [termios.IGNBRK, 0, flags, 0, speed, speed, controls]
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    termios.tcflush(descriptor, termios.TCIFLUSH)
