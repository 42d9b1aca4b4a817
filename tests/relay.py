"""A link that a test can cut, freeze, starve or slow down: it stands between a client and a server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from host.specs.device import Device

PIECE_BYTES = 16 * 1024


class Relay:
    """Forwards connections to a port until it is told otherwise."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_over = False
        self._is_refusing = False
        self._answer_bytes: int | None = None
        self._question_bytes: int | None = None
        self._delay_s, self._bytes_per_s = 0.0, 0.0
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Close every connection, as a pulled plug would after a while."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Keep every connection open and pass nothing on, as a pulled plug does at first."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on what has waited."""
        self._flowing.set()

    def refuse(self, is_refusing: bool = True) -> None:
        """Cut, and close whoever comes, until it is told otherwise."""
        self._is_refusing = is_refusing
        if is_refusing:
            self.cut()

    def cut_each_after(self, *, answers: int | None = None, questions: int | None = None) -> None:
        """Cut every later connection once the server has said, or the client has sent, so many bytes.

        None lets them live.
        """
        self._answer_bytes, self._question_bytes = answers, questions

    def slow_down(self, *, delay_s: float, bytes_per_s: float) -> None:
        """Pass each piece on later, and no more of them than the rate allows; for later connections."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def close(self) -> None:
        self._is_over = True
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in list(self._threads):
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while not self._is_over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the server is down: whoever comes is turned away
                near.close()
                continue
            self._sockets += [near, far]
            for ends, limit in (((near, far), self._question_bytes), ((far, near), self._answer_bytes)):
                thread = threading.Thread(target=self._pump, args=(*ends, limit), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        free_at, left = 0.0, limit
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self._flowing.wait()
                if self._bytes_per_s:
                    free_at = max(free_at, time.monotonic()) + len(data) / self._bytes_per_s
                    time.sleep(max(0.0, free_at - time.monotonic()) + self._delay_s)
                target.sendall(data if left is None else data[:left])
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        self._cut_one(source, target)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _cut_one(self, *ends: socket.socket) -> None:
        self.cuts += 1
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relayed(device: Device) -> Iterator[tuple[Device, Relay]]:
    """The device as it is reached through a relay."""
    assert device.port is not None
    relay = Relay(device.port)
    try:
        yield device.model_copy(update={"port": relay.port}), relay
    finally:
        relay.close()
