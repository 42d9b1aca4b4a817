"""What a sweep says of its winner: the same ranking as the report's, within the limits of its profile."""

from __future__ import annotations

from typing import Any

import pytest

from host.ledger.ranking import PLACE, find_places
from host.ledger.recommending import Ranking, rank_rows
from host.ledger.rows import Row
from host.ledger.wishes import describe_wishes
from host.report.winners import describe_winner
from host.specs.measurement import Memory
from host.specs.profile import Limits
from tests.made_results import make_failure, make_measurement, make_row, make_rows, make_sweep, make_unfit


def rank(rows: list[Row], limits: Limits | None = None) -> Ranking:
    (ranking,) = rank_rows(rows, describe_wishes(limits))
    return ranking


def tell_reasons(row: Row, **limits: Any) -> list[str]:
    return [miss.text for item in rank([row], Limits(**limits)).fallen for miss in item.misses]


def test_the_fastest_wins_where_nothing_limits() -> None:
    ranking = rank(make_rows(*make_sweep()))
    assert ranking.winner is not None
    assert ranking.winner.variant == "int8"
    assert [item.variant for item in ranking.others] == ["channel-50", "dense"]
    assert ranking.rivals == ()


def test_what_breaks_a_limit_falls_with_its_reason() -> None:
    ranking = rank(make_rows(*make_sweep()), Limits(min_accuracy=0.979))
    assert ranking.winner is not None
    assert ranking.winner.variant == "dense"
    reasons = {item.choice.variant: [miss.text for miss in item.misses] for item in ranking.fallen}
    assert reasons["int8"] == ["accuracy on the device 97.8 % is below 97.9 %"]


def test_accuracy_on_the_host_stands_in_where_the_device_measured_none() -> None:
    row = make_row(accuracy_device=None, accuracy_host=0.5)
    assert tell_reasons(row, min_accuracy=0.9) == ["accuracy on the host 50 % is below 90 %"]


def test_every_broken_limit_is_told() -> None:
    row = make_row(p50_ms=50.0, file_bytes=10 * 2**20, memory_mb=Memory(peak=100.0))
    reasons = tell_reasons(row, min_accuracy=0.99, max_latency_ms=10, max_peak_memory_mb=64, max_file_mb=5)
    found = {reason.split(" is ")[1] for reason in reasons}
    assert found == {"below 99 %", "above 10 ms", "above 64 MiB", "above 5 MiB"}


def test_what_a_limit_needs_and_was_not_measured_is_a_reason() -> None:
    row = make_row(memory_mb=Memory(), accuracy_host=None, accuracy_device=None)
    assert tell_reasons(row, min_accuracy=0.9, max_peak_memory_mb=64) == [
        "accuracy on the host was not measured",
        "peak memory was not measured",
    ]
    assert tell_reasons(row) == []


def test_no_accuracy_at_all_keeps_a_floor_of_zero() -> None:
    assert tell_reasons(make_row(accuracy_host=None, accuracy_device=None), min_accuracy=0) == []


def test_of_two_that_are_equally_fast_the_smaller_one_wins() -> None:
    rows = make_rows(
        (make_measurement("a", variant="large", variant_id="l", file_bytes=9_000_000), 5.0),
        (make_measurement("b", variant="small", variant_id="s", file_bytes=2_000_000), 5.0),
    )
    ranking = rank(rows)
    assert "net: small is the fastest" in describe_winner(ranking, rows)[0]
    assert describe_winner(ranking, rows)[1].startswith("  not clearly faster than large")


def test_a_failed_row_never_wins() -> None:
    rows = make_rows((make_failure("a", "killed"), 0.1), (make_measurement("b", variant="other"), 5.0))
    ranking = rank(rows)
    assert ranking.winner is not None
    assert ranking.winner.variant == "other"
    assert describe_winner(ranking, rows)[1] == "  ruled out: dense: failed (memory): killed"


def test_an_unfit_row_never_wins_whatever_the_limits_are() -> None:
    rows = make_rows((make_unfit("a"), None), (make_measurement("b", variant="other"), 5.0))
    for limits in (None, Limits(min_accuracy=0.5)):
        ranking = rank(rows, limits)
        assert ranking.winner is not None
        assert ranking.winner.variant == "other"
        told = describe_winner(ranking, rows)
        assert told[1] == (
            "  ruled out: channel-70: not measured: 83.1 % on the host is below min_accuracy 90 %"
        )


def test_too_few_samples_cannot_win() -> None:
    row = make_row()
    row["latency_ms"] = row["latency_ms"] | {"p50": None, "n": 7}
    assert tell_reasons(row) == ["p50 is not supported by 7 samples, and it is what is minimized"]


@pytest.mark.parametrize("interval", [[1.9, 2.6], None])
def test_overlapping_or_unknown_intervals_make_rivals(interval: list[float] | None) -> None:
    rows = make_rows(*make_sweep())
    rows[2]["latency_ms"]["p50_ci"] = [1.9, 2.6]
    rows[1]["latency_ms"]["p50_ci"] = interval
    ranking = rank(rows)
    assert [item.variant for item in ranking.rivals] == ["channel-50"]
    assert any("not clearly faster than channel-50" in line for line in describe_winner(ranking, rows))


def test_devices_models_and_batches_are_ranked_apart() -> None:
    rows = make_rows(
        *make_sweep("pi4"),
        *make_sweep("x86", is_emulated=True, slowdown=0.1),
        *make_sweep("pi4", batch=8),
        *make_sweep("pi4", model="other"),
    )
    rankings = rank_rows(rows, describe_wishes(None))
    assert [(one.device, one.is_emulated, one.model, one.batch) for one in rankings] == [
        ("pi4", False, "net", 1),
        ("x86", True, "net", 1),
        ("pi4", False, "net", 8),
        ("pi4", False, "other", 1),
    ]


def test_what_no_board_was_asked_for_is_ranked_beside_what_was() -> None:
    rows = make_rows((make_unfit("a"), None), (make_measurement("b", scenario="paced"), 5.0))
    assert find_places(rows) == [("pi4", False, "net", 1, "paced")] * 2
    assert find_places(rows, ("run", *PLACE))[0][:2] == ("r1", "pi4")


def test_nobody_wins_where_nothing_keeps_the_limits() -> None:
    rows = make_rows(*make_sweep())
    ranking = rank(rows, Limits(max_latency_ms=0.001))
    assert ranking.winner is None
    assert len(ranking.fallen) == 3
    assert describe_winner(ranking, rows)[0] == "pi4, net: nothing keeps the limits"


def test_a_winner_is_told_with_its_figures_flags_and_settings() -> None:
    changes = {"variant": "int8", "flags": ("drift",)}
    rows = make_rows(
        (make_measurement("a", is_baseline=True, threads=1), 5.0),
        (make_measurement("b", threads=1, **changes), 2.0),
        (make_measurement("c", threads=4, **changes), 1.0),
    )
    first = describe_winner(rank(rows), rows)[0]
    assert "int8 (onnxruntime CPUExecutionProvider, 4 threads) is the fastest" in first
    assert "flagged drift" in first
    assert "accuracy 98.0 %" in first
    speeds = describe_winner(rank(rows[:2]), rows[:2])[0]
    assert "2.50× as fast as dense" in speeds
