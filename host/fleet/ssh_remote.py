"""Commands over one SSH link: run to the end, fed as fast as the link takes it, or followed line by line."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

import paramiko

from device_agent.protocol import MAX_ANSWER_BYTES, MAX_LINE_BYTES
from host.errors import DeviceError, LinkLost
from host.fleet.remote import Completed, quote_command
from host.fleet.ssh_intake import Intake, Lines
from host.fleet.ssh_link import Link

PIECE_BYTES = 32 * 1024 - 64  # what fits into one packet of 32 KiB, the size that every server takes
READ_BYTES = 256 * 1024
LOOK_S = 0.2  # how often a waiting call looks at its clock and at the other stream
GRACE_S = 2.0


class Watch:
    """Ends a call that is late.

    A call looks at `is_late` itself. Only a write into a dead connection cannot look: for that case a thread
    closes the link a little after the deadline.
    """

    def __init__(self, link: Link, seconds: float) -> None:
        self._link = link
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._close_when_late, daemon=True)
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + self._seconds

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._until

    def _close_when_late(self) -> None:
        while not self._over.wait(max(0.0, self._until + GRACE_S - time.monotonic())):
            if time.monotonic() >= self._until + GRACE_S:
                self._link.close()
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


class SshRemote:
    """A `Remote` over an authenticated link."""

    def __init__(self, device_name: str, link: Link) -> None:
        self.device_name = device_name
        self._link = link

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        return self._exchange(argv, (stdin,), timeout, is_renewed=False)

    def send(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float = 60.0) -> Completed:
        return self._exchange(argv, chunks, timeout, is_renewed=True)

    def stream(self, argv: Sequence[str], *, idle_timeout: float) -> Generator[bytes, None, int]:
        self._link.ask_for_life(every=min(10.0, idle_timeout / 4))
        lines = Lines(self.device_name, MAX_LINE_BYTES)
        with self._command(argv, idle_timeout) as (channel, intake):
            while True:
                data = self._receive(channel, intake, idle_timeout)
                if not data:
                    break
                yield from lines.feed(intake.take())
            with Watch(self._link, idle_timeout):  # the output has ended; the status may never come
                code = self._find_status(channel, intake)
            yield from lines.rest()
        return code

    def _exchange(
        self, argv: Sequence[str], chunks: Iterable[bytes], timeout: float, *, is_renewed: bool
    ) -> Completed:
        with Watch(self._link, timeout) as watch, self._command(argv, timeout) as (channel, intake):
            for piece in cut(chunks):
                if not self._feed(channel, intake, piece, watch):
                    break  # the command has ended; its answer says why
                if is_renewed:
                    watch.renew()
            with self._on_link():
                channel.shutdown_write()
            while not self._collect(channel, intake):
                self._check(watch, argv, timeout)
            code = self._find_status(channel, intake)
        return Completed(intake.take(), intake.errors, code)

    @contextmanager
    def _command(self, argv: Sequence[str], timeout: float) -> Iterator[tuple[paramiko.Channel, Intake]]:
        """A started command and what comes from it; leaving closes its streams.

        What the files of a login shell print comes before the mark and is dropped.
        """
        mark = f"boardbench-{secrets.token_hex(8)}"
        with Watch(self._link, timeout), self._on_link():
            channel = self._link.open_session(timeout=timeout)
        try:
            channel.settimeout(LOOK_S)
            with Watch(self._link, timeout), self._on_link():
                channel.exec_command(f"echo {mark}; exec {quote_command(argv)}")
            yield channel, Intake(self.device_name, mark.encode(), MAX_ANSWER_BYTES)
        finally:
            with suppress(paramiko.SSHException, EOFError, OSError):  # a link that broke closed it already
                channel.close()

    @contextmanager
    def _on_link(self) -> Iterator[None]:
        """Says in our words how the link failed; errors of a caller's own files pass by."""
        try:
            yield
        except paramiko.ChannelException as error:
            raise DeviceError(
                f"{self.device_name}: the SSH server opens no session: {error}",
                "Its MaxSessions may be reached, or the account may only forward ports.",
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(f"the link broke: {error or type(error).__name__}") from error

    def _feed(self, channel: paramiko.Channel, intake: Intake, piece: bytes, watch: Watch) -> bool:
        """Whether the command took the piece; it did not if it has ended."""
        while piece:
            try:
                taken = channel.send(piece)
            except TimeoutError:
                if watch.is_late:
                    raise self._lost("the command takes no more input") from None
                self._drain(channel, intake)
                continue
            except (OSError, EOFError):  # a closed channel, or link: what is left to read tells which
                return False
            except paramiko.SSHException as error:
                raise self._lost(f"the link broke: {error}") from error
            if taken == 0:
                return False
            piece = piece[taken:]
        return True

    def _take(self, read: Callable[[int], bytes]) -> bytes | None:
        """What `read` brings: nothing at the end of a stream, None if nothing came for a moment."""
        with self._on_link():
            try:
                return read(READ_BYTES)
            except TimeoutError:
                return None

    def _drain(self, channel: paramiko.Channel, intake: Intake) -> None:
        """Take in what is there, so that a command that writes while it reads is not held up."""
        while channel.recv_ready():
            intake.feed(self._take(channel.recv) or b"")
        self._drain_errors(channel, intake)

    def _drain_errors(self, channel: paramiko.Channel, intake: Intake) -> None:
        while channel.recv_stderr_ready():
            intake.feed_error(self._take(channel.recv_stderr) or b"")

    def _collect(self, channel: paramiko.Channel, intake: Intake) -> bool:
        """Take in what comes next; whether that was the end of both streams."""
        data = self._take(channel.recv)
        if data == b"":
            errors = self._take(channel.recv_stderr)
            intake.feed_error(errors or b"")
            return errors == b""
        intake.feed(data or b"")
        self._drain_errors(channel, intake)
        return False

    def _receive(self, channel: paramiko.Channel, intake: Intake, idle_timeout: float) -> bool:
        """Wait for more output; False at its end."""
        while (data := self._take(channel.recv)) is None:
            self._drain_errors(channel, intake)
            if self._link.silence_s > idle_timeout:
                self._link.close()
                raise self._lost(f"nothing heard for {idle_timeout:g} s")
        self._drain_errors(channel, intake)
        intake.feed(data)
        return bool(data)

    def _check(self, watch: Watch, argv: Sequence[str], timeout: float) -> None:
        if watch.is_late:
            raise self._lost(f"`{argv[0]}` did not end within {timeout:g} s")

    def _find_status(self, channel: paramiko.Channel, intake: Intake) -> int:
        """The exit status; -1 if a signal ended the command. Raises LinkLost if the link ended it."""
        code = channel.recv_exit_status()
        if code == -1:
            self._link.join(0.5)  # the thread that reads closes its channels just before it ends
            if not self._link.is_alive():
                raise self._lost("the link broke")
        intake.close(code)
        return code

    def _lost(self, why: str) -> LinkLost:
        return LinkLost(
            f"{self.device_name}: {why}",
            f"Check its power and network, then `bench devices probe {self.device_name}`.",
        )


def cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that fit a packet."""
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), PIECE_BYTES):
            yield bytes(view[start : start + PIECE_BYTES])
