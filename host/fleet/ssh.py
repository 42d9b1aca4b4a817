"""Opens SSH connections to devices. The host key is pinned; nothing is ever added to it in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import paramiko

from host.errors import DeviceError
from host.fleet.ssh_answers import Answers, AskPassword, find_answers
from host.fleet.ssh_auth import TooLate, authenticate
from host.fleet.ssh_link import KEY_FAMILIES, Link, open_link, open_pinned_link
from host.fleet.ssh_remote import SshRemote
from host.fleet.ssh_route import Route, apply_config, find_route
from host.specs.device import Device


@contextlib.contextmanager
def open_ssh(
    device: Device, *, timeout: float = 15.0, ask_password: AskPassword | None = None
) -> Iterator[SshRemote]:
    """A `Remote` for a device. `timeout` bounds each step of connecting, in seconds.

    Raises LinkLost for what may pass (no route, refused, no answer), DeviceError for what does not (another
    host key, no key that lets us in). `ask_password` is called with a prompt where only a password or
    passphrase helps; leave it out where nobody sits at a terminal.
    """
    route = find_route(device)
    answers = find_answers() if ask_password is None else Answers(ask_password)
    with _log_in(route, device.fingerprint, timeout, answers) as link:
        yield SshRemote(device.name, link)


@contextlib.contextmanager
def _log_in(route: Route, fingerprint: str, timeout: float, answers: Answers | None) -> Iterator[Link]:
    """An authenticated link. One that a server ended while a person was typing is opened a second time."""
    with contextlib.ExitStack() as kept:
        try:
            link = kept.enter_context(open_pinned_link(route, fingerprint, timeout))
            authenticate(link, route, answers)
        except TooLate:
            kept.close()
            link = kept.enter_context(open_pinned_link(route, fingerprint, timeout))
            authenticate(link, route, answers)
        yield link


def fetch_fingerprint(
    host: str,
    port: int | None,
    user: str | None = None,
    *,
    expected: str | None = None,
    timeout: float = 15.0,
) -> str:
    """OpenSSH's `SHA256:…` of a host key that a server proves to hold; `host` may be an alias.

    A server has several, one for each algorithm: it is `expected` if any of them is.
    """
    route = apply_config(host, host, port, user)
    seen: list[str] = []
    for family in (None, *KEY_FAMILIES):
        no_such_key = contextlib.suppress(paramiko.ssh_exception.IncompatiblePeer)
        with no_such_key, open_link(route, timeout, family) as link:
            seen.append(str(link.get_remote_server_key().fingerprint))
        if seen and expected in (None, *seen):
            return expected or seen[0]
    if not seen:
        raise DeviceError(
            f"{route.address} has no host key of an algorithm that this machine takes",
            "On the board: sudo ssh-keygen -A, and start its SSH server again.",
        )
    return seen[0]
