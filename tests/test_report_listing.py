"""Small tables: plain text in every cell."""

from __future__ import annotations

import io

from rich.console import Console

from host.report.cells import choose_decimals, clean_text, format_count
from host.report.listing import flatten_facts, print_facts, print_rows


def make_console() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=120, color_system=None), stream


def test_cells_are_plain_text_and_none_is_a_dash() -> None:
    console, stream = make_console()
    print_rows("Devices", ("name", "note"), [("[bold]pi4", None), ("x", "a\x1b[31m\nb")], console)
    assert "[bold]pi4" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert any(line.split() == ["[bold]pi4", "-"] for line in stream.getvalue().splitlines())


def test_an_empty_table_says_none() -> None:
    console, stream = make_console()
    print_rows("Devices", ("name",), [], console)
    assert stream.getvalue() == "Devices: none\n"


def test_nested_facts_are_named_with_dots() -> None:
    facts = {
        "cores": 4,
        "libc": {"name": "glibc"},
        "sources": [{"name": "rapl"}],
        "tags": ["a", "b"],
        "none": {},
    }
    assert flatten_facts(facts) == [
        ("cores", "4"),
        ("libc.name", "glibc"),
        ("sources[0].name", "rapl"),
        ("tags", "a, b"),
        ("none", "-"),
    ]
    console, stream = make_console()
    print_facts("pi4", facts, console)
    assert "libc.name" in stream.getvalue()


def test_counts_and_decimals_keep_three_digits() -> None:
    assert [format_count(count) for count in (None, 0, 999, 1000, 12_345, 2_236_682)] == [
        "-",
        "0",
        "999",
        "1.00 k",
        "12.3 k",
        "2.24 M",
    ]
    assert [choose_decimals([value]) for value in (1234.0, 50.0, 5.0, 0.5, 0.00001)] == [0, 1, 2, 3, 4]
    assert choose_decimals([None, 0.0]) == 2


def test_text_from_a_board_becomes_one_harmless_line() -> None:
    assert clean_text("a\r\n b\tc\x00\x9b") == "a b c\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert clean_text("Prüfstand – ok") == "Prüfstand – ok"
