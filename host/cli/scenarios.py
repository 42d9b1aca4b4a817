"""The options that choose how inferences follow each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from host.specs.measure import Measure

F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("--offline", "--paced", "--sustained")


def read_sustained(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    """A callback: the seconds of `--sustained`."""
    from host.specs.durations import parse_duration
    from host.specs.measure import LONGEST_S

    if given is None:
        return None
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    if not 2 <= seconds <= LONGEST_S:
        raise click.BadParameter(f"{given!r}: expected 2s to {LONGEST_S / 3600:g}h.")
    return seconds


def read_rate(_context: click.Context, _parameter: click.Parameter, given: float | None) -> float | None:
    """A callback: the rate of `--paced`; what is no number passes every range."""
    if given is not None and not math.isfinite(given):
        raise click.BadParameter(f"{given}: expected a rate in Hz, such as 30.")
    return given


def scenario_options(command: F) -> F:
    """`--offline`, `--paced`, `--sustained`, as `choose_scenario` takes them."""
    offline = click.option("--offline", is_flag=True, help="Batches back to back; throughput is what counts.")
    paced = click.option(
        "--paced",
        metavar="HZ",
        type=click.FloatRange(0.001, 1e5),
        callback=read_rate,
        help="Inferences at this rate, as a camera gives them; missed deadlines are counted.",
    )
    sustained = click.option(
        "--sustained",
        metavar="TIME",
        callback=read_sustained,
        help="One loop of 30m, 90s or 1h; its first minute against its last.",
    )
    return offline(paced(sustained(command)))


def choose_scenario(
    measure: Measure, *, offline: bool, paced: float | None, sustained: float | None
) -> Measure:
    """The protocol in the scenario that the options name; as it is where they name none."""
    from host.errors import UsageError
    from host.specs.measure import change_scenario

    if offline + (paced is not None) + (sustained is not None) > 1:
        raise UsageError(f"{', '.join(NAMES)} exclude each other", "Choose one of them.")
    if offline:
        return change_scenario(measure, "offline")
    if paced is not None:
        return change_scenario(measure, "paced", rate_hz=paced)
    if sustained is not None:
        return change_scenario(measure, "sustained", duration_s=sustained)
    return measure
