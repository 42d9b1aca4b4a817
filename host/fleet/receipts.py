"""What a board says of the files that it was sent, and what is wrong where it does not want them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from device_agent import protocol
from host.errors import BenchError, BuildError, DeviceError, LinkLost
from host.fleet.journal import Sha256, ToldFailure
from host.fleet.probing import AgentFault, describe_misfit, describe_refusal, parse_answer
from host.fleet.remote import Completed
from host.fleet.ssh_intake import show_text
from host.specs.artifact import Blob
from host.specs.device import Device


class BlobHeld(DeviceError):
    """Another host sends a file that we would send; the board keeps it from two writers."""


class Receipt(BaseModel):
    """What a board says of one file that it was sent."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    sha256: Sha256
    ok: bool
    error: ToldFailure | None = None

    @property
    def is_corrupt(self) -> bool:
        return self.error is not None and self.error.kind == protocol.ERROR_CORRUPT


def read_receipts(device: Device, blobs: Sequence[Blob], completed: Completed) -> list[Receipt]:
    """One receipt for each file, in the order of sending."""
    lines = completed.stdout.splitlines()
    if completed.code == protocol.EXIT_FAULT and lines:
        _raise_end(device, completed._replace(stdout=lines[-1]))
    try:
        receipts = [Receipt.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise describe_misfit(device, "receive", error) from error
    if [receipt.sha256 for receipt in receipts] == [blob.sha256 for blob in blobs]:
        return receipts
    refused = [receipt for receipt in receipts if receipt.error is not None]
    if refused and refused[0].error:
        raise explain_refusal(device, refused[0].error)
    said = show_text(completed.stderr)
    raise DeviceError(
        f"{device.name}: the board confirmed {len(receipts)} of {len(blobs)} files"
        f" and ended with exit code {completed.code}. {said}",
        f"`bench devices probe {device.name}` shows whether the agent still runs there.",
    )


def _raise_end(device: Device, ended: Completed) -> None:
    """Raise what ended a whole transfer; LinkLost where the board heard nothing of us for too long."""
    try:
        parse_answer(device, ended)
    except AgentFault as fault:
        if fault.kind != protocol.ERROR_STALLED:
            raise
        raise LinkLost(
            f"{fault.message}: the board gave up",
            f"This machine slept, or the link did. `bench devices probe {device.name}` tries it.",
        ) from fault


def explain_refusal(device: Device, error: ToldFailure) -> BenchError:
    """The error for a file that the board does not take; BlobHeld where another host sends it."""
    if error.kind == protocol.ERROR_LOCKED:
        return BlobHeld(
            f"{device.name}: {error.message}",
            f"Wait for it to end. One whose link is dead ends by itself after {protocol.STALL_S:g} s.",
        )
    return describe_refusal(device, error.kind, error.message)


def explain_damage(device: Device, blob: Blob) -> BuildError | DeviceError:
    """Whose fault a wrong hash is: our file's, or the way's."""
    with blob.path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != blob.sha256:
            return describe_stale(blob)
    return DeviceError(
        f"{device.name}: {blob.sha256[:12]} arrived damaged twice",
        "Check the board's memory and its disk, and the network between.",
    )


def describe_stale(blob: Blob) -> BuildError:
    """The error for a file of ours that changed since it was built."""
    return BuildError(
        f"{blob.path} is not the file that was built: its content no longer has the hash {blob.sha256[:12]}",
        "Delete it; it is built again from what is known.",
    )
