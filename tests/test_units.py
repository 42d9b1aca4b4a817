"""Limits with units: what each stands for, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.specs import units


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_time_ms, "33ms", 33.0),
        (units.parse_time_ms, "0.033s", 33.0),
        (units.parse_time_ms, " 250 us ", 0.25),
        (units.parse_bytes, "64MB", 64e6),
        (units.parse_bytes, "64MiB", 64 * 2**20),
        (units.parse_bytes, "1.5 GiB", 1.5 * 2**30),
        (units.parse_power_w, "5W", 5.0),
        (units.parse_power_w, "500mW", 0.5),
        (units.parse_energy_mj, "10mJ", 10.0),
        (units.parse_energy_mj, "0.01J", 10.0),
        (units.parse_percent, "5%", 0.05),
        (units.parse_percent, "0 %", 0.0),
        (units.parse_points, "0.5", 0.5),
        (units.parse_points, "0.5pp", 0.5),
        (units.parse_accuracy, "0.9", 0.9),
        (units.parse_accuracy, "90%", 0.9),
    ],
)
def test_a_quantity_has_the_value_of_its_unit(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (units.parse_time_ms, "33", "33ms or 33s"),
        (units.parse_bytes, "64", "64MB or 64MiB"),
        (units.parse_power_w, "5", "5W or 5mW"),
        (units.parse_energy_mj, "10", "10mJ or 10J"),
        (units.parse_percent, "0.05", "0.05% or 5%"),
        (units.parse_percent, "5", "5% or 500%"),
        (units.parse_points, "0.5%", "0.5 points, or 0.5 % of the accuracy"),
        (units.parse_bytes, "64mb", "did you mean 64MB"),
        (units.parse_bytes, "64m", "none of"),
        (units.parse_power_w, "5MW", "did you mean 5mW"),
        (units.parse_time_ms, "0ms", "above zero"),
        (units.parse_time_ms, "-3ms", "above zero"),
        (units.parse_percent, "-5%", "below zero"),
        (units.parse_accuracy, "1.2", "between 0 and 1"),
        (units.parse_accuracy, "90", "did you mean 90%"),
        (units.parse_accuracy, "120%", "between 0 and 1"),
        (units.parse_points, "-1", "0 to 100"),
        (units.parse_time_ms, "fast", "expected a number such as 33ms"),
        (units.parse_time_ms, "", "expected a number"),
        (units.parse_time_ms, "1e999ms", "expected a number"),
        (units.parse_percent, "5ms", "expected a percentage"),
    ],
)
def test_what_is_ambiguous_or_senseless_is_refused_with_both_readings(
    parse: Callable[[str], float], text: str, words: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert words in str(caught.value)


PARSERS = (
    units.parse_time_ms,
    units.parse_bytes,
    units.parse_power_w,
    units.parse_energy_mj,
    units.parse_percent,
    units.parse_points,
    units.parse_accuracy,
)


@given(st.text(max_size=12), st.sampled_from(PARSERS))
def test_any_text_is_a_number_or_a_sentence(text: str, parse: Callable[[str], float]) -> None:
    try:
        assert 0 <= parse(text) < float("inf")
    except ValueError as error:
        assert str(error)
