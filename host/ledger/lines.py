"""A measurement with its samples as one line of JSON: how it waits on a disk, and travels in a file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from host.ledger.packing import pack_samples, unpack_samples
from host.ledger.plausible import check_measurement
from host.ledger.statistics import Samples
from host.specs.measurement import Measurement

MOST_SAMPLES = 1 << 24
"""More than any board sends in one round; what claims to hold more is refused before it is unpacked."""


class Line(NamedTuple):
    """What a line holds: the measurement's JSON as its release wrote it, and its samples, round by round."""

    held: dict[str, Any]
    rounds: list[Samples]


def write_line(held: dict[str, Any], packed: Iterable[tuple[int, bytes]]) -> bytes:
    """One line, without its end. `packed` has of each round how many samples it holds, and those, packed."""
    rounds = [{"count": count, "data": base64.b64encode(data).decode()} for count, data in packed]
    return to_json({"measurement": held, "rounds": rounds})


def pack_line(measurement: Measurement, rounds: Sequence[Samples]) -> bytes:
    return write_line(measurement.as_json(), [(len(held), pack_samples(held)) for held in rounds])


def read_line(line: bytes) -> Line:
    """Raises ValueError, saying what is wrong, for a line that this release would not have written."""
    told = from_json(line, allow_inf_nan=False)
    if not isinstance(told, dict) or told.keys() != {"measurement", "rounds"}:
        raise ValueError("expected a measurement and its rounds")
    held, listed = told["measurement"], told["rounds"]
    try:
        # Strict: what is stored is what was told, and not what it could be turned into.
        measurement = Measurement.model_validate_json(write_finite(held), strict=True)
    except ValidationError as error:
        raise ValueError(f"a measurement is not valid: {tell_fault(error)}") from error
    if not isinstance(listed, list):
        raise ValueError("expected a list of rounds")  # noqa: TRY004 - wrong input, not a wrong call
    rounds = [_read_round(one) for one in listed]
    check_measurement(measurement, rounds)
    return Line(held, rounds)


def write_finite(told: Any) -> bytes:
    """The JSON of what was told. Raises ValueError for a number such as 1e999, which becomes infinite."""
    text = to_json(told)
    from_json(text, allow_inf_nan=False)
    return text


def tell_fault(error: ValidationError) -> str:
    """The first fault, with where it is."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _read_round(told: Any) -> Samples:
    if not isinstance(told, dict) or told.keys() != {"count", "data"} or type(told["count"]) is not int:
        raise ValueError("expected the count and the data of a round")
    if not 0 <= told["count"] <= MOST_SAMPLES:
        raise ValueError(f"a round cannot hold {told['count']} samples")
    try:
        data = base64.b64decode(str(told["data"]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"samples are no base64: {error}") from error
    return unpack_samples(told["count"], data)
