"""Scenarios on the host: how a profile or an option asks for one, and what its rounds come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from host.cli.main import run_bench
from host.cli.scenarios import choose_scenario
from host.errors import UsageError
from host.specs.durations import parse_duration
from host.specs.measure import Measure, change_scenario
from tests.test_collect import MEASURED, make_collector, tell, tell_round
from tests.tiny_workspace import make_tiny_workspace


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("90s", 90), ("1h", 3600), ("1h30m", 5400), ("1.5 min", 90), (" 2M ", 120)],
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "m", "30 minutes", "-5m", "5m!", "5d", "1e3s"])
def test_a_time_without_a_unit_or_with_another_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 30m, 90s or 1h30m"):
        parse_duration(text)


def test_a_sustained_loop_is_cut_into_equal_pieces_of_a_minute_at_most() -> None:
    for asked, rounds, round_s in (("30m", 30, 60.0), ("90s", 2, 45.0), ("10s", 2, 5.0), (150, 3, 50.0)):
        measure = Measure.model_validate({"scenario": "sustained", "duration_s": asked})
        assert (measure.rounds, measure.round_s) == (rounds, round_s)
        assert Measure.model_validate(measure.model_dump(mode="json")) == measure


def test_a_camera_wants_each_frame_before_the_next_unless_it_says_otherwise() -> None:
    assert Measure.model_validate({"scenario": "paced", "rate_hz": 25}).deadline_ms == 40.0
    told = {"scenario": "paced", "rate_hz": 25, "deadline_ms": 100}
    assert Measure.model_validate(told).deadline_ms == 100.0


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"scenario": "paced"}, "needs rate_hz"),
        ({"scenario": "sustained"}, "needs duration_s"),
        ({"rate_hz": 30}, "rate_hz belongs to scenario: paced"),
        ({"scenario": "offline", "duration_s": "30m"}, "duration_s belongs to scenario: sustained"),
        ({"scenario": "sustained", "duration_s": "30m", "rounds": 3}, "follow from duration_s"),
        ({"scenario": "sustained", "duration_s": "30"}, "such as 30m"),
        ({"scenario": "sustained", "duration_s": "13h"}, "less than or equal to 43200"),
        ({"scenario": "paced", "rate_hz": 0}, "greater than or equal"),
        ({"scenario": "paced", "rate_hz": "fast"}, "valid number"),
        ({"scenario": "burst"}, "'single-stream', 'offline', 'paced' or 'sustained'"),
    ],
)
def test_what_does_not_make_a_scenario_is_refused_with_what_it_needs(
    told: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        Measure.model_validate(told)


def test_an_option_changes_the_scenario_of_a_profile_and_nothing_else() -> None:
    quick = Measure.model_validate({"preset": "quick", "rounds": 7})
    assert choose_scenario(quick, offline=False, paced=None, sustained=None) == quick
    paced = choose_scenario(quick, offline=False, paced=20.0, sustained=None)
    assert (paced.scenario, paced.rate_hz, paced.deadline_ms) == ("paced", 20.0, 50.0)
    assert (paced.rounds, paced.round_s, paced.cooldown_cap_s) == (7, 0.5, 30.0)
    sustained = choose_scenario(paced, offline=False, paced=None, sustained=120.0)
    assert (sustained.rounds, sustained.round_s, sustained.rate_hz) == (2, 60.0, None)
    assert change_scenario(sustained, "offline").rounds == 3  # as the preset says
    with pytest.raises(UsageError, match="exclude each other"):
        choose_scenario(quick, offline=True, paced=20.0, sustained=None)


PACED = Measure.model_validate({"scenario": "paced", "rate_hz": 10})
SUSTAINED = Measure.model_validate({"scenario": "sustained", "duration_s": "2m"})


def test_deadlines_of_all_rounds_are_counted_together() -> None:
    collector = make_collector()
    collector.measure = PACED
    for number, (due, missed, wakeup_ms) in enumerate(((6, 1, 0.1), (4, 0, None))):
        told = tell_round(number, *[50_000_000] * 4)
        pace = {"due": due, "missed": missed, "wakeup_ms": wakeup_ms}
        collector.take(tell(**{**told.model_dump(exclude={"paced"}), "paced": pace}))
    collected = collector.take(tell("result", status="ok", measurement=MEASURED))
    assert collected is not None
    paced = collected.measurement.paced
    assert paced is not None
    assert (paced.due, paced.done, paced.dropped, paced.missed) == (10, 8, 2, 1)
    assert paced.miss_rate == pytest.approx(0.3)
    assert paced.wakeup_ms == 0.1
    assert paced.throughput_ips == 16.0  # eight batches of four in two seconds
    assert collected.measurement.scenario == "paced"


def test_the_minutes_of_a_loop_are_those_of_its_pieces() -> None:
    collector = make_collector()
    collector.measure = SUSTAINED
    during = {"samples": 9, "temperature_c_max": 61.5, "lowest_mhz": 1400.0}
    states = ({"after": {"temperature_c": 55.0, "freq_mhz": [1500.0, 600.0]}}, {"during": during})
    for number, state in enumerate(states):
        fields = tell_round(number, *[50_000_000] * 20).model_dump()
        fields.update(inferences=1000 - 200 * number, sum_s=50.0, seconds=60.0, environment=state)
        collector.take(tell(**fields))
    collected = collector.take(tell("result", status="ok", measurement=MEASURED))
    assert collected is not None
    sustained = collected.measurement.sustained
    assert sustained is not None
    assert [one.inferences for one in sustained.minutes] == [1000, 800]
    assert [one.temperature_c for one in sustained.minutes] == [55.0, 61.5]
    assert [one.freq_mhz for one in sustained.minutes] == [1500.0, 1400.0]
    assert [one.p50_ms for one in sustained.minutes] == [50.0, 50.0]
    assert sustained.ratio == pytest.approx(0.8)
    assert sustained.first_ips == pytest.approx(4000 / 60)
    assert sustained.throughput_ips == pytest.approx(1800 * 4 / 120)


@pytest.mark.parametrize("provider", ["GPU", "CUDAExecutionProvider", "TensorrtExecutionProvider"])
def test_the_clock_of_a_minute_is_that_of_the_gpu_where_one_computes(provider: str) -> None:
    collector = make_collector()
    collector.measure = SUSTAINED
    after = {"freq_mhz": [1500.0]}
    for number, gpu_mhz in enumerate((918.0, None)):
        fields = tell_round(number, *[50_000_000] * 20).model_dump()
        during = {"samples": 9, "lowest_mhz": 1400.0, "gpu_mhz": gpu_mhz}
        fields.update(inferences=1000, sum_s=50.0, seconds=60.0)
        fields.update(environment={"during": during, "after": after})
        collector.take(tell(**fields))
    collected = collector.take(tell("result", status="ok", measurement={**MEASURED, "provider": provider}))
    assert collected is not None
    assert collected.measurement.sustained is not None
    # A GPU that does not tell its clock has none: that of the processor is another thing.
    assert [one.freq_mhz for one in collected.measurement.sustained.minutes] == [918.0, None]


def test_a_loop_that_was_not_finished_has_no_ratio() -> None:
    collector = make_collector()
    collector.measure = SUSTAINED
    collector.take(tell_round(0, 50))
    failure = {"kind": "crash", "message": "SIGSEGV"}
    collected = collector.take(tell("result", status="failed", error=failure))
    assert collected is not None
    assert (collected.measurement.scenario, collected.measurement.sustained) == ("sustained", None)


def test_a_sweep_says_how_long_its_loops_last_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_tiny_workspace(tmp_path))
    words = ["sweep", "--profile", "tiny", "--dry-run", "--format", "json"]
    assert run_bench(words) == 0
    plain = json.loads(capsys.readouterr().out)["devices"][0]
    assert run_bench([*words, "--sustained", "30m"]) == 0
    loops = json.loads(capsys.readouterr().out)["devices"][0]
    assert loops["seconds"] >= loops["tasks"] * 1800 > plain["seconds"]


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "--profile", "tiny", "--sustained", "30"],
        ["sweep", "--profile", "tiny", "--sustained", "20h"],
        ["sweep", "--profile", "tiny", "--paced", "0"],
        ["sweep", "--profile", "tiny", "--paced", "30", "--offline"],
        ["sweep", "--resume", "r1", "--offline"],
        ["run", "net.onnx", "--device", "pi4", "--sustained", "soon"],
    ],
)
def test_options_that_make_no_scenario_are_wrong_usage(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_tiny_workspace(tmp_path))
    assert run_bench(words) == 2
    assert capsys.readouterr().err
