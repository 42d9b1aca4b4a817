"""YAML to records: everything wrong with a file is said at once, with its path inside the file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from host.errors import SpecError

R = TypeVar("R", bound=BaseModel)
Loc = tuple[int | str, ...]

LARGEST_FILE = 2**20
MOST_VALUES = 100_000
"""Far more than any file of ours needs; YAML's aliases make a file of a few lines as large as one likes."""

UNTOLD = "untold"
"""The type of a fault whose message does not repeat what was found, which no log should hold."""

MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's own loader keeps the last of two equal keys in silence; this one refuses the second.

    And it says where a value stands that looks like a date or a number and is none.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node in (key for key, _ in node.value if key.tag != MERGE):  # `<<` brings in other keys
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            if isinstance(key, Hashable):  # the others are refused below, by YAML's own words
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_document(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises SpecError if it is unreadable or something else."""
    try:
        document = yaml.load(_read_text(path), _UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise SpecError(str(path), [_describe_yaml_error(error)]) from error
    except RecursionError as error:
        raise SpecError(str(path), ["is nested too deeply"]) from error
    if _holds_too_much(document):
        raise SpecError(str(path), [f"its aliases make it endless, or more than {MOST_VALUES:,} values"])
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise SpecError(str(path), [f"expected a mapping of keys to values at the top, found {found}"])
    return document


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise SpecError(str(path), ["is not a file"])
        if path.stat().st_size > LARGEST_FILE:
            raise SpecError(str(path), [f"is larger than {LARGEST_FILE // 2**20} MiB"])
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpecError(str(path), ["the file does not exist"]) from error
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SpecError(str(path), [f"is not text in UTF-8 (byte {error.start + 1})"]) from error


def _holds_too_much(document: Any) -> bool:
    """Whether a document is too large to be walked, followed through its aliases."""
    waiting = [document]
    for _ in range(MOST_VALUES):
        if not waiting:
            return False
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return True


def _describe_yaml_error(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def read_record(path: Path, parse: Callable[[dict[str, Any]], R]) -> R:
    """The record in a YAML file. Raises SpecError with every fault that `parse` reports as Faults."""
    document = read_document(path)
    try:
        return parse(document)
    except Faults as error:
        raise SpecError(str(path), error.lines) from error


def parse_record(kind: type[R], document: dict[str, Any]) -> R:
    """The record that a document is. Raises Faults with everything that is wrong with it."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise Faults(describe_faults(error, document, keys=list_keys(kind))) from error


class Faults(Exception):
    """Several faults in one document, each a line of text."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(dict.fromkeys(lines))
        super().__init__("; ".join(self.lines))


def describe_faults(
    error: ValidationError, document: Any, at: Loc = (), keys: Iterable[str] = ()
) -> list[str]:
    """One line per fault: where in the document, what is wrong, what was found there.

    Where a key is unknown, the nearest of `keys` is offered.
    """
    known = list(keys)
    lines = []
    for fault in error.errors(include_url=False):
        where = format_path(at + _visible_loc(fault["loc"], document))
        if fault["type"] == "extra_forbidden":
            what = _describe_unknown_key(str(fault["loc"][-1]), known)
        else:
            what = _describe_fault(fault["type"], fault["msg"], fault.get("input"))
        lines.append(f"{where}: {what}" if where else what)
    return lines


def _visible_loc(loc: Loc, document: Any) -> Loc:
    """The part of pydantic's path that the user wrote; union tags and wrapped scalars are ours."""
    visible: list[int | str] = []
    node = document
    for step in loc:
        if isinstance(node, dict):
            visible.append(step)
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            visible.append(step)
            node = node[step]
    return tuple(visible)


_PLAIN_WORDS = {
    "too_short": "at least one entry",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
}
"""What a few of pydantic's messages mean to somebody who wrote YAML."""


def format_path(loc: Loc) -> str:
    """`('variants', 1, 'prune')` as `variants[1].prune`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _describe_unknown_key(key: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {nearest[0]}?" if nearest else "unknown key"


def list_keys(kind: type[BaseModel]) -> set[str]:
    """The keys of a record and of all records inside it."""
    keys: set[str] = set()
    for name, field in kind.model_fields.items():
        keys.add(name)
        for inner in _find_records(field.annotation):
            keys |= list_keys(inner)
    return keys


def _find_records(annotation: Any) -> Iterator[type[BaseModel]]:
    """The records that a type mentions, such as Prune in `Prune | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _find_records(argument)


def _describe_fault(kind: str, message: str, found: Any) -> str:
    if kind == "missing":
        return "is required and missing"
    if kind == UNTOLD:
        return message
    if message.startswith("Value error, "):
        said = message.removeprefix("Value error, ")
    else:
        said = f"expected {_PLAIN_WORDS.get(kind) or message.removeprefix('Input should be ')}"
    return said if isinstance(found, dict | list) or found is None else f"{said}, found {found!r}"
