"""The bytes below SSH: a TCP connection to a board, or a proxy command's input and output."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
import subprocess
from collections.abc import Iterator

from host.errors import DeviceError, LinkLost
from host.fleet.ssh_route import Route

DEAF = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Runs a program to which Ctrl-C is nothing: a proxy shares our terminal, and a board that is to be told to
stop must still be reached."""


@contextlib.contextmanager
def open_socket(route: Route, timeout: float) -> Iterator[socket.socket]:
    """A connected socket. Raises DeviceError or LinkLost that say what stands in the way."""
    if route.proxy is not None:
        with _open_proxy(route, route.proxy) as link:
            yield link
        return
    with _open_tcp(route, timeout) as link:
        yield link


def _open_tcp(route: Route, timeout: float) -> socket.socket:
    try:
        link = socket.create_connection((route.host, route.port), timeout)
    except OSError as error:
        raise _explain(error, route, timeout) from error
    except UnicodeError as error:  # a label longer than a name server takes
        raise DeviceError(f"{route.name}: {route.host!r} is no host name", _edit(route)) from error
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return link


def _explain(error: OSError, route: Route, timeout: float) -> DeviceError:
    name, address = route.name, route.address
    check = f"Check its power and network, then `bench devices probe {name}`."
    if isinstance(error, socket.gaierror):
        kind = LinkLost if error.errno == socket.EAI_AGAIN else DeviceError
        return kind(f"{name}: the name {route.host!r} cannot be resolved ({error.strerror})", _edit(route))
    if isinstance(error, ConnectionRefusedError):
        return LinkLost(
            f"{name}: {address} refuses connections",
            "The board is up, but no SSH server listens there: start it, or correct the port.",
        )
    if isinstance(error, TimeoutError):
        return LinkLost(f"{name}: no answer from {address} within {timeout:g} s", check)
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return LinkLost(f"{name}: no route to {address}", check)
    return LinkLost(f"{name}: cannot connect to {address}: {error.strerror or error}", check)


def _edit(route: Route) -> str:
    return f"Correct the host of {route.name} in devices.yaml, or give its IP address."


@contextlib.contextmanager
def _open_proxy(route: Route, command: tuple[str, ...]) -> Iterator[socket.socket]:
    """One end of a socket pair; the proxy command has the other as its input and output."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            if shutil.which(command[0]) is None:
                raise DeviceError(
                    f"{route.name}: the proxy command {command[0]!r} of ~/.ssh/config cannot be started: "
                    "there is no such program",
                    "Install it, or name an address of the board that this machine reaches by itself.",
                )
            process = subprocess.Popen((*DEAF, *command), stdin=theirs.fileno(), stdout=theirs.fileno())
        try:
            yield ours
        finally:
            ours.close()
            _end_process(process)


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """Ends a proxy command; it has lost its connection and usually goes by itself."""
    process.terminate()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
