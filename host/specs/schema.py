"""JSON Schemas of the files that people write, for editors: what keys there are, and what each takes.

A schema knows single keys. How keys go together (steps with a schedule, settings with their runtime) only
`bench profiles validate` checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from host.specs.device import Device
from host.specs.measure import PRESETS, Measure
from host.specs.profile import DeviceChoice, Profile, RuntimeSettings
from host.specs.recipe import Recipe
from host.specs.variant import LayerBits, Quantize, Variant

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
KINDS = ("profile", "recipe", "devices")
AXES = (Variant, RuntimeSettings)
"""Records in which a list, wherever a value could stand, is an axis."""


def make_schema(kind: str) -> Schema:
    """The schema of `profiles/*.yaml`, `models/*.yaml` or `devices.yaml`: one of `KINDS`."""
    made = {"profile": _make_profile, "recipe": Recipe.model_json_schema, "devices": _make_devices}[kind]()
    return {"$schema": DIALECT, **_without_titles(made), "title": f"boardbench: {kind}"}


def _make_profile() -> Schema:
    """What a profile's file may hold, which is more than the record that is read from it."""
    schema = Profile.model_json_schema()
    kinds = schema["$defs"]
    _accept_groups(kinds)
    for name in sorted(set().union(*(_reach(kinds, kind.__name__) for kind in AXES))):
        properties = kinds[name]["properties"]
        kinds[name]["properties"] = {key: _or_list(value) for key, value in properties.items()}
    kinds[DeviceChoice.__name__]["oneOf"] = [{"required": [key]} for key in ("name", "labels", "emulate")]
    duration = {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*([hm]|min|s)\s*)+$"}
    _add_choice(kinds[Measure.__name__]["properties"]["duration_s"], duration)
    properties = schema["properties"]
    properties["model"] = _or_list({"type": "string"})
    properties["measure"] = {"anyOf": [{"enum": list(PRESETS)}, _refer(Measure)]}
    name = kinds[DeviceChoice.__name__]["properties"]["name"]
    properties["devices"] = {"type": "array", "items": {"anyOf": [_without_null(name), _refer(DeviceChoice)]}}
    for key in ("variants", "runtimes"):
        properties[key].pop("default", None)
    return schema


def _make_devices() -> Schema:
    """`devices.yaml`: devices by their names, which they therefore do not say themselves."""
    schema = Device.model_json_schema()
    name = schema["properties"].pop("name")
    kinds = schema.pop("$defs")
    for key in ("command", "serial", "url"):
        kinds["Meter"]["properties"][key] = _accept_text(kinds["Meter"]["properties"][key])
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {
        "$defs": {**kinds, "Device": schema},
        "type": "object",
        "properties": {
            "devices": {"type": "object", "propertyNames": name, "additionalProperties": _refer(Device)}
        },
        "additionalProperties": False,
    }


def _accept_groups(kinds: Schema) -> None:
    """Groups of layers as a file says them, by name, and patterns of layers between commas."""
    bits = kinds[LayerBits.__name__]
    bits["properties"].pop("layers")
    bits.pop("required", None)
    properties = kinds[Quantize.__name__]["properties"]
    properties["groups"] = {"type": "object", "additionalProperties": _refer(LayerBits)}
    properties["exclude"] = {"type": "string"}


def _accept_text(schema: Schema) -> Schema:
    """A command may be one text, which is split into words."""
    return {"anyOf": [*_choices(schema), {"type": "string", "minLength": 1}]}


def _refer(kind: type) -> Schema:
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _choices(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("anyOf", [schema])
    return found


def _add_choice(schema: Schema, choice: Schema) -> None:
    schema["anyOf"] = [choice, *_choices(schema)]


def _without_null(schema: Schema) -> Schema:
    kept = [choice for choice in _choices(schema) if choice.get("type") != "null"]
    return kept[0] if len(kept) == 1 else {"anyOf": kept}


def _or_list(schema: Schema) -> Schema:
    """A value, or several of them as an axis."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


def _reach(kinds: Mapping[str, Any], name: str) -> set[str]:
    """The names of a record and of all records inside it."""
    found, waiting = {name}, [name]
    while waiting:
        for reached in _find_references(kinds[waiting.pop()]):
            if reached not in found:
                found.add(reached)
                waiting.append(reached)
    return found


def _find_references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2]
        yield from _find_in(node.values())
    elif isinstance(node, list):
        yield from _find_in(node)


def _find_in(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        yield from _find_references(node)


def _without_titles(node: Any, *, is_names: bool = False) -> Any:
    """The schema without the titles that pydantic makes of names; a key that is called so stays."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_titles(value, is_names=key in ("properties", "$defs") and not is_names)
        for key, value in node.items()
        if is_names or key != "title"
    }
