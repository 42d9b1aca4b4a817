"""Which rows are wanted and in which order: names, conditions with units, what is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from host.errors import UsageError
from host.ledger.choosing import Choice, Sieve, parse_since, parse_sorting, sort_rows
from host.ledger.conditions import parse_condition
from host.ledger.naming import find_field, find_fields, read_field
from host.ledger.rows import Row
from host.specs.measurement import Power
from tests.made_results import make_failure, make_measurement, make_row, make_rows, make_sweep


def sweep() -> list[Row]:
    return make_rows(*make_sweep("pi4"), *make_sweep("x86", 0.1, is_emulated=True, flags=("emulated",)))


def keep(rows: list[Row], *conditions: str, **names: Any) -> list[str]:
    choice = Choice(**names)._replace(conditions=tuple(map(parse_condition, conditions)))
    return [f"{row['device']} {row['variant']}" for row in Sieve(choice).sift(rows)]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("p50", "latency_ms.p50"),
        ("latency", "latency_ms.p50"),
        ("latency_ms.p50", "latency_ms.p50"),
        ("peak", "memory_mb.peak"),
        ("energy-mj", "power.energy_mj"),
        ("accuracy", "accuracy"),
        ("throughput_ips", "throughput_ips"),
        ("environment.before.governor", "environment.before.governor"),
    ],
)
def test_a_column_has_its_full_name_and_shorter_ones(told: str, name: str) -> None:
    assert find_field(told).name == name


@pytest.mark.parametrize(
    ("told", "offered"),
    [("p5O", "latency_ms.p50"), ("acuracy", "accuracy"), ("varient", "variant"), ("flag", "flags")],
)
def test_an_unknown_column_is_answered_with_the_nearest_ones(told: str, offered: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean.*{offered}"):
        find_field(told)


def test_a_name_that_two_columns_end_with_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="may mean 2 columns") as caught:
        find_field("rate_hz")
    assert caught.value.hint == "Write paced.rate_hz or power.rate_hz."


def test_columns_are_named_once_in_their_order() -> None:
    assert [field.name for field in find_fields(("p50,variant", "device, p50"))] == [
        "latency_ms.p50",
        "variant",
        "device",
    ]


def test_what_is_nested_is_read_where_it_is() -> None:
    assert read_field(make_row(), find_field("environment.before.governor")) == "performance"
    assert read_field(make_row(), find_field("environment.before.nothing.inside")) is None
    assert read_field(make_row(accuracy_device=None, accuracy_host=0.9), find_field("accuracy")) == 0.9


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("p50<2.2", ["pi4 int8"]),
        ("p50 < 2.2ms", ["pi4 int8"]),
        ("p50<2200us", ["pi4 int8"]),
        ("p50>=0.005s", ["pi4 dense"]),
        ("accuracy>97.9%", ["pi4 dense"]),
        ("accuracy>0.979", ["pi4 dense"]),
        ("variant=int8", ["pi4 int8"]),
        ("variant=channel-*", ["pi4 channel-50"]),
        ("variant!=dense", ["pi4 channel-50", "pi4 int8"]),
        ("is_baseline=true", ["pi4 dense"]),
        ("speedup>2.2", ["pi4 int8"]),
        ("peak<81MiB", ["pi4 dense", "pi4 channel-50", "pi4 int8"]),
        ("peak<80MB", []),
        ("threads=1", ["pi4 dense", "pi4 channel-50", "pi4 int8"]),
        ("threads!=1", []),
        ("environment.before.governor=performance", ["pi4 dense", "pi4 channel-50", "pi4 int8"]),
        ("energy<1000J", []),
    ],
)
def test_a_condition_keeps_what_fulfils_it(condition: str, kept: list[str]) -> None:
    assert keep(make_rows(*make_sweep()), condition) == kept


@pytest.mark.parametrize(
    ("condition", "sparsity"),
    [("sparsity=70%", 0.7), ("sparsity=55%", 0.55), ("sparsity=0.7", 0.7), ("sparsity<=29%", 0.29)],
)
def test_a_percentage_is_the_number_that_it_means(condition: str, sparsity: float) -> None:
    assert len(keep([make_row(sparsity=sparsity)], condition)) == 1


@pytest.mark.parametrize("percent", range(101))
def test_every_whole_percentage_finds_its_share(percent: int) -> None:
    row = make_row(accuracy_host=percent / 100, file_bytes=percent * 1_100_000 + 1)
    assert keep([row], f"accuracy_host={percent}%", f"accuracy_host>={percent}%")


def test_a_size_in_megabytes_is_exact() -> None:
    rows = [make_row(file_bytes=1_100_000), make_row(memory_mb={"peak": 64.0})]
    assert len(keep(rows, "file_bytes=1.1MB")) == 1
    assert len(keep(rows, "peak=64MiB")) == len(keep(rows, "peak=67.108864MB")) == 1


VERSIONS = {"versions": {"tensorrt": "10.3", "python": "3.12.1"}, "before": {"freq_mhz": [1500, 1800]}}


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("flags=drift", [1]),
        ("flags!=drift", [0, 2]),
        ("flags=thr*", [2]),
        ("flags=busy", [1, 2]),
        ("flags!=busy", [0]),
        ("environment.versions.tensorrt=10.3", [1]),
        ("environment.versions.tensorrt=10.30", []),
        ("environment.versions.tensorrt!=10.3", []),
        ("environment.versions.tensorrt!=10.4", [1]),
        ("environment.versions.tensorrt>10", []),
        ("environment.versions.python=3.12.*", [1]),
        ("environment.before.freq_mhz=1800", [1]),
        ("environment.before.freq_mhz>1900", []),
        ("runtime_settings.spinning=false", [2]),
        ("runtime_settings.spinning!=false", [1]),
        ("runtime_settings.threads=04", [2]),
    ],
)
def test_what_is_inside_json_is_compared_as_what_it_is(condition: str, kept: list[int]) -> None:
    rows = [
        make_row(),
        make_row(flags=("busy", "drift"), environment=VERSIONS, runtime_settings={"spinning": True}),
        make_row(flags=("throttled", "busy"), runtime_settings={"spinning": False, "threads": 4}),
    ]
    condition_, found = parse_condition(condition), []
    for at, row in enumerate(rows):
        found += [at] if condition_.keeps(row) else []
    assert found == kept


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("p50<1e999", "'1e999' is none"),
        ("p50", "is no condition"),
        ("<5", "is no condition"),
        ("p50<", "is no condition"),
        ("p50<fast", "'fast' is none"),
        ("p50<5MB", "'MB' is no unit"),
        ("threads=2ms", "'ms' is no unit"),
        ("accuracy>97", "no accuracy is 97"),
        ("is_baseline>true", "is true or false"),
        ("variant<int8", "has no order"),
        ("started_at>2026-01-01", "has no order"),
        ("speed<5", "there is no column 'speed'"),
    ],
)
def test_a_condition_that_is_none_is_refused_with_an_example(condition: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_condition(condition)
    assert caught.value.hint


def test_names_choose_and_kinds_of_names_go_together() -> None:
    rows = sweep()
    assert keep(rows, devices=("pi4",)) == ["pi4 dense", "pi4 channel-50", "pi4 int8"]
    assert keep(rows, variants=("int*", "dense"), devices=("x86",)) == ["x86 dense", "x86 int8"]
    assert keep(rows, without=("emulated",), variants=("d*",)) == ["pi4 dense"]
    assert keep(rows, flags=("emulated",), precisions=("int8",)) == []


def test_what_was_not_measured_fulfils_nothing_and_is_counted() -> None:
    given = make_row("a", power=Power(source="rapl", energy_mj=5.0))
    sieve = Sieve(Choice(conditions=(parse_condition("energy<9mJ"), parse_condition("p50<9ms"))))
    rows = [given, make_row("b"), make_row("c", p50_ms=20.0), *make_rows((make_failure("d", "x"), None))]
    assert [row["task"] for row in sieve.sift(rows)] == ["a"]
    assert list(sieve.tell_untold()) == ["1 measurement has no power.energy_mj, and is left out"]


def test_rows_are_sorted_with_the_missing_ones_last() -> None:
    rows = make_rows(
        (make_measurement("a"), 3.0), (make_measurement("b"), None), (make_measurement("c"), 1.0)
    )
    assert [row["task"] for row in sort_rows(rows, parse_sorting(["p50"]))] == ["c", "a", "b"]
    assert [row["task"] for row in sort_rows(rows, parse_sorting(["p50:desc"]))] == ["a", "c", "b"]


def test_real_boards_come_before_emulated_ones_where_a_figure_sorts() -> None:
    names = [f"{row['device']} {row['variant']}" for row in sort_rows(sweep(), parse_sorting(["p50"]))]
    assert names == ["pi4 int8", "pi4 channel-50", "pi4 dense", "x86 int8", "x86 channel-50", "x86 dense"]
    by_name = [row["device"] for row in sort_rows(sweep(), parse_sorting(["variant,device"]))]
    assert by_name == ["pi4", "x86"] * 3


def test_the_first_of_very_many_are_the_first_of_all() -> None:
    rows = [make_row() | {"task": str(number % 97), "batch": number % 97} for number in range(500)]
    first = sort_rows(iter(rows), parse_sorting(["batch:desc"]), 3)
    assert [row["batch"] for row in first] == [96, 96, 96]


@pytest.mark.parametrize("text", ["p50:up", "p50:", "nothing"])
def test_a_sorting_that_is_none_is_refused(text: str) -> None:
    if text == "p50:":
        assert parse_sorting([text])[0].is_falling is False
        return
    with pytest.raises(UsageError):
        parse_sorting([text])


def test_since_takes_dates_moments_and_how_long_ago() -> None:
    now = datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert parse_since("7d", now) == now - timedelta(days=7)
    assert parse_since("90m", now) == now - timedelta(minutes=90)
    assert parse_since("2026-03-01T12:00+00:00") == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert parse_since("2026-03-01").tzinfo is not None


@pytest.mark.parametrize("text", ["", "7", "yesterday", "2026-13-01", "1e9d", "99999999999d"])
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment"):
        parse_since(text)
