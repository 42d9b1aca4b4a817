"""Chosen columns, groups and pivots: in every format, at every width, with nothing lost or cut in silence."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from rich.console import Console

from host.errors import UsageError
from host.ledger.naming import find_field
from host.ledger.rows import Row
from host.report.exporting import write_rows
from host.report.grid import Grid
from host.report.pivot import Pivot, make_pivot
from host.report.table import print_results
from host.report.table_grid import print_grid
from host.report.view import View, make_grid, parse_view, to_json
from tests.made_results import make_failure, make_measurement, make_row, make_rows, make_sweep, make_unfit

WIDTHS = (40, 60, 80, 120)


def sweep() -> list[Row]:
    return make_rows(
        *make_sweep("pi4"),
        *make_sweep("orin", 0.5, flags=("busy",)),
        *make_sweep("x86", 0.1, is_emulated=True, flags=("emulated",), board="Linux x86_64"),
    )


def view(
    columns: str = "", group: str | None = None, pivot: str | None = None, axes: str | None = None
) -> View:
    return parse_view([columns] if columns else [], group, pivot, axes)


def show(grid: Grid, width: int = 120) -> str:
    stream = io.StringIO()
    print_grid(grid, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def written(rows: list[Row], form: str, shown: View, tmp_path: Path) -> str:
    file = tmp_path / f"out.{form}"
    write_rows(rows, form, file, shown)
    return file.read_text()


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_pivot_has_variants_down_and_devices_across() -> None:
    lines = show(make_pivot(sweep(), Pivot(find_field("latency")))).splitlines()
    (heading,) = [line for line in lines if "pi4" in line and "orin" in line and "(emulated)" in line]
    assert heading.index("pi4") < heading.index("orin") < heading.index("x86 (emulated)")
    (int8,) = [line for line in lines if line.startswith("int8")]
    assert int8.split() == ["int8", "2.00*", "1.00!*", "0.200*"]


def test_a_flagged_figure_is_marked_and_the_flag_explained() -> None:
    text = show(make_pivot(sweep(), Pivot(find_field("p50"))))
    assert "! int8, orin: busy" in text
    assert "busy: other processes took CPU time" in text
    assert "emulated: an emulated device" in text


def test_what_differs_besides_stands_in_a_column_so_that_no_two_share_a_place() -> None:
    rows = make_rows(*make_sweep(threads=1), *make_sweep(threads=4, slowdown=0.3))
    told = to_json(rows, view(pivot="p50"))
    assert [(line["variant"], line["threads"]) for line in told["lines"]] == [
        (name, threads) for threads in (1, 4) for name in ("dense", "channel-50", "int8")
    ]
    assert all(set(line["values"]) == {"pi4"} for line in told["lines"])


def test_rows_that_differ_in_nothing_are_all_there() -> None:
    rows = make_rows((make_measurement("a"), 5.0), (make_measurement("b"), 6.0))
    values = [line["values"]["pi4"] for line in to_json(rows, view(pivot="p50"))["lines"]]
    assert values == [row["latency_ms"]["p50"] for row in rows]


def test_axes_may_be_others() -> None:
    rows = make_rows(*make_sweep(threads=4), *make_sweep(threads=1))
    told = to_json(rows, view(pivot="p50", axes="variant,threads"))
    assert told["headings"] == ["1", "4"]
    assert [line["variant"] for line in told["lines"]] == ["dense", "channel-50", "int8"]
    assert to_json(rows, view(pivot="p50", axes="device×variant"))["headings"] == [
        "dense",
        "channel-50",
        "int8",
    ]


def test_the_best_is_never_of_an_emulated_board_beside_a_real_one() -> None:
    rows = make_rows(*make_sweep("pi4"), *make_sweep("x86", 0.1, is_emulated=True))
    grid = make_pivot(rows, Pivot(find_field("p50"), columns=find_field("precision")))
    marked = [cell.text for column in grid.right for cell in column.column.cells if cell.is_best]
    assert marked == ["2.001", "0.200"]
    assert "x86 (emulated)" in show(grid)


def test_a_failure_shows_in_its_place_and_is_null_for_programs() -> None:
    rows = make_rows(
        *make_sweep(), (make_failure("f", "no memory", variant="big", variant_id="id-big"), None)
    )
    rows += make_rows((make_unfit("u"), None))
    text = show(make_grid(rows, view(pivot="p50")))
    assert any(line.split() == ["big", "failed"] for line in text.splitlines())
    assert "1 failed: `bench results --status failed` tells why" in text
    told = to_json(rows, view(pivot="p50"))["lines"][3]
    assert (told["values"], told["status"]) == ({"pi4": None}, {"pi4": "failed"})


@pytest.mark.parametrize("width", WIDTHS)
def test_a_pivot_of_many_devices_goes_on_in_blocks_with_every_number_whole(width: int) -> None:
    names = [f"device-{number}" for number in range(9)]
    rows = make_rows(*(told for name in names for told in make_sweep(name, 1 + len(name) / 7)))
    text = show(make_grid(rows, view(pivot="p50")), width)
    assert all(
        cell_len(line) <= width for line in text.split("\n\n", 1)[1].splitlines() if line[:1].isalnum()
    )
    assert all(name in text for name in names)
    assert text.count("channel-50") >= (3 if width == 40 else 1)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_comparison_says_what_a_narrow_terminal_leaves_out(width: int) -> None:
    stream = io.StringIO()
    rows = make_rows(*make_sweep("pi4"), *make_sweep("raspberry-pi-in-the-kitchen", 2.0))
    print_results(rows, Console(file=stream, width=width, color_system=None))
    text = stream.getvalue()
    assert ("Left out for want of width" in text) is ("MACs" not in text.split("Left out")[0])
    for number in ("5.00", "2.50", "2.00", "10.0", "4.00"):
        assert number in text
    assert "raspberry-pi-in-the-kitchen" in text


def test_chosen_columns_are_a_line_for_each_measurement_with_flags_where_there_are_any() -> None:
    text = show(make_grid(sweep(), view("device,variant,p50,accuracy,size")))
    (heading,) = [line for line in text.splitlines() if "p50 ms" in line]
    assert heading.split() == ["device", "variant", "p50", "ms", "accuracy", "%", "file", "MiB", "flags"]
    assert "x86 (emulated)" in text
    assert "flags" not in show(make_grid(sweep(), view("device,variant,params")))


def test_chosen_columns_are_exactly_those_for_programs(tmp_path: Path) -> None:
    shown = view("variant,p50,flags,environment.before.governor")
    told = json.loads(written(sweep(), "json", shown, tmp_path))
    assert list(told[0]) == ["variant", "latency_ms.p50", "flags", "environment.before.governor"]
    assert told[3]["flags"] == ["busy"]
    (line, *_) = read_csv(written(sweep(), "csv", shown, tmp_path))
    assert line["flags"] == "[]"
    assert line["environment.before.governor"] == "performance"


@pytest.mark.parametrize("width", [40, 60])
def test_long_names_end_in_an_ellipsis_and_numbers_stay_whole(width: int) -> None:
    row = make_row(variant="channel-" * 20)
    text = show(make_grid([row], view("variant,device,p50,file_bytes,params,board")), width)
    assert "…" in text
    assert "5.00" in text
    assert "2.24 M" in text


def test_groups_have_headings_and_explanations_once(tmp_path: Path) -> None:
    text = written(sweep(), "table", view(group="device"), tmp_path)
    assert [line for line in text.splitlines() if line.startswith("device: ")] == [
        "device: pi4 · 3 measurements",
        "device: orin · 3 measurements",
        "device: x86 · 3 measurements",
    ]
    assert text.count("busy: other processes") == 1
    assert written(sweep(), "markdown", view(group="device"), tmp_path).count("\n## device: ") == 2


def test_groups_of_each_view_in_json(tmp_path: Path) -> None:
    plain = json.loads(written(sweep(), "json", view(group="runtime"), tmp_path))
    assert [(held["group"], len(held["rows"])) for held in plain] == [({"runtime": "onnxruntime"}, 9)]
    chosen = json.loads(written(sweep(), "json", view("variant", "device"), tmp_path))
    assert chosen[1] == {
        "group": {"device": "orin"},
        "rows": [{"variant": name} for name in ("dense", "channel-50", "int8")],
    }
    pivoted = json.loads(written(sweep(), "json", view(group="precision", pivot="p50"), tmp_path))
    assert pivoted[0]["group"] == {"precision": "fp32"}
    assert pivoted[0]["headings"] == ["pi4", "orin", "x86"]


def test_a_pivot_in_csv_and_parquet_has_a_column_for_each_device_and_for_flags(tmp_path: Path) -> None:
    shown = view(pivot="p50")
    lines = read_csv(written(sweep(), "csv", shown, tmp_path))
    assert list(lines[0]) == ["variant", "pi4", "orin", "orin.flags", "x86"]
    assert float(lines[2]["pi4"]) == sweep()[2]["latency_ms"]["p50"]
    assert lines[2]["orin.flags"] == "busy"
    write_rows(sweep(), "parquet", tmp_path / "out.parquet", shown)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["variant", "pi4", "orin", "orin.flags", "x86"]
    assert str(table.schema.field("pi4").type) == "double"


def test_a_device_that_is_called_like_a_column_keeps_its_own(tmp_path: Path) -> None:
    rows = make_rows(*make_sweep("variant"))
    assert list(read_csv(written(rows, "csv", view(pivot="p50"), tmp_path))[0]) == [
        "variant",
        "device=variant",
    ]


def test_a_grouped_pivot_is_one_table_for_programs(tmp_path: Path) -> None:
    rows = make_rows(*make_sweep(runtime="onnxruntime"), *make_sweep(runtime="ncnn", provider="CPU"))
    lines = read_csv(written(rows, "csv", view(pivot="p50", group="runtime"), tmp_path))
    assert [line["runtime"] for line in lines] == ["onnxruntime"] * 3 + ["ncnn"] * 3


def test_markdown_of_a_pivot_is_one_table(tmp_path: Path) -> None:
    text = written(sweep(), "markdown", view(pivot="accuracy"), tmp_path)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert "**98.0**\\*" in table[2]


def test_hostile_names_stay_text_in_every_view(tmp_path: Path) -> None:
    hostile = "[red]=cmd|'/c calc'!A1\x1b[31m"
    rows = [make_row(device="d", variant=hostile, environment={hostile: {"x": hostile}})]
    for shown in (
        view(pivot="p50"),
        view("variant,p50"),
        view(group="variant"),
        view(pivot="p50", axes="device,variant"),
    ):
        for form in ("table", "csv", "markdown", "json"):
            text = written(rows, form, shown, tmp_path)
            assert "\x1b" not in text
            assert "[red]" in text or "\\[red" in text


@pytest.mark.parametrize(
    "words",
    [
        (["p50"], None, "p50", None),
        ([], None, None, "variant,device"),
        ([], None, "p50", "variant"),
        ([], None, "p50", "variant,variant"),
        ([], None, "p50", ","),
        ([], None, "nothing", None),
        (["nothing"], None, None, None),
        ([], "nothing", None, None),
    ],
)
def test_what_does_not_go_together_is_refused(words: Any) -> None:
    with pytest.raises(UsageError):
        parse_view(*words)


def test_an_empty_result_is_empty_in_every_view(tmp_path: Path) -> None:
    for shown in (View(), view("variant"), view(pivot="p50"), view(group="device")):
        assert "No measurements yet." in written([], "table", shown, tmp_path)
        assert len(written([], "csv", shown, tmp_path).splitlines()) == 1
    assert json.loads(written([], "json", view("variant"), tmp_path)) == []
    assert json.loads(written([], "json", view(pivot="p50"), tmp_path))["lines"] == []
