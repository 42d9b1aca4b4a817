"""A link that a test can cut or freeze: it stands between a client and a server on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from host.specs.device import Device


class Relay:
    """Forwards connections to a port until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_over = False
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Close every connection, as a pulled plug would after a while."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Keep every connection open and pass nothing on, as a pulled plug does at first."""
        self._flowing.clear()

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
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for ends in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=ends, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(device: Device) -> Iterator[tuple[Device, Relay]]:
    """The device as it is reached through a relay."""
    assert device.port is not None
    relay = Relay(device.port)
    try:
        yield device.model_copy(update={"port": relay.port}), relay
    finally:
        relay.close()
