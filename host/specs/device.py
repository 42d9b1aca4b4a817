"""A registered device: where it is, how it is known, and never a secret."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from host.errors import UsageError
from host.specs.reading import describe_faults
from host.specs.record import Name, Record, matching


class Emulation(Record):
    """How an emulated device is started: the number of cores that its processes may use."""

    cpus: int = Field(1, ge=1)


class Device(Record):
    """One board. `fingerprint` is OpenSSH's `SHA256:…` of the pinned host key.

    What is None is left to ~/.ssh/config and its defaults.
    """

    name: Name
    host: Annotated[str, matching(r"[^\s-]\S{0,254}", "a host's name or address")]
    port: int | None = Field(None, ge=1, le=65535)
    user: Annotated[str, matching(r"[^\s:@-][^\s:@]*", "a user's name")] | None = None
    fingerprint: Annotated[str, matching(r"SHA256:[A-Za-z0-9+/]{43}", "SHA256: and 43 characters of base64")]
    key_file: str | None = None
    labels: tuple[Name, ...] = ()
    work_folder: str = Field("~/.boardbench", min_length=1)
    python: str = "python3"
    emulation: Emulation | None = None

    @property
    def is_emulated(self) -> bool:
        return self.emulation is not None or "emulated" in self.labels


def parse_device(document: dict[str, Any]) -> Device:
    """A device from the words of a command line. Raises UsageError naming everything wrong with them."""
    try:
        return Device.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(error, document)
        raise UsageError(
            "that is no device: " + "; ".join(faults), "See: bench devices add --help"
        ) from error
