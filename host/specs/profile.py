"""A sweep profile: which variants of which models run where, how they are measured, within which limits.

Lists under `variants` and `runtimes` are axes, and a sweep is their product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from host.specs.measure import Measure, parse_measure
from host.specs.reading import Faults, Loc, describe_faults, format_path, list_keys
from host.specs.record import Name, Record, matching
from host.specs.variant import Variant

R = TypeVar("R", bound=BaseModel)

MOST_POINTS = 10_000
"""A product of axes beyond this is a slip: nobody waits for so many measurements."""


class DeviceChoice(Record):
    """Devices that a profile asks for: one by name, all with some labels, or an emulated one to start."""

    name: Name | None = None
    labels: tuple[Name, ...] = ()
    emulate: Name | None = None
    cpus: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> DeviceChoice:
        if sum((self.name is not None, bool(self.labels), self.emulate is not None)) != 1:
            raise ValueError("expected a device name, {labels: [...]} or {emulate: NAME, cpus: N}")
        return self


class RuntimeSettings(Record):
    """One way to run a model on a board. `threads` None means every core that the agent may use."""

    name: Literal["onnxruntime"] = "onnxruntime"
    provider: Annotated[
        str, matching(r"[A-Za-z]\w*ExecutionProvider", "a name such as CPUExecutionProvider")
    ] = "CPUExecutionProvider"
    threads: int | None = Field(None, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=4096)


class Limits(Record):
    """What a variant must keep to be recommended."""

    min_accuracy: float | None = Field(None, ge=0, le=1)
    max_latency_ms: float | None = Field(None, gt=0)
    max_peak_memory_mb: float | None = Field(None, gt=0)
    max_file_mb: float | None = Field(None, gt=0)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _as_choice(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Profile(Record):
    """What `profiles/NAME.yaml` says, with every axis already expanded."""

    name: Name
    description: str = ""
    model: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
    devices: tuple[Annotated[DeviceChoice, BeforeValidator(_as_choice)], ...] = ()
    variants: tuple[Variant, ...] = Field((Variant(),), min_length=1)
    runtimes: tuple[RuntimeSettings, ...] = Field((RuntimeSettings(),), min_length=1)
    measure: Annotated[Measure, BeforeValidator(parse_measure)] = Measure()
    limits: Limits = Limits()
    seed: int = Field(0, ge=0)


def parse_profile(document: dict[str, Any]) -> Profile:
    """A profile from its YAML mapping. Raises Faults naming everything wrong with it."""
    faults: list[str] = []
    plain = {key: value for key, value in document.items() if key not in ("variants", "runtimes")}
    axes: dict[str, tuple[BaseModel, ...]] = {}
    for key, kind in (("variants", Variant), ("runtimes", RuntimeSettings)):
        if key in document:
            axes[key] = _parse_axes(document[key], kind, (key,), faults)
    profile = None
    try:
        profile = Profile.model_validate(plain)
    except ValidationError as error:
        faults += describe_faults(error, plain, keys=list_keys(Profile))
    if faults or profile is None:
        raise Faults(faults)
    return profile.model_copy(update=axes)


def _parse_axes(raw: Any, kind: type[R], at: Loc, faults: list[str]) -> tuple[R, ...]:
    """Every record that the entries of one list of axes stand for, in the order of the file, each once."""
    if not isinstance(raw, list) or not raw:
        faults.append(f"{at[0]}: expected a list with at least one entry")
        return ()
    records: dict[R, None] = {}
    for index, entry in enumerate(raw):
        if (points := count_points(entry)) > MOST_POINTS:
            where = format_path((*at, index))
            faults.append(f"{where}: its lists span {points:,} {at[0]}, at most {MOST_POINTS:,} are allowed")
            continue
        for point in expand_axes(entry):
            try:
                records[kind.model_validate(point)] = None
            except ValidationError as error:
                faults += describe_faults(error, point, (*at, index), list_keys(kind))
    return tuple(records)


def count_points(node: Any) -> int:
    """How many points `expand_axes` would give."""
    if isinstance(node, list):
        return sum(count_points(item) for item in node)
    return math.prod(count_points(value) for value in node.values()) if isinstance(node, dict) else 1


def expand_axes(node: Any) -> Iterator[Any]:
    """Every point of the product that the lists inside `node` span; the last list varies fastest."""
    if isinstance(node, list):
        for item in node:
            yield from expand_axes(item)
    elif isinstance(node, dict):
        for values in itertools.product(*(list(expand_axes(value)) for value in node.values())):
            yield dict(zip(node, values, strict=True))
    else:
        yield node
