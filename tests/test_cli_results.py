"""`bench results` as a user runs it: filters, views, where words go, and what large ledgers may not cost."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from host.cli.main import run_bench
from host.ledger.store import Ledger
from host.workspace import Workspace
from tests.made_results import make_failure, make_measurement, make_rounds, make_run, make_sweep

Captured = pytest.CaptureFixture[str]


def name_tasks(device: str) -> tuple[str, ...]:
    return tuple(f"{device}-{name}" for name in ("dense", "channel-50", "int8"))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with an old run on one board and a new one on two, one of them emulated."""
    (tmp_path / "devices.yaml").write_text("devices: {}\n")
    with Ledger.open(Workspace(tmp_path).ledger_url) as ledger:
        ledger.start_run(make_run("old", tasks=name_tasks("orin")))
        for measurement, p50_ms in make_sweep("orin", run="old", started_at="2025-06-01T00:00:00Z"):
            ledger.save(measurement, make_rounds(p50_ms))
        ledger.start_run(make_run("new", minute=5, tasks=(*name_tasks("pi4"), *name_tasks("x86"), "f")))
        for measurement, p50_ms in [
            *make_sweep("pi4", run="new"),
            *make_sweep("x86", 0.1, run="new", is_emulated=True, flags=("emulated", "busy")),
        ]:
            ledger.save(measurement, make_rounds(p50_ms))
        ledger.save(make_failure("f", "no memory", run="new", variant="big", variant_id="id-big"), [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def rows(capsys: Captured, *words: str) -> list[str]:
    """`device variant` of the rows that `bench results` gives."""
    assert run_bench(["results", *words, "--format", "json"]) == 0
    return [f"{row['device']} {row['variant']}" for row in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--device", "pi4", "--status", "ok"], ["pi4 dense", "pi4 channel-50", "pi4 int8"]),
        (["--variant", "int*", "--all"], ["pi4 int8", "x86 int8", "orin int8"]),
        (["--variant", "int8", "--variant", "dense", "--device", "x86"], ["x86 dense", "x86 int8"]),
        (["--status", "failed"], ["pi4 big"]),
        (["--no-flag", "busy", "--where", "p50<3"], ["pi4 channel-50", "pi4 int8"]),
        (["--flag", "busy", "--sort", "p50"], ["x86 int8", "x86 channel-50", "x86 dense"]),
        (["--sort", "p50", "--limit", "2"], ["pi4 int8", "pi4 channel-50"]),
        (["--since", "2026-01-01", "--variant", "int8"], ["pi4 int8", "x86 int8"]),
        (["--since", "2025-01-01", "--variant", "int8"], ["pi4 int8", "x86 int8", "orin int8"]),
        (["--where", "speedup>2.2", "--device", "pi4"], ["pi4 int8"]),
        (["--run", "old", "--precision", "fp32", "--model", "net", "--limit", "1"], ["orin dense"]),
        (["--all", "--runtime", "ncnn"], []),
    ],
)
def test_options_choose(workspace: Path, capsys: Captured, words: list[str], found: list[str]) -> None:
    assert rows(capsys, *words) == found


def test_a_speedup_is_against_the_baseline_also_where_that_is_not_chosen(
    workspace: Path, capsys: Captured
) -> None:
    assert run_bench(["results", "--variant", "int8", "--device", "pi4", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["speedup"] == pytest.approx(2.5)
    assert row["accuracy_change"] == pytest.approx(-0.2)


def test_nothing_that_fits_is_an_empty_list_and_words_that_say_why(workspace: Path, capsys: Captured) -> None:
    for words, said in (
        (
            ["--device", "pi5"],
            "no device is called pi5; there are pi4, x86 in run new; --all looks at every run",
        ),
        (
            ["--variant", "int4*", "--all"],
            "no variant is called int4*; there are big, channel-50, dense, int8",
        ),
        (["--where", "p50<1us"], "none of 7 measurements is like that in run new"),
    ):
        assert run_bench(["results", *words, "--format", "json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out) == []
        assert said in shown.err


def test_measurements_without_the_value_are_left_out_with_a_word(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["results", "--where", "energy<5mJ", "--format", "json"]) == 0
    assert "6 measurements have no power.energy_mj, and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sort", "latncy"], "Did you mean latency_ms.p50"),
        (["--columns", "varaint"], "Did you mean variant"),
        (["--group", "devcie"], "Did you mean device"),
        (["--pivot", "acuracy"], "Did you mean accuracy"),
        (["--flag", "thottled"], "Did you mean throttled"),
        (["--where", "p50"], "is no condition"),
        (["--since", "soon"], "is no moment"),
        (["--run", "old", "--all"], "exclude each other"),
        (["--pivot", "p50", "--columns", "p50"], "exclude each other"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_a_slip_is_named(workspace: Path, capsys: Captured, words: list[str], said: str) -> None:
    assert run_bench(["results", *words]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_a_pivot_is_the_same_from_quick_rows_and_from_whole_ones(workspace: Path, capsys: Captured) -> None:
    told = []
    for more in ([], ["--where", "latency_ms.n>0"]):  # the number of samples is only in whole rows
        assert (
            run_bench(["results", "--all", "--status", "ok", "--pivot", "speedup", *more, "--format", "json"])
            == 0
        )
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["emulated"] == ["x86"]
    assert told[0]["lines"][2]["values"]["pi4"] == pytest.approx(2.5)


def test_a_pivot_tells_boards_and_failures(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["results", "--pivot", "p50"]) == 0
    out = capsys.readouterr().out
    assert "pi4: Raspberry Pi 4 Model B" in out
    assert "1 failed: `bench results --status failed` tells why" in out


def test_the_ending_of_a_file_says_the_format_of_a_view(workspace: Path) -> None:
    assert run_bench(["results", "--pivot", "p50", "--group", "model", "-o", "p.csv"]) == 0
    (first, *_) = csv.DictReader(io.StringIO((workspace / "p.csv").read_text(), newline=""))
    assert list(first) == ["model", "variant", "pi4", "x86", "x86.flags"]


def test_a_table_of_very_many_says_how_many_it_looked_at(workspace: Path, capsys: Captured) -> None:
    from host.report import exporting
    from host.report.exporting import write_rows
    from tests.made_results import make_rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "MOST_READ", 2)
        write_rows(iter(make_rows(*make_sweep())), "table")
    assert "Only the first 2 measurements were looked at" in capsys.readouterr().out


def test_rows_stream_into_formats_for_programs(tmp_path: Path) -> None:
    from host.report.exporting import write_rows
    from tests.made_results import make_row

    row = make_row()
    for form in ("json", "csv", "parquet"):
        write_rows((row for _ in range(7)), form, tmp_path / f"rows.{form}")
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 7
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 8


def test_a_measurement_of_an_unknown_flag_is_found_without_it(workspace: Path, capsys: Captured) -> None:
    with Ledger.open(Workspace(workspace).ledger_url) as ledger:
        ledger.save(
            make_measurement("late", run="new", flags=("of-tomorrow",), variant="late"), make_rounds()
        )
    assert run_bench(["results", "--variant", "late"]) == 0
    assert "of-tomorrow: not known to this release" in capsys.readouterr().out
