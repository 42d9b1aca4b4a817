"""A sweep profile: which variants of which models run where, how they are measured, within which limits.

Lists under `variants` and `runtimes` are axes, and a sweep is their product.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from host.specs.measure import Measure, parse_measure
from host.specs.reading import Faults, Loc, describe_faults, format_path, list_keys
from host.specs.record import Name, Record
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


RuntimeName = Literal["onnxruntime", "tensorrt", "openvino", "ncnn"]

DEFAULT_PROVIDERS: dict[str, str] = {
    "onnxruntime": "CPUExecutionProvider",
    "tensorrt": "GPU",
    "openvino": "CPU",
    "ncnn": "CPU",
}
"""What runs a model where a profile does not say. Only onnxruntime has others than its default."""

MEANINGFUL: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("threads", "spinning", "arena"),
    "tensorrt": (),
    "openvino": ("threads", "inference_precision"),
    "ncnn": ("threads", "inference_precision"),
}
"""The settings that mean something to a runtime, of those that do not mean something to every one."""

OPTIONS = ("spinning", "arena", "inference_precision")
"""Settings of single runtimes: a board gets those that a profile sets, under these names."""


class RuntimeSettings(Record):
    """One way to run a model on a board. `threads` None means every core that the agent may use.

    `spinning` and `arena` are onnxruntime's: whether its threads spin while they wait, and whether it keeps
    the memory that it frees. `inference_precision` is the arithmetic of openvino and ncnn, f32 where None.
    `optional` leaves it out, with a word, on a board that lacks it; else the board is refused.
    """

    name: RuntimeName = "onnxruntime"
    provider: str = ""
    threads: int | None = Field(None, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=4096)
    spinning: bool | None = None
    arena: bool | None = None
    inference_precision: Literal["f32", "f16", "bf16"] | None = None
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def _names_a_provider(cls, told: Any) -> Any:
        if not isinstance(told, dict) or told.get("provider") is not None:
            return told
        name = told.get("name", "onnxruntime")
        provider = DEFAULT_PROVIDERS.get(name, "") if isinstance(name, str) else ""
        return {**told, "provider": provider}

    @field_validator("provider")
    @classmethod
    def _is_known(cls, provider: str, info: ValidationInfo) -> str:
        name = info.data.get("name")
        if name == "onnxruntime" and not re.fullmatch(r"[A-Za-z]\w*ExecutionProvider", provider):
            raise ValueError(f"expected a name such as {DEFAULT_PROVIDERS[name]}")
        if name not in (None, "onnxruntime") and provider != DEFAULT_PROVIDERS[name]:
            raise ValueError(f"{name} runs on {DEFAULT_PROVIDERS[name]} and nothing else")
        return provider

    @field_validator("threads", *OPTIONS)
    @classmethod
    def _has_meaning(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name")
        if value is not None and name is not None and info.field_name not in MEANINGFUL[name]:
            raise ValueError(f"has no meaning with name: {name}")
        return value

    @property
    def options(self) -> dict[str, JsonValue]:
        """The settings of this runtime alone that are set, as a board is told them."""
        return {key: value for key in OPTIONS if (value := getattr(self, key)) is not None}

    @property
    def identity(self) -> dict[str, JsonValue]:
        """All that decides a measurement; an option that a later version adds leaves old ids alone."""
        told = {key: getattr(self, key) for key in ("name", "provider", "threads", "batch")}
        return {**told, **self.options}


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
