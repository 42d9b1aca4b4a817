"""An encrypted link to a server whose host key is the pinned one; nobody is authenticated yet."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import paramiko
from paramiko.message import Message
from paramiko.packet import Packetizer

from host.errors import DeviceError, LinkLost
from host.fleet.ssh_route import Route
from host.fleet.ssh_socket import open_socket

WINDOW_BYTES = 4 * 1024 * 1024
"""How much a command may send before we have read it: the bandwidth-delay product of any board's network."""

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
"""Tried first. GCM encrypts and authenticates in one call, the others hash each packet beside it."""

KEY_FAMILIES = ("ssh-ed25519", "ecdsa", "rsa")
_MSG_SERVICE_REQUEST = b"\x05"  # RFC 4253, section 10
_MSG_GLOBAL_REQUEST = b"\x50"  # RFC 4254, section 4


class ListeningPacketizer(Packetizer):
    """Knows when the server was last heard."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.heard_at = time.monotonic()

    def read_message(self) -> tuple[int, Message]:
        message = super().read_message()
        self.heard_at = time.monotonic()
        return message


class Link(paramiko.Transport):
    """paramiko's transport, with a keep-alive that the server must answer."""

    packetizer: ListeningPacketizer

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        super().__init__(sock, default_window_size=WINDOW_BYTES, packetizer_class=ListeningPacketizer)
        self._has_asked_for_service = False
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = timeout
        self.channel_timeout = timeout
        options = self.get_security_options()
        known = [cipher for cipher in FAST_CIPHERS if cipher in options.ciphers]
        options.ciphers = (*known, *(cipher for cipher in options.ciphers if cipher not in known))

    @property
    def silence_s(self) -> float:
        """Seconds since anything came from the server."""
        return time.monotonic() - self.packetizer.heard_at

    def ask_for_life(self, every: float) -> None:
        """Have the server answer at least every `every` seconds from now on.

        paramiko's own keep-alive wants no answer, so a dead link would look like a quiet one.
        """
        self.packetizer.set_keepalive(every, self._request_answer)

    def _send_message(self, data: Message) -> None:
        """Ask for the authentication service once, as RFC 4252 has it.

        paramiko asks again for each key that it tries; OpenSSH lets that pass, servers in Go and asyncio end
        the connection.
        """
        if not self.is_authenticated() and data.asbytes()[:1] == _MSG_SERVICE_REQUEST:
            if self._has_asked_for_service and self.auth_handler is not None:
                accepted = Message()
                accepted.add_string("ssh-userauth")
                self.auth_handler._parse_service_accept(Message(accepted.asbytes()))  # type: ignore[attr-defined]
                return
            self._has_asked_for_service = True
        super()._send_message(data)  # type: ignore[misc] # not in the stubs

    def _request_answer(self) -> None:
        if not self.clear_to_send.is_set():  # keys are being exchanged: that is a sign of life by itself
            return
        request = Message()
        request.add_byte(_MSG_GLOBAL_REQUEST)
        request.add_string("keepalive@openssh.com")
        request.add_boolean(True)
        self._send_user_message(request)  # type: ignore[attr-defined] # not in the stubs

    def close_fully(self) -> None:
        """Close, and wait for the thread that reads, so that nothing outlives the connection."""
        self.packetizer.complete_handshake()  # else its timer keeps the interpreter alive for a while
        with contextlib.suppress(OSError):  # closed already
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread at once
        self.close()
        if self.ident is not None:
            self.join(2)


@contextlib.contextmanager
def open_pinned_link(route: Route, fingerprint: str, timeout: float) -> Iterator[Link]:
    """A link to a server that proved to hold the pinned host key.

    A server has several host keys, one per algorithm, and only one of them is pinned. Each family of
    algorithms is asked for in turn before a key counts as changed.
    """
    seen: dict[str, str] = {}
    for family in (None, *KEY_FAMILIES):
        if family is not None and any(family in kind for kind in seen):
            continue
        with contextlib.ExitStack() as stack:
            try:
                link = stack.enter_context(open_link(route, timeout, family))
            except paramiko.ssh_exception.IncompatiblePeer:
                continue  # no key of this family
            key = link.get_remote_server_key()
            if key.fingerprint == fingerprint:
                yield link
                return
            seen[key.get_name()] = key.fingerprint
    raise _changed_key(route, fingerprint, seen)


def _changed_key(route: Route, pinned: str, seen: dict[str, str]) -> DeviceError:
    offered = ", ".join(f"{kind} {fingerprint}" for kind, fingerprint in seen.items())
    return DeviceError(
        f"{route.name}: the host key of {route.address} has changed.\n"
        f"  pinned:  {pinned}\n"
        f"  offered: {offered}",
        "If the board was set up anew, compare the offered fingerprint with "
        "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the board itself, then "
        f"`bench devices remove {route.name}` and add it again. If it was not, somebody may stand between.",
    )


@contextlib.contextmanager
def open_link(route: Route, timeout: float, key_family: str | None = None) -> Iterator[Link]:
    """A link to whatever server answers; its host key is for the caller to judge.

    Raises IncompatiblePeer if `key_family` is given and the server has no such key.
    """
    silence_paramiko()
    with open_socket(route, timeout) as sock:
        link = Link(sock, timeout)
        try:
            if key_family is not None:
                options = link.get_security_options()
                options.key_types = tuple(kind for kind in options.key_types if key_family in kind)
            _shake_hands(link, route, timeout)
            yield link
        finally:
            link.close_fully()


def _shake_hands(link: Link, route: Route, timeout: float) -> None:
    began = time.monotonic()
    try:
        link.start_client(timeout=2 * timeout)
        link.get_remote_server_key()  # raises if the time ran out without a key
    except paramiko.ssh_exception.IncompatiblePeer as error:
        if "host key" in str(error):
            raise
        raise DeviceError(
            f"{route.name}: {route.address} and this machine share no SSH algorithm: {error}",
            "Update the SSH server of the board.",
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _explain(error, route, timeout, time.monotonic() - began) from error


def _explain(error: Exception, route: Route, timeout: float, waited: float) -> DeviceError:
    if "Indecipherable protocol version" in str(error):
        return DeviceError(
            f"{route.name}: what listens on {route.address} is no SSH server",
            "Correct the port in devices.yaml.",
        )
    if waited >= 0.9 * timeout:
        return LinkLost(
            f"{route.name}: {route.address} accepts connections but says nothing for {timeout:g} s",
            "The board may be overloaded or out of memory, or no SSH server listens on this port.",
        )
    if route.proxy is not None:
        return LinkLost(
            f"{route.name}: the proxy of ~/.ssh/config ended before {route.address} answered",
            f"Try it by hand: `ssh -p {route.port} {route.user}@{route.host}`.",
        )
    return LinkLost(
        f"{route.name}: {route.address} closed the connection before the keys were agreed on",
        "The server may be starting, or refuses this machine for a while after failed attempts. "
        f"`ssh -v -p {route.port} {route.user}@{route.host}` tells more.",
    )


def silence_paramiko() -> None:
    """Keep paramiko's log out of stderr; it stays there for whoever configures logging."""
    logger = logging.getLogger("paramiko")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
