"""The reference of profiles, recipes and devices in Markdown: every key, what it takes, its default."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from host.specs.device import Device, Emulation, Meter
from host.specs.measure import PRESETS, Measure
from host.specs.profile import DEFAULT_PROVIDERS, MEANINGFUL, DeviceChoice, Limits, Profile, RuntimeSettings
from host.specs.recipe import Augment, DataSet, Input, Recipe, Training
from host.specs.variant import (
    AutoExclude,
    Distill,
    Export,
    FineTune,
    LayerBits,
    Prune,
    Quantize,
    RoundedTuning,
    Variant,
)

HEAD = """# Profiles, recipes, devices: every key

<!-- Made by `bench profiles schema --format markdown`; do not edit. -->

`bench profiles schema` prints a JSON Schema of profiles, with which an editor completes keys and marks faults
as you type (`--of recipe` and `--of devices` print those of the other files):

```
bench profiles schema > profile.schema.json
```

```yaml
# yaml-language-server: $schema=../profile.schema.json
name: mine
```

A schema knows single keys. `bench profiles validate` knows also how keys go together, and names everything
that is wrong with a file at once. Where no default stands, a key is required; `-` means that nothing is set.
"""

PARTS: tuple[tuple[str, str, tuple[tuple[str, type[BaseModel]], ...]], ...] = (
    (
        "A profile: `profiles/NAME.yaml`",
        "Under `variants` and `runtimes` a list is an axis wherever one value could stand, and a sweep is "
        "the product of all axes.",
        (
            ("the file", Profile),
            ("an entry of `devices`", DeviceChoice),
            ("an entry of `variants`", Variant),
            ("`prune`", Prune),
            ("`finetune`", FineTune),
            ("`finetune` of `quantize`", RoundedTuning),
            ("`distill`", Distill),
            ("`augment`", Augment),
            ("`quantize`", Quantize),
            ("`groups`", LayerBits),
            ("`auto_exclude`", AutoExclude),
            ("`export`", Export),
            ("an entry of `runtimes`", RuntimeSettings),
            ("`measure`", Measure),
            ("`limits`", Limits),
        ),
    ),
    (
        "A recipe: `models/NAME.yaml`",
        "What is trained; see [data sets](data.md).",
        (("the file", Recipe), ("`data`", DataSet), ("`input`", Input), ("`training`", Training)),
    ),
    (
        "A device: under its name in `devices.yaml`",
        "`bench devices add` writes it; see [power](power.md) for meters.",
        (("a device", Device), ("`emulation`", Emulation), ("`meter`", Meter)),
    ),
)

WRITTEN_AS = {
    ("Profile", "model"): "a recipe's name or an `.onnx` file, or a list of them",
    ("Profile", "devices"): "list of names and mappings",
    ("Profile", "measure"): "a preset's name, or a mapping",
    ("Measure", "duration_s"): "a time such as `30m`, or seconds",
    ("Quantize", "groups"): "a mapping of layers to their bits",
    ("Quantize", "exclude"): "patterns between commas",
    ("Meter", "command"): "text, or a list of words",
}
"""Where a file may say more, or something else, than the record that is made of it."""


def make_reference() -> str:
    """The whole page."""
    kinds = [(kind, "validation") for _, _, records in PARTS for _, kind in records]
    _, schema = models_json_schema(kinds)  # type: ignore[arg-type]
    return "\n".join([HEAD, *_tell_parts(schema["$defs"])]).rstrip() + "\n"


def _tell_parts(schemas: dict[str, Any]) -> Iterator[str]:
    for title, about, records in PARTS:
        yield from (f"## {title}", "", about, "")
        for name, kind in records:
            yield from (f"### {name[0].upper()}{name[1:]}", "", inspect.cleandoc(kind.__doc__ or ""), "")
            yield from _tell_keys(kind, schemas[kind.__name__], schemas)
            yield from _tell_more(kind)


def _tell_keys(kind: type[BaseModel], schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield from ("| key | what it takes | default |", "|---|---|---|")
    for key, held in schema["properties"].items():
        takes = WRITTEN_AS.get((kind.__name__, key)) or describe_type(held, schemas)
        yield f"| `{key}` | {takes} | {_tell_default(kind, key)} |"
    yield ""


def _tell_default(kind: type[BaseModel], key: str) -> str:
    field = kind.model_fields[key]
    if field.is_required():
        return ""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or (isinstance(default, tuple) and default and not _is_plain(default)):
        return "its own defaults"
    if default is None or default in ((), {}, ""):
        return "-"
    return f"`{json.dumps(default)}`".replace('"', "")


def _is_plain(values: tuple[Any, ...]) -> bool:
    return not any(isinstance(value, BaseModel) for value in values)


def describe_type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """What a key takes, in words: `` `l1`, `l2` ``, `number > 0, < 1`, `list of text`."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(dict.fromkeys(_describe_one(one, schemas) for one in choices))


def _describe_one(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "a mapping: see below"
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return ", ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_describe_items(schema, schemas)}"
    if schema.get("type") == "string":
        return f"text: {schema['description']}" if "pattern" in schema else "text"
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return words.get(str(schema.get("type")), "a mapping") + _tell_bounds(schema)


def _describe_items(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    items = schema.get("prefixItems") or [schema.get("items", {})]
    told = describe_type(items[0], schemas)
    if told.startswith("a mapping"):
        return "mappings: see below"
    return f"{len(items)} {told}s" if len(items) > 1 else told


def _tell_bounds(schema: dict[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    told = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(told)}" if told else ""


def _tell_more(kind: type[BaseModel]) -> Iterator[str]:
    """What stands in tables of the specs beside the records."""
    if kind is RuntimeSettings:
        yield from ("| `name` | default `provider` | settings that mean something to it |", "|---|---|---|")
        for name, provider in DEFAULT_PROVIDERS.items():
            settings = ", ".join(f"`{one}`" for one in ("batch", *MEANINGFUL[name]))
            yield f"| `{name}` | `{provider}` | {settings} |"
        yield ""
    if kind is Measure:
        keys = list(dict.fromkeys(key for preset in PRESETS.values() for key in preset))
        yield from (f"| preset | {' | '.join(f'`{key}`' for key in keys)} |", "|---" * (len(keys) + 1) + "|")
        for name in PRESETS:
            held = Measure.model_validate({"preset": name})
            yield f"| `{name}` | {' | '.join(f'{getattr(held, key):.4g}' for key in keys)} |"
        yield ""
