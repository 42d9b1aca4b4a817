"""How a board is reached: by the transport that its entry names, each of which is one file."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import AbstractContextManager

from host.errors import UsageError
from host.fleet import transports
from host.fleet.remote import Remote
from host.specs.device import Device


def list_transports() -> list[str]:
    """The files in `host/fleet/transports`, by their names."""
    return sorted(module.name for module in pkgutil.iter_modules(transports.__path__))


def open_remote(device: Device) -> AbstractContextManager[Remote]:
    """A connection to a device. Raises UsageError for a transport that there is not.

    Entering it raises LinkLost for what may pass, such as no route, and DeviceError for what does not.
    """
    known = list_transports()
    if device.transport not in known:
        raise UsageError(
            f"{device.name}: there is no transport {device.transport!r}",
            f"`transport:` in devices.yaml is one of: {', '.join(known)}.",
        )
    module = importlib.import_module(f"{transports.__name__}.{device.transport}")
    connection: AbstractContextManager[Remote] = module.open_remote(device)
    return connection
