"""A profile by operator on terminals of all widths: nothing is wider, and no number is cut."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from host.operators.explaining import explain
from host.report.operators import MOST_LAYERS, print_report
from host.specs.operators import OperatorReport
from tests.test_explaining import cost, operator, report, row, span, variant


def show(made: OperatorReport, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_report(made.model_copy(update={"findings": explain(made)}), console)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def make_pair(label: str = "channel-l2-50+int8", layers: int = 60) -> OperatorReport:
    dense = variant("dense", span(1234.567, 0.1), *(operator("Conv", 12345.6) for _ in range(layers)))
    int8 = variant(
        label,
        span(8.5, 0.1),
        operator("QLinearConv", 98765.4),
        operator("QLinearGlobalAveragePool", 5),
        operator("QuantizeLinear", 3, "quantize"),
    )
    rows = tuple(
        row(
            f"features.{at}.a_very_long_name_of_a_block.conv",
            "grouped 3×3 Conv of 3 channels",
            cost(12345.6, "Conv", "QuickGelu", "ReorderOutput"),
            cost(98765.4 + at, "QuantizeLinear", "QuantizeLinear", "QLinearConv"),
            is_certain=at % 2 == 0,
        )
        for at in range(layers)
    )
    return report(dense, int8, layers=rows)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("label", ["int8", "channel-taylor-iterative-50+int8#a1b2"])
def test_tables_fit_and_numbers_are_whole(width: int, label: str) -> None:
    text = show(make_pair(label), width)
    tables = text.split("What the times show")[0].split("The latency is of")[0]
    assert max(cell_len(line) for line in tables.splitlines()[2:]) <= width
    assert "12,346" in tables
    assert "+86,478" in tables
    assert "1,234.57" in tables


def test_the_largest_changes_come_first_and_the_rest_is_counted() -> None:
    text = show(make_pair(layers=60), 120)
    lines = [line for line in text.splitlines() if line.startswith("features.")]
    assert len(lines) == MOST_LAYERS
    assert f"{MOST_LAYERS} of 60 layers" in text
    assert lines[0].startswith("features.59")


def test_a_change_that_cannot_be_told_is_marked_and_the_mark_is_explained() -> None:
    text = show(make_pair(), 120)
    assert "~+86," in text
    assert "~ within what pieces and tracing differ by" in text


def test_what_runs_is_shown_where_there_is_room() -> None:
    assert "2 Q + QLinearConv" in show(make_pair(), 160)
    assert "what runs" not in show(make_pair(), 80)


def test_one_variant_has_no_change() -> None:
    alone = report(variant("dense", span(1.0), operator("Conv", 700), operator("Gemm", 200)))
    text = show(alone)
    assert "change" not in text
    assert "78 %" in text
    assert "What the times show" not in text


def test_traced_time_is_never_called_the_latency() -> None:
    slow = variant("dense", span(1.0), operator("Conv", 900), traced_ms=span(3.0))
    text = show(report(slow))
    assert "The latency is of inferences without a trace" in text
    assert "takes 3.00× as long" in text
    line = next(line for line in text.splitlines() if line.startswith("dense"))
    assert float(line.split()[1]) == 1


def test_an_emulated_board_is_called_so() -> None:
    text = show(report(variant("dense", span(1.0), operator("Conv", 900)), is_emulated=True))
    assert "pi4 (emulated)" in text
    assert "an emulated device" in text


def test_what_a_board_says_cannot_drive_the_terminal() -> None:
    evil = variant("dense", span(1.0), operator("\x1b[31mConv[bold]", 900))
    text = show(report(evil, board="\x1b]0;title\x07Pi"))
    assert "\x1b" not in text
    assert "[bold]" in text
