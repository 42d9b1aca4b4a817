"""Opens SSH connections to devices. The host key is pinned; nothing is ever added to it in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from host.fleet.ssh_auth import AskPassword, authenticate
from host.fleet.ssh_link import open_link, open_pinned_link
from host.fleet.ssh_remote import SshRemote
from host.fleet.ssh_route import apply_config, find_route
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
    with open_pinned_link(route, device.fingerprint, timeout) as link:
        authenticate(link, route, ask_password)
        yield SshRemote(device.name, link)


def fetch_fingerprint(host: str, port: int | None, *, timeout: float = 15.0) -> str:
    """OpenSSH's `SHA256:…` of the host key that a server proves to hold; `host` may be an alias."""
    route = apply_config(host, host, port)
    with open_link(route, timeout) as link:
        return str(link.get_remote_server_key().fingerprint)
