"""The recipes and profiles that a workspace can name: its own and those that are shipped."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from host.errors import SpecError
from host.specs.profile import Profile, parse_profile
from host.specs.reading import parse_record, read_record
from host.specs.recipe import Recipe
from host.workspace import Workspace

R = TypeVar("R", Recipe, Profile)


def load_recipe(workspace: Workspace, name: str) -> Recipe:
    """The recipe of a name or file. Raises SpecError with all faults, UsageError for an unknown name."""
    return _read_recipe(workspace.find_file("models", name))


def load_recipes(workspace: Workspace, names: Iterable[str]) -> tuple[Recipe, ...]:
    return tuple(load_recipe(workspace, name) for name in names)


def load_profile(workspace: Workspace, name: str) -> Profile:
    """The profile of a name or file. Raises SpecError with all faults, UsageError for an unknown name."""
    return _read_profile(workspace.find_file("profiles", name))


def list_recipes(workspace: Workspace) -> list[tuple[Path, Recipe]]:
    return [(path, _read_recipe(path)) for path in workspace.find_files("models").values()]


def list_profiles(workspace: Workspace) -> list[tuple[Path, Profile]]:
    return [(path, _read_profile(path)) for path in workspace.find_files("profiles").values()]


def _read_recipe(path: Path) -> Recipe:
    return _named_as_file(path, read_record(path, partial(parse_record, Recipe)))


def _read_profile(path: Path) -> Profile:
    return _named_as_file(path, read_record(path, parse_profile))


def _named_as_file(path: Path, record: R) -> R:
    """A record is found by its file's name, so the name inside must be the same."""
    if record.name != path.stem:
        raise SpecError(
            str(path), [f"name: expected {path.stem!r} as the file is called, found {record.name!r}"]
        )
    return record
