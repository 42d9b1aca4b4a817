"""What makes a comparison unfair is found, said once, and not invented."""

from __future__ import annotations

from typing import Any

import pytest

from host.ledger.fairness import Unlike, count_unlike, find_unlike
from host.ledger.matching import Subject
from host.ledger.records import RunRecord
from host.ledger.rows import Row
from host.specs.measure import Measure
from host.specs.measurement import Power
from tests.made_results import START, make_measurement, make_rows

STATE = {"governor": "performance", "temperature_c": 45.0}
VERSIONS = {"agent": "1", "python": "3.11", "kernel": "6.1", "runtime": "1.20"}
ENVIRONMENT: dict[str, Any] = {"before": STATE, "during": {"highest_mhz": 1500.0}, "versions": VERSIONS}


def make_one(**changes: Any) -> Row:
    return make_rows((make_measurement(**({"environment": ENVIRONMENT} | changes)), 5.0))[0]


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "environment": {**ENVIRONMENT, **{key: {**ENVIRONMENT[key], **part} for key, part in parts.items()}}
    }


def names(first: Row, second: Row, subject: Subject = "run") -> list[str]:
    return [one.what for one in find_unlike(first, second, subject)]


def test_equal_conditions_are_fair() -> None:
    assert names(make_one(), make_one(run="r2")) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"is_emulated": True}, "emulated"),
        ({"flags": ("throttled",)}, "flags"),
        ({"provider": "CUDAExecutionProvider"}, "provider"),
        ({"threads": 4}, "threads"),
        ({"runtime_settings": {"arena": False}}, "arena"),
        ({"board": "Raspberry Pi 5"}, "board"),
        ({"model_sha256": "b" * 64}, "file"),
        (changed(before={"governor": "powersave"}), "governor"),
        (changed(before={"temperature_c": 60.0}), "temperature"),
        (changed(during={"highest_mhz": 1000.0}), "clock"),
        (changed(versions={"runtime": "1.21"}), "versions.runtime"),
        (changed(versions={"kernel": "6.6"}), "versions.kernel"),
        (changed(versions={"agent": "2"}), "versions.agent"),
    ],
)
def test_each_difference_is_found_alone(changes: dict[str, Any], what: str) -> None:
    assert names(make_one(), make_one(run="r2", **changes)) == [what]


def test_energy_of_two_sensors_is_told() -> None:
    first, second = (make_one(power=Power(source=name, energy_mj=1.0)) for name in ("ina", "meter"))
    assert names(first, second) == ["power"]
    assert names(first, make_one()) == []


def test_what_two_devices_differ_in_by_nature_is_not_told() -> None:
    other = changed(versions={"kernel": "5.10"}, during={"highest_mhz": 2400.0})
    assert names(make_one(), make_one(device="pi5", board="Raspberry Pi 5", **other), "device") == []


def test_a_little_warmer_or_faster_is_no_difference() -> None:
    other = changed(before={"temperature_c": 52.0}, during={"highest_mhz": 1480.0})
    assert names(make_one(), make_one(**other)) == []


def test_what_a_board_calls_a_clock_need_not_be_a_number() -> None:
    odd = {"before": "hot", "during": {"highest_mhz": "fast"}, "versions": VERSIONS}
    assert names(make_one(), make_one(environment=odd)) == ["governor"]


def test_two_protocols_and_inputs_are_told_by_what_differs_in_them() -> None:
    runs = {}
    for name, rounds, shape in (("r1", 5, [3, 224, 224]), ("r2", 3, [3, 96, 96])):
        variant = {"id": "id-dense", "recipe": {"input": {"shape": shape, "mean": [0.5]}}}
        plan = {"measure": Measure(rounds=rounds).model_dump(mode="json"), "variants": [variant], "tasks": []}
        runs[name] = RunRecord(id=name, profile="p", plan=plan, started_at=START)
    found = find_unlike(make_one(), make_one(run="r2"), "run", runs)
    assert found == (
        Unlike(what="protocol", first="rounds 5", second="rounds 3"),
        Unlike(what="input", first="shape [3, 224, 224]", second="shape [3, 96, 96]"),
    )


def test_the_emulated_board_is_told_first() -> None:
    other = changed(before={"governor": "powersave"})
    assert names(make_one(), make_one(is_emulated=True, threads=2, **other))[0] == "emulated"


def test_a_difference_of_many_pairs_is_told_once() -> None:
    one, other = Unlike(what="governor", first="a", second="b"), Unlike(what="threads", first="1", second="2")
    told = count_unlike([(one,), (), (one, other)])
    assert [(item.what, item.pairs) for item in told] == [("governor", 2), ("threads", 1)]
