"""Conditions on the columns of results as people write them: `p50<5ms`, `accuracy>=97%`, `variant=int8*`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from host.errors import UsageError
from host.ledger.flat import Field
from host.ledger.naming import SHARES, find_field, read_field
from host.ledger.ranking import MIB
from host.specs.units import ENERGIES_MJ, POWERS_W, SIZES_BYTES, TIMES_MS

EXAMPLES = "Write it like `p50<5ms`, `accuracy>=97%`, `peak<=64MB`, `variant=int8*` or `threads!=1`."

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([\w.\- ]+?)\s*(<=|>=|==|!=|<|>|=)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d]*)")
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


class Inner(NamedTuple):
    """What is asked of a value inside JSON, of whatever type: the text, and the number or truth in it."""

    text: str
    value: float | bool | None

    def is_kept_by(self, found: Any, sign: str) -> bool:
        """Whether what was found is so. Of a list one member has to be so; with `!=` all of them."""
        if sign == "!=":
            return not self.is_kept_by(found, "=")
        if isinstance(found, list):
            return any(self.is_kept_by(one, sign) for one in found)
        if self.value is not None and isinstance(found, int | float):
            return OPERATORS[sign](found, self.value)
        return sign in ("=", "==") and fnmatchcase(str(found), self.text)


class Condition(NamedTuple):
    """What a column must be. `value` is in the unit of the column."""

    field: Field
    sign: str
    value: Any

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a row fulfils it. A value that is missing fulfils nothing."""
        found = read_field(row, self.field)
        if found is None:
            return False
        if isinstance(self.value, Inner):
            return self.value.is_kept_by(found, self.sign)
        if isinstance(self.value, str):
            return fnmatchcase(str(found), self.value) == (self.sign != "!=")
        return isinstance(found, int | float) and OPERATORS[self.sign](found, self.value)


def parse_condition(text: str) -> Condition:
    """The condition that a text says. Raises UsageError that says what was expected."""
    found = _CONDITION.fullmatch(text)
    if found is None or not found[3]:
        raise UsageError(f"{text!r} is no condition", EXAMPLES)
    field, sign, told = find_field(found[1]), found[2], found[3].strip("\"'")
    return Condition(field, sign, _read_value(field, sign, told, text))


def _read_value(field: Field, sign: str, told: str, text: str) -> Any:
    if field.kind in ("whole", "real"):
        return _read_number(field, told, text)
    if field.kind == "truth":
        if told.lower() not in _TRUTHS or sign in ("<", ">", "<=", ">="):
            raise UsageError(f"{text!r}: {field.name} is true or false", f"Write {field.name}=true.")
        return _TRUTHS[told.lower()]
    if field.kind == "json":
        return _read_inner(told)
    if sign in ("<", ">", "<=", ">="):
        hint = "--since tells from when on." if field.name == "started_at" else EXAMPLES
        raise UsageError(f"{text!r}: {field.name} is a text, and has no order", hint)
    return told


def _read_inner(told: str) -> Inner:
    """A value inside JSON: a text, and a number or a truth where it looks like one."""
    if told.lower() in _TRUTHS:
        return Inner(told, _TRUTHS[told.lower()])
    found = _NUMBER.fullmatch(told)
    return Inner(told, float(found[1]) if found and not found[2] else None)


def _read_number(field: Field, told: str, text: str) -> float:
    found = _NUMBER.fullmatch(told)
    if found is None or not math.isfinite(float(found[1])):
        raise UsageError(f"{text!r}: {field.name} is a number, and {told!r} is none", EXAMPLES)
    number, unit = Decimal(found[1]), found[2]
    units = find_units(field)
    if unit not in units:
        known = ", ".join(name for name in units if name)
        hint = f"Its units are {known}." if known else f"{field.name} has no unit."
        raise UsageError(f"{text!r}: {unit!r} is no unit of {field.name}", hint)
    value = float(number * units[unit])
    if field.name in SHARES and not 0 <= value <= 1:
        meant = f": write {number:g}% if that is meant" if not unit else ""
        raise UsageError(f"{text!r}: no {field.name} is {told}", f"It lies between 0 and 1{meant}.")
    return value


def find_units(field: Field) -> dict[str, Decimal]:
    """The units that a column's numbers may have, and what each is in the column's own, which is "".

    Decimal, since 70 times the nearest double to 0.01 is not the double that 0.7 is.
    """
    name = field.name
    found: Mapping[str, float] = {}
    per = 1
    if name in SHARES or name in ("paced.miss_rate", "sustained.ratio", "power.sampler_effect"):
        found = {"%": 0.01}
    elif (name.startswith("latency_ms.") and field.kind == "real") or name.endswith("_ms"):
        found = TIMES_MS
    elif name.startswith("memory_mb."):
        found, per = SIZES_BYTES, MIB
    elif name.endswith("_bytes"):
        found = SIZES_BYTES
    elif name.endswith("_w"):
        found = POWERS_W
    elif name.endswith("_mj"):
        found = ENERGIES_MJ
    elif name.endswith("_s"):
        found, per = TIMES_MS, 1000
    return {"": Decimal(1), **{unit: Decimal(str(scale)) / per for unit, scale in found.items()}}
