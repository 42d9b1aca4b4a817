"""How followers learn of a new line without polling: a socket beside the journal that is poked."""

import os
import select
import socket
from typing import List, Optional

SOCKET = "notify.sock"


class Pokes:
    """The side of the run. It must have changed into the run's folder: a path that is bound may have
    108 bytes at most, so the name is relative."""

    def __init__(self) -> None:
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(SOCKET)
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._followers: List[socket.socket] = []

    def poke(self) -> None:
        """Wake every follower; those that are gone are forgotten."""
        self._accept()
        for follower in list(self._followers):
            try:
                follower.send(b"\n")
            except BlockingIOError:
                continue  # it has unread pokes already
            except OSError:
                follower.close()
                self._followers.remove(follower)

    def _accept(self) -> None:
        while True:
            try:
                follower, _ = self._listener.accept()
            except BlockingIOError:
                return
            follower.setblocking(False)
            self._followers.append(follower)

    def withdraw(self) -> None:
        """Let nobody connect any more; who is connected still waits for the end."""
        os.unlink(SOCKET)

    def close(self) -> None:
        """The end that followers wait for."""
        for one in self._followers + [self._listener]:
            one.close()


def connect(folder: str) -> Optional[socket.socket]:
    """A follower's end, or None where no run is alive. Changes into the run's folder."""
    os.chdir(folder)
    follower = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        follower.connect(SOCKET)
    except (FileNotFoundError, ConnectionRefusedError):
        follower.close()
        return None
    return follower


def wait_poke(follower: socket.socket, output: Optional[int], timeout_s: Optional[float] = None) -> bool:
    """Whether the run is still there, once it poked or ended. Raises BrokenPipeError when `output`
    is no longer read, and TimeoutError after `timeout_s`."""
    poll = select.poll()
    poll.register(follower, select.POLLIN)
    if output is not None:
        poll.register(output, 0)  # POLLERR and POLLHUP are always told
    ready = dict(poll.poll(None if timeout_s is None else timeout_s * 1000))
    if output is not None and output in ready:
        raise BrokenPipeError("nobody reads the answer any more")
    if not ready:
        raise TimeoutError("the run did not end")
    try:
        return bool(follower.recv(4096))
    except ConnectionResetError:
        return False
