"""Ranking: the fastest within the limits, every reason for the others, and no false certainty."""

from __future__ import annotations

import pytest

from host.ledger.ranking import find_reasons, pick_winners
from host.report.winners import describe_winner
from host.specs.measurement import Memory
from host.specs.profile import Limits
from tests.made_results import make_failure, make_measurement, make_row, make_rows, make_sweep, make_unfit


def test_the_fastest_wins_where_nothing_limits() -> None:
    (winner,) = pick_winners(make_rows(*make_sweep()))
    assert winner.fastest is not None
    assert winner.fastest.variant == "int8"
    assert [item.variant for item in winner.slower] == ["channel-50", "dense"]
    assert winner.rivals == ()


def test_what_breaks_a_limit_falls_with_its_reason() -> None:
    (winner,) = pick_winners(make_rows(*make_sweep()), Limits(min_accuracy=0.979))
    assert winner.fastest is not None
    assert winner.fastest.variant == "dense"
    reasons = {item.candidate.variant: item.reasons for item in winner.fallen}
    assert reasons["int8"] == ("accuracy on the device 97.8 % is below 97.9 %",)


def test_accuracy_on_the_host_stands_in_where_the_device_measured_none() -> None:
    row = make_row(accuracy_device=None, accuracy_host=0.5)
    assert find_reasons(row, Limits(min_accuracy=0.9)) == ["accuracy on the host 50 % is below 90 %"]


def test_every_broken_limit_is_told() -> None:
    row = make_row(p50_ms=50.0, file_bytes=10 * 2**20, memory_mb=Memory(peak=100.0))
    limits = Limits(min_accuracy=0.99, max_latency_ms=10, max_peak_memory_mb=64, max_file_mb=5)
    reasons = find_reasons(row, limits)
    assert [reason.split(" is above ")[1] for reason in reasons[1:]] == ["10 ms", "64 MiB", "5 MiB"]


def test_what_a_limit_needs_and_was_not_measured_is_a_reason() -> None:
    row = make_row(memory_mb=Memory(), accuracy_host=None, accuracy_device=None)
    limits = Limits(min_accuracy=0.9, max_peak_memory_mb=64)
    assert find_reasons(row, limits) == [
        "accuracy on the host was not measured",
        "peak memory was not measured",
    ]
    assert find_reasons(row, Limits()) == []


def test_a_failed_row_never_wins() -> None:
    rows = make_rows((make_failure("a", "killed"), 0.1), (make_measurement("b", variant="other"), 5.0))
    (winner,) = pick_winners(rows)
    assert winner.fastest is not None
    assert winner.fastest.variant == "other"
    assert winner.fallen[0].reasons == ("failed (memory)",)


def test_an_unfit_row_never_wins_whatever_the_limits_are() -> None:
    rows = make_rows((make_unfit("a"), None), (make_measurement("b", variant="other"), 5.0))
    for limits in (None, Limits(min_accuracy=0.5)):
        (winner,) = pick_winners(rows, limits)
        assert winner.fastest is not None
        assert winner.fastest.variant == "other"
        assert winner.fallen[0].reasons == ("not measured: 83.1 % on the host is below min_accuracy 90 %",)
    told = describe_winner(winner)
    assert told[1] == ("  ruled out: channel-70: not measured: 83.1 % on the host is below min_accuracy 90 %")


def test_too_few_samples_cannot_win() -> None:
    row = make_row()
    row["latency_ms"] = row["latency_ms"] | {"p50": None, "n": 7}
    assert find_reasons(row, Limits()) == ["p50 is not supported by 7 samples"]


@pytest.mark.parametrize("interval", [[1.9, 2.6], None])
def test_overlapping_or_unknown_intervals_make_rivals(interval: list[float] | None) -> None:
    rows = make_rows(*make_sweep())
    rows[2]["latency_ms"]["p50_ci"] = [1.9, 2.6]
    rows[1]["latency_ms"]["p50_ci"] = interval
    (winner,) = pick_winners(rows)
    assert [item.variant for item in winner.rivals] == ["channel-50"]
    assert any("not clearly faster than channel-50" in line for line in describe_winner(winner))


def test_devices_models_and_batches_are_ranked_apart() -> None:
    rows = make_rows(
        *make_sweep("pi4"),
        *make_sweep("x86", is_emulated=True, slowdown=0.1),
        *make_sweep("pi4", batch=8),
        *make_sweep("pi4", model="other"),
    )
    found = [(winner.device, winner.is_emulated, winner.model, winner.batch) for winner in pick_winners(rows)]
    assert found == [
        ("pi4", False, "net", 1),
        ("x86", True, "net", 1),
        ("pi4", False, "net", 8),
        ("pi4", False, "other", 1),
    ]


def test_nobody_wins_where_nothing_keeps_the_limits() -> None:
    (winner,) = pick_winners(make_rows(*make_sweep()), Limits(max_latency_ms=0.001))
    assert winner.fastest is None
    assert len(winner.fallen) == 3
    assert describe_winner(winner)[0] == "pi4, net: nothing keeps the limits"


def test_a_winner_is_told_with_its_figures_flags_and_settings() -> None:
    changes = {"variant": "int8", "flags": ("drift",)}
    rows = make_rows(
        (make_measurement("a", is_baseline=True, threads=1), 5.0),
        (make_measurement("b", threads=1, **changes), 2.0),
        (make_measurement("c", threads=4, **changes), 1.0),
    )
    first = describe_winner(pick_winners(rows)[0])[0]
    assert "int8 (onnxruntime CPUExecutionProvider, threads 4)" in first
    assert "flagged drift" in first
    assert "accuracy 98.0 %" in first
