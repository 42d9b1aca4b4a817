"""A registered device: where it is, how it is known, and never a secret."""

from __future__ import annotations

from pydantic import Field

from host.specs.record import Name, Record


class Emulation(Record):
    """How an emulated device is started: the number of cores that its processes may use."""

    cpus: int = Field(1, ge=1)


class Device(Record):
    """One board. `fingerprint` is OpenSSH's `SHA256:…` of the pinned host key."""

    name: Name
    host: str = Field(min_length=1, max_length=255, pattern=r"^[^\s-][^\s]*$")
    port: int = Field(22, ge=1, le=65535)
    user: str | None = Field(None, pattern=r"^[^\s:@-][^\s:@]*$")
    fingerprint: str = Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")
    key_file: str | None = None
    labels: tuple[Name, ...] = ()
    work_folder: str = Field("~/.boardbench", min_length=1)
    python: str = "python3"
    emulation: Emulation | None = None

    @property
    def is_emulated(self) -> bool:
        return self.emulation is not None or "emulated" in self.labels
