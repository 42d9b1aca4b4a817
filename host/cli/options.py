"""Options that several commands share, and how their answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from host.errors import UsageError
from host.workspace import Workspace, find_root

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json")


def check_names(_context: click.Context, _parameter: click.Parameter, given: Any) -> Any:
    """A callback: what names a device becomes a folder and a key of devices.yaml."""
    from pydantic import TypeAdapter, ValidationError

    from host.specs.record import Name

    for name in (given,) if isinstance(given, str) else given:
        try:
            TypeAdapter(Name).validate_python(name)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise click.BadParameter(f"{name!r}: {said}.") from error
    return given


def check_devices(_context: click.Context, _parameter: click.Parameter, given: Any) -> Any:
    """A callback: each is the name of a device, or `label:` and the name of a label."""
    for word in given:
        check_names(_context, _parameter, word.removeprefix("label:"))
    return given


def format_option(*formats: str) -> Callable[[F], F]:
    """`--format`: with json, standard output holds the JSON alone."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(formats or FORMATS),
        default="table",
        show_default=True,
        help="How to print the answer.",
    )


def profile_option(required: bool) -> Callable[[F], F]:
    return click.option(
        "--profile",
        "profile_name",
        metavar="P",
        required=required,
        help="A profile's name (see: bench profiles list) or its file.",
    )


def device_option(required: bool = False) -> Callable[[F], F]:
    return click.option(
        "--device",
        "device_names",
        metavar="D",
        callback=check_devices,
        multiple=True,
        required=required,
        help="A registered device, or label:L for all with this label; repeat for several.",
    )


def variant_option(command: F) -> F:
    return click.option(
        "--variant",
        "labels",
        metavar="V",
        multiple=True,
        help="Only the variants of the profile that are called so; repeat for several.",
    )(command)


def jobs_option(command: F) -> F:
    return click.option(
        "--jobs",
        metavar="N",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="How many variants to build at once.",
    )(command)


def parallel_option(command: F) -> F:
    return click.option(
        "--max-parallel",
        "parallel",
        metavar="N",
        type=click.IntRange(1),
        help="How many boards to work on at once. Default: all of them.",
    )(command)


def ledger_option(command: F) -> F:
    return click.option(
        "--ledger",
        "ledger_url",
        metavar="URL",
        envvar="BENCH_LEDGER",
        help="Database of the results, as SQLAlchemy names it. Default: SQLite under results/.",
    )(command)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_and_judge(show: Callable[[], None], judge: Callable[[], None]) -> None:
    """Print an answer and then judge it: a reader that leaves early does not hide what a gate says."""
    try:
        show()
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich makes the second of the first
        judge()
        raise
    judge()


def expand_labels(words: tuple[str, ...], workspace: Workspace) -> tuple[str, ...]:
    """The names of devices, with those that have a label in the place of `label:L`, as a sweep takes them."""
    if not any(word.startswith("label:") for word in words):
        return words
    from host.fleet.boards import name_devices

    return name_devices(words, workspace)


def tell(message: str) -> None:
    """Words for people: they go to standard error."""
    click.echo(message, err=True)


def current_workspace() -> Workspace:
    """The workspace around the current folder."""
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the current folder is gone", "Change to one that exists.") from error
    return Workspace(find_root(here))
