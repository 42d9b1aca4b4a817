"""A board is asked to make room: by a quota or by age, and never at the cost of a run that is not over."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from device_agent import protocol
from host.errors import DeviceError
from host.fleet.journal import Text
from host.fleet.probing import AgentFault, call_agent, describe_misfit
from host.fleet.remote import Remote
from host.specs.artifact import Blob
from host.specs.cleaning import Cleaned, Removed, Terms
from host.specs.device import Device

CLEAN_SECONDS = 600.0  # gigabytes in thousands of files on a worn SD card

Size = Annotated[int, Field(ge=0, lt=2**53)]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _ToldItem(_Told):
    kind: Text
    name: Text
    bytes: Size
    idle_s: Annotated[float, Field(ge=0)]


class _ToldCleaning(_Told):
    """What the agent answers; `runs` are those that it kept since nobody may have their results yet."""

    removed: Annotated[tuple[_ToldItem, ...], Field(max_length=10_000)]
    removed_count: Size
    freed_bytes: Size
    kept_bytes: Size
    needed_bytes: Size
    free_bytes: Size
    runs: Annotated[tuple[Text, ...], Field(max_length=10_000)]


def clean_board(
    remote: Remote, device: Device, agent: Blob, terms: Terms, fetched: Collection[str] = ()
) -> Cleaned:
    """Remove what the terms ask for. `fetched` are runs, as the board names them, whose results are here.

    Raises BoardBusy while a run measures there, DeviceError while somebody sends files.
    """
    question = {
        "keep_bytes": terms.keep_bytes,
        "older_s": terms.older_s,
        "fetched": sorted(fetched),
        "abandoned": terms.takes_abandoned,
        "dry_run": terms.is_dry,
    }
    text = json.dumps(question).encode()
    try:
        answer = call_agent(remote, device, agent, ["clean"], stdin=text, timeout=CLEAN_SECONDS)
    except AgentFault as fault:
        if fault.kind == protocol.ERROR_SENDING:
            raise DeviceError(f"{fault.message} just now", "Wait for the end of that deployment.") from fault
        raise
    try:
        told = _ToldCleaning.model_validate_json(json.dumps(answer))
    except ValidationError as error:
        raise describe_misfit(device, "clean", error) from error
    return Cleaned(
        device=device.name,
        is_dry=terms.is_dry,
        removed=tuple(Removed(**item.model_dump()) for item in told.removed),
        removed_count=told.removed_count,
        freed_bytes=told.freed_bytes,
        kept_bytes=told.kept_bytes,
        needed_bytes=told.needed_bytes,
        free_bytes=told.free_bytes,
        unfetched_runs=told.runs,
    )
