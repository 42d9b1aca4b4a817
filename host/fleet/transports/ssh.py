"""The transport of every board that does not name another one."""

from __future__ import annotations

from contextlib import AbstractContextManager

from host.fleet.remote import Remote
from host.fleet.ssh import open_ssh
from host.specs.device import Device


def open_remote(device: Device) -> AbstractContextManager[Remote]:
    """A connection over SSH, to a board whose host key is pinned."""
    return open_ssh(device)
