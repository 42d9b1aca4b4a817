"""Limits on a command line: each with its unit, and each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from host.specs import units

F = TypeVar("F", bound=Callable[..., Any])


class Quantity(NamedTuple):
    """A number with its unit: an example for the help, and what reads it."""

    example: str
    parse: Callable[[str], float]


TIME = Quantity("33ms", units.parse_time_ms)
SIZE = Quantity("64MB", units.parse_bytes)
POWER = Quantity("5W", units.parse_power_w)
ENERGY = Quantity("10mJ", units.parse_energy_mj)
PERCENT = Quantity("5%", units.parse_percent)
POINTS = Quantity("0.5", units.parse_points)
ACCURACY = Quantity("0.9", units.parse_accuracy)


def limit_option(name: str, kind: Quantity, help_text: str) -> Callable[[F], F]:
    """An option that holds one limit, None where it is left out; two that differ contradict each other."""

    def settle(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> float | None:
        try:
            values = {kind.parse(text) for text in given}
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from error
        if len(values) > 1:
            told = " and ".join(given)
            raise click.BadParameter(f"{told} contradict each other; leave one of them out.")
        return values.pop() if values else None

    return click.option(name, metavar=kind.example, multiple=True, callback=settle, help=help_text)
