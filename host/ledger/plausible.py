"""What no board can have measured and no release has planned, though every value of it has its type. Pure.

What comes in a file, or has waited on a disk, is checked so before it is stored; what is stored is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import to_json

from host.ledger.records import RunRecord
from host.ledger.statistics import Samples
from host.specs.measurement import LONGEST_SAMPLE_NS, Measurement
from host.specs.profile import OPTIONS

SHARES = ("accuracy_host", "accuracy_device", "agreement", "sparsity", "sparsity_target")
COUNTS = ("threads", "batch", "file_bytes", "gzip_bytes", "packed_bytes")
"""Where they are known, they are above zero."""


class _Shape(BaseModel):
    """As much of a plan as results are read by. A plan of another release may hold more, or less."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Task(_Shape):
    id: str


class _Recipe(_Shape):
    input: dict[str, JsonValue] | None = None


class _Chain(_Shape):
    prune: dict[str, JsonValue] | None = None
    quantize: dict[str, JsonValue] | None = None


class _Variant(_Shape):
    id: str
    recipe: _Recipe | None = None
    variant: _Chain | None = None


class _File(_Shape):
    id: str
    shapes: dict[str, JsonValue] | None = None


class _Plan(_Shape):
    measure: dict[str, JsonValue] | None = None
    tasks: list[_Task] = []
    variants: list[_Variant] = []
    files: list[_File] = []


def check_run(run: RunRecord) -> None:
    """Raise ValueError, saying where, for a run whose plan nobody could read or whose times have no zone."""
    _Plan.model_validate_json(to_json(run.plan))
    for name in ("started_at", "finished_at"):
        _check_zone(name, getattr(run, name))


def check_measurement(found: Measurement, rounds: Sequence[Samples]) -> None:
    """Raise ValueError, saying where, for what cannot have been measured."""
    _check_zone("started_at", found.started_at)
    for name in COUNTS:
        value = getattr(found, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected a number above zero, found {value}")
    for name in SHARES:
        value = getattr(found, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number from 0 to 1, found {value:g}")
    if (found.error is None) != (found.status == "ok"):
        raise ValueError(f"error: expected one exactly where something failed; the status is {found.status}")
    _check_options(found.runtime_settings)
    for samples in rounds:
        if len(samples) and not 0 < samples.min() <= samples.max() < LONGEST_SAMPLE_NS:
            raise ValueError("rounds: a sample is not above zero, or lasts an hour or more")


def _check_zone(name: str, at: datetime | None) -> None:
    if at is not None and at.utcoffset() is None:
        raise ValueError(f"{name}: expected a time with its zone, found {at.isoformat()}")


def _check_options(settings: Mapping[str, Any]) -> None:
    """What runs are told apart by is one value; what else a runtime says of itself may be anything."""
    for name in OPTIONS:
        if isinstance(settings.get(name), list | dict):
            raise ValueError(f"runtime_settings.{name}: expected one value")  # noqa: TRY004 - wrong input
