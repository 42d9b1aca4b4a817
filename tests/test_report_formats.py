"""The formats for programs: read back by each format's own reader, with hostile text kept harmless."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from host.errors import UsageError
from host.ledger.flat import FIELDS
from host.ledger.rows import Row
from host.report.csv import write_csv
from host.report.exporting import FORMATS, open_console, write_rows
from host.report.json import write_json
from host.report.markdown import write_markdown
from host.report.parquet import write_parquet
from tests.made_report import make_power
from tests.made_results import (
    PACED,
    make_failure,
    make_measurement,
    make_row,
    make_rows,
    make_sustained,
    make_sweep,
    make_unfit,
)

HOSTILE = '=cmd|"/c calc"!A1\n| a | **b** | <script> [x](http://e) \x1b[31m'


def hostile_rows() -> list[Row]:
    return make_rows((make_failure("a", HOSTILE, variant="=1+1", flags=("drift", "busy")), None))


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def written(write: object, rows: list[Row]) -> str:
    stream = io.StringIO(newline="")
    write(rows, stream)  # type: ignore[operator]
    return stream.getvalue()


def test_json_gives_back_the_rows() -> None:
    rows = make_rows(*make_sweep()) + hostile_rows()
    text = written(write_json, rows)
    assert json.loads(text) == rows
    assert len(text.splitlines()) == len(rows) + 2
    assert json.loads(written(write_json, [])) == []


def test_every_value_of_a_row_but_the_course_of_power_has_a_column() -> None:
    filled = make_row(scenario="paced", paced=PACED, sustained=make_sustained(10.0, 9.0))
    row = hostile_rows()[0] | {key: filled[key] for key in ("latency_ms", "paced", "sustained")}
    wrapped = {field.path for field in FIELDS if field.kind == "json"}
    course = ("power", "course")
    assert {field.path for field in FIELDS} == set(walk(row, (), wrapped | {course})) - {course}


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "parquet", "json"])
def test_the_course_of_power_is_told_in_json_alone(form: str, tmp_path: Path) -> None:
    rows = make_rows((make_measurement(power=make_power(5.0, points=200)), 5.0))
    file = tmp_path / f"rows.{form}"
    write_rows(rows, form, file)
    if form == "json":
        (told,) = json.loads(file.read_text())
        assert [len(window["points"]) for window in told["power"]["course"]] == [200] * 3
    else:
        names = pq.read_table(file).column_names if form == "parquet" else file.read_text()
        assert "course" not in names
        assert file.stat().st_size < 100_000


def walk(
    value: object, path: tuple[str | int, ...], whole: set[tuple[str | int, ...]]
) -> list[tuple[str | int, ...]]:
    if path in whole or not isinstance(value, dict | list):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, inner in items for found in walk(inner, (*path, key), whole)]


def test_csv_follows_rfc_4180_and_keeps_numbers() -> None:
    rows = make_rows(*make_sweep())
    text = written(write_csv, rows)
    assert text.count("\r\n") == 4
    found = read_csv(text)
    assert float(found[1]["speedup"]) == rows[1]["speedup"]
    assert float(found[1]["accuracy_change"]) == -1.0
    assert found[0]["latency_ms.p999"] == ""
    assert found[0]["is_baseline"] == "true"
    assert float(found[0]["latency_ms.p50_ci_low"]) == rows[0]["latency_ms"]["p50_ci"][0]
    assert json.loads(found[0]["environment"]) == rows[0]["environment"]


def test_csv_text_is_never_a_formula_or_an_escape() -> None:
    (found,) = read_csv(written(write_csv, hostile_rows()))
    assert found["variant"] == "'=1+1"
    assert found["error.message"].startswith('\'=cmd|"/c calc"!A1\n|')
    assert "\x1b" not in found["error.message"]
    assert json.loads(found["flags"]) == ["drift", "busy"]


def test_markdown_has_a_table_for_each_device_with_equal_columns() -> None:
    text = written(write_markdown, make_rows(*make_sweep("pi4"), *make_sweep("x86_64", is_emulated=True)))
    assert "### pi4\n" in text
    assert "### x86_64 (emulated)\n" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 * (2 + 3)
    assert "**2.50×**\\*" in text


def test_markdown_shows_hostile_text_as_text() -> None:
    text = written(write_markdown, hostile_rows())
    (line,) = [line for line in text.splitlines() if "calc" in line]
    assert "\\| a \\| \\*\\*b\\*\\* \\| \\<script\\> \\[x\\](http://e)" in line
    assert "\x1b" not in text


def test_an_unfit_variant_is_a_row_of_every_format() -> None:
    rows = make_rows(*make_sweep(), (make_unfit("u"), None))
    (found,) = [row for row in read_csv(written(write_csv, rows)) if row["status"] == "unfit"]
    assert (found["error.kind"], found["latency_ms.p50"], found["accuracy_host"]) == ("unfit", "", "0.831")
    assert json.loads(written(write_json, rows))[3]["status"] == "unfit"
    text = written(write_markdown, rows)
    assert "1 unfit, not measured:\n\n- channel-70: 83.1 % on the host" in text
    assert "failed" not in text


def test_sizes_have_columns_in_every_format(tmp_path: Path) -> None:
    rows = [make_row(gzip_bytes=7, packed_bytes=5), make_row()]
    assert [row["packed_bytes"] for row in read_csv(written(write_csv, rows))] == ["5", ""]
    write_parquet(rows, tmp_path / "sizes.parquet")
    assert pq.read_table(tmp_path / "sizes.parquet")["gzip_bytes"].to_pylist() == [7, None]
    assert "| packed MiB |" in written(write_markdown, rows)


def test_parquet_keeps_types_also_in_columns_that_hold_nothing(tmp_path: Path) -> None:
    rows = make_rows(*make_sweep())
    write_parquet(rows, tmp_path / "full.parquet")
    write_parquet(hostile_rows(), tmp_path / "hostile.parquet")
    write_parquet([], tmp_path / "empty.parquet")
    full, hostile, empty = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("full", "hostile", "empty")
    )
    assert full.schema == hostile.schema == empty.schema
    assert full["latency_ms.p50"].to_pylist() == [row["latency_ms"]["p50"] for row in rows]
    assert full["latency_ms.p999"].to_pylist() == [None, None, None]
    assert hostile["error.message"].to_pylist() == [HOSTILE]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_to_a_file(form: str, tmp_path: Path) -> None:
    file = tmp_path / f"results.{form}"
    write_rows(make_rows(*make_sweep()), form, file)
    assert b"channel-50" in file.read_bytes()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_every_text_format_is_written_to_standard_output(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(make_rows(*make_sweep()), form)
    shown = capsys.readouterr()
    assert "channel-50" in shown.out
    assert shown.err == ""


def test_parquet_is_written_to_a_pipe_and_refused_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    with pipe.open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        write_rows([make_row()], "parquet")
    assert pq.read_table(pipe).num_rows == 1
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(UsageError, match="Parquet is no text"):
        write_rows([make_row()], "parquet")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_that_goes_to_a_log_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console(io.StringIO()).width == 160
    monkeypatch.setenv("COLUMNS", "70")
    assert open_console(io.StringIO()).width == 70


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/out\.csv cannot be written"):
        write_rows([make_row()], "csv", tmp_path / "nowhere" / "out.csv")


def test_a_file_is_left_as_it_was_when_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("before")
    unwritable = [make_row(), {"value": object()}]
    with pytest.raises(TypeError):
        write_json(unwritable, file)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_long_markdown_table_loses_no_line() -> None:
    rows = make_rows(
        *((make_measurement(f"t{n}", variant_id=f"v{n}", variant=f"v{n}"), 5.0) for n in range(300))
    )
    assert sum(line.startswith("| v") for line in written(write_markdown, rows).splitlines()) == 301
