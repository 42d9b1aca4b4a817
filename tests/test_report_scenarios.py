"""Scenarios in a comparison: their own columns, and a sustained loop as a line over time."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from host.ledger.recommending import rank_rows
from host.ledger.records import Entry
from host.ledger.rows import Row, join_rows
from host.ledger.statistics import summarize_latency
from host.ledger.wishes import Wishes
from host.report.markdown import write_markdown
from host.report.scenarios import draw_line
from host.report.table import print_results
from tests.made_results import (
    PACED,
    make_measurement,
    make_rounds,
    make_row,
    make_rows,
    make_sustained,
    make_sweep,
    make_unfit,
)


def show(rows: list[Row]) -> str:
    stream = io.StringIO()
    print_results(rows, Console(file=stream, width=200))
    return stream.getvalue()


def test_a_plain_table_says_nothing_of_scenarios() -> None:
    told = show(make_rows(*make_sweep(scenario="single-stream")))
    assert told == show(make_rows(*make_sweep()))
    for word in ("images/s", "missed", "last/first", "single-stream"):
        assert word not in told


def test_throughput_is_shown_where_it_is_what_counts() -> None:
    told = show(make_rows(*make_sweep(scenario="offline", batch=8)))
    assert "images/s" in told
    assert "offline" in told
    assert "1,600" in told  # eight images in the 5 ms of the dense one


def test_missed_deadlines_are_a_column_and_explained() -> None:
    told = show([make_row(scenario="paced", paced=PACED)])
    assert "missed %" in told
    assert " 5.0 " in told
    assert "missed: of inferences due 30 times a second, those complete more than 33.3 ms" in told


def test_minutes_are_a_line_below_the_table_in_every_form_for_people() -> None:
    rows = [make_row(scenario="sustained", sustained=make_sustained(40.0, 30.0, 10.0))]
    line = "pi4: dense: █▆▃, 40.0 → 10.0 images/s over 3 min, 45.0 → 55.0 °C, 1,500 → 375 MHz"
    told = show(rows)
    assert line in told
    assert "last/first %" in told
    assert " 25.0 " in told
    stream = io.StringIO()
    write_markdown(rows, stream)
    assert line in stream.getvalue()


def test_what_a_board_does_not_tell_is_left_out_of_its_line() -> None:
    sustained = make_sustained(40.0, 40.0, first_c=None, first_mhz=None)
    told = show([make_row(scenario="sustained", sustained=sustained)])
    assert "pi4: dense: ██, 40.0 → 40.0 images/s over 2 min\n" in told


def test_hours_fit_on_a_line() -> None:
    assert len(draw_line([1.0] * 720)) <= 60
    assert draw_line([1.0] * 720) == "█" * 60


def test_throughput_is_what_the_scenario_counted_and_not_what_its_samples_take() -> None:
    assert make_row(p50_ms=5.0)["throughput_ips"] == pytest.approx(200, rel=0.02)
    assert make_row(p50_ms=5.0, scenario="paced", paced=PACED)["throughput_ips"] == 29.3
    sustained = make_sustained(10.0, 8.0)
    assert make_row(p50_ms=5.0, scenario="sustained", sustained=sustained)["throughput_ips"] == 9.0


def test_a_ledger_from_before_there_were_scenarios_reads_as_single_stream() -> None:
    held = make_measurement().as_json()
    for key in ("scenario", "paced", "sustained"):
        del held[key]
    (row,) = join_rows([Entry(held, summarize_latency(make_rounds()).model_dump(mode="json"))])
    assert (row["scenario"], row["paced"], row["sustained"]) == ("single-stream", None, None)


def test_rows_of_two_scenarios_are_neither_compared_nor_ranked_together() -> None:
    dense = make_measurement("a", is_baseline=True, scenario="single-stream")
    other = make_measurement("b", variant="int8", variant_id="id-int8", scenario="paced", paced=PACED)
    unfit = make_unfit("c")
    rows = make_rows((dense, 5.0), (other, 2.0), (unfit, None))
    assert rows[1]["speedup"] is None
    rankings = rank_rows(rows, Wishes())
    assert [one.winner.variant for one in rankings if one.winner] == ["dense", "int8"]
    assert [len(one.fallen) for one in rankings] == [1, 0]
    assert "scenario" in show(rows)  # a column tells them apart
