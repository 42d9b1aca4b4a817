"""tegrastats: lines of real boards, whole, cut, coloured and interleaved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sensors.tegrastats import parse_line

RECORDING = Path(__file__).parent / "recordings" / "tegrastats.jsonl"
ENTRIES = [json.loads(text) for text in RECORDING.read_text(encoding="utf-8").splitlines()]
LINES = [entry["line"] for entry in ENTRIES]
NOTHING = parse_line("")

ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,off] "
    "EMC_FREQ 1%@2133 GR3D_FREQ 7%@[305,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C tj@44.343C "
    "VDD_GPU_SOC 2340mW/2341mW VDD_CPU_CV 390mW/391mW NC 0mW/0mW"
)
NANO = (
    "RAM 936/3964MB (lfb 366x4MB) IRAM 0/252kB(lfb 252kB) CPU [10%@102,3%@102] EMC_FREQ 0%@204 "
    "GR3D_FREQ 0%@76 APE 25 PLL@24C CPU@27.5C POM_5V_IN 920/921 POM_5V_GPU 0/1 POM_5V_CPU 119/120"
)

# Two numbers end a line of a whole release without a unit; cut there, nothing tells that digits are missing.
LAST_AVERAGE = re.compile(r"([A-Z0-9_]+) -?\d+/-?\d+\Z")
LAST_CLOCK = re.compile(r"GR3D \d+%@\d+\Z")


def parse(text: str) -> dict[str, Any]:
    """What is said of a text, after a look at what is true of every answer."""
    fields = parse_line(text)
    json.dumps(fields, allow_nan=False)
    assert fields.keys() == NOTHING.keys()
    return fields


def is_part(value: Any, whole: Any) -> bool:
    """A value is the same as in the whole line, or not told; a mapping may lack entries."""
    if isinstance(value, dict) and isinstance(whole, dict):
        return all(key in whole and is_part(inner, whole[key]) for key, inner in value.items())
    if isinstance(value, list) and isinstance(whole, list) and len(value) == len(whole):
        return all(map(is_part, value, whole))
    return value is None or value == [] or value == whole


def is_rest(text: str, line: str, whole: dict[str, Any]) -> bool:
    """What is left of a line says what the line says; a GPU may have lost the token of its other cluster."""
    fields = parse_line(text)
    average = LAST_AVERAGE.search(text)
    if average and average.group(1) in fields["rails"]:
        fields["rails"][average.group(1)]["avg_mw"] = None
    if LAST_CLOCK.search(text):
        fields.update(gpu_freq_mhz=None, gpu_freqs_mhz=[])
    if "GR3D2_FREQ" in line and set(fields["gpu_freqs_mhz"]) <= set(whole["gpu_freqs_mhz"]):
        fields.update(gpu_freq_mhz=None, gpu_freqs_mhz=[])
    if re.search(r"[BLM]CPU@", line):  # of which CPU may be left: a temperature of the processor still
        fields["temps"].pop("CPU", None)
    return is_part(fields, whole)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " "], ids=["bare", "newline", "crlf", "space"])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_a_line_of_a_board_says_what_a_careful_reader_finds(entry: dict[str, Any], end: str) -> None:
    fields = parse(entry["line"] + end)
    assert fields.keys() == entry["expect"].keys()
    for name, expected in entry["expect"].items():
        if name != "cpu" or expected is not None:
            assert fields[name] == expected, name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_a_line_cut_anywhere_at_its_end_says_nothing_else_than_the_whole(entry: dict[str, Any]) -> None:
    line = entry["line"]
    whole = parse(line)
    for length in range(len(line)):
        assert is_rest(line[:length], line, whole), line[:length]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_a_line_cut_anywhere_at_its_start_says_nothing_else_than_the_whole(entry: dict[str, Any]) -> None:
    line = entry["line"]
    whole = parse(line + "\n")
    for start in range(len(line)):
        assert is_rest(line[start:] + "\n", line, whole), line[start:]


@given(st.sampled_from(LINES), st.data())
def test_a_line_cut_at_both_ends_says_nothing_else_than_the_whole(line: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))
    assert is_rest(line[start:end], line, parse(line))


@given(st.sampled_from(LINES), st.data())
def test_a_character_that_does_not_belong_there_never_makes_another_number(
    line: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(line)))
    garbage = data.draw(
        st.text("\0\r\x08\ufffd#?$~", min_size=1, max_size=3) | st.sampled_from("%@/C[]()\"' \t\n\x1b")
    )
    found, whole = parse(line[:at] + garbage + line[at:]), parse(line)
    for name in sorted(NOTHING.keys() - {"temps", "temps_max", "rails", "gpu_freq_mhz"}):
        assert is_part(found[name], whole[name]), name
    for kind in ("temps", "temps_max", "rails"):
        known = {name: value for name, value in found[kind].items() if name in whole[kind]}
        assert is_part(known, whole[kind])


WORDS = st.sampled_from(
    [
        *" \t\n\r\0/%@[],.-",
        "RAM",
        "SWAP",
        "CPU [",
        "cpu",
        "off",
        "EMC",
        "GR3D",
        "_FREQ",
        "mW",
        "MB",
        "C",
        "VDD_IN",
    ]
)


@given(st.one_of(st.text(), st.lists(WORDS | st.integers().map(str), max_size=60).map("".join)))
def test_no_text_is_an_exception(text: str) -> None:
    parse(text)


@given(st.sampled_from(LINES), st.sampled_from(LINES), st.data())
def test_of_two_samples_in_one_line_the_first_counts(line: str, other: str, data: st.DataObject) -> None:
    first = line[: data.draw(st.integers(0, len(line)))]
    second = other[max(other.find("RAM "), 0) :]
    if re.search(r"(?<!I)RAM \d+/\d+MB", first) and re.match(r"RAM \d+/\d+MB", second):
        assert is_rest(first + second, line, parse(line)), first + second


@pytest.mark.parametrize("text", ["", "\n", "Tue Jan 26 18:22:31 UTC 2021", "tegrastats: command not found"])
def test_a_line_of_something_else_says_nothing(text: str) -> None:
    assert parse(text) == {
        "timestamp": None,
        "ram_used_mb": None,
        "ram_total_mb": None,
        "swap_used_mb": None,
        "swap_total_mb": None,
        "cpu": [],
        "gpu_load_pct": None,
        "gpu_freq_mhz": None,
        "gpu_freqs_mhz": [],
        "emc_load_pct": None,
        "emc_freq_mhz": None,
        "temps": {},
        "temps_max": {},
        "rails": {},
    }


@pytest.mark.parametrize(
    "text",
    [
        "[INFO] loss 0.3 Epoch 1/10 of 4/5",
        "12:04:03 up 3 days, load average: 0.52, user@host",
        "cpu MHz: 1479.000 CPU 3 GPU 12",
        "8133mW/3098mW",
        "RAM 5% GR3D CPU EMC_FREQ",
        "04-11-2025 10:36:27",
        "GR3D_FREQ " + "9" * 5000 + "%",
        "RAM " + "9" * 5000 + "/" + "9" * 5000 + "MB",
        "EMC_FREQ ٣%@٤٥٦ CPU@٤٥C",
    ],
)
def test_words_that_look_alike_are_no_values(text: str) -> None:
    assert parse(text) == NOTHING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\x1b[1;31m", "\x1b[0m"),
        ("\x1b[2K\r", "\x1b[K\r\n"),
        ("\x1b[H\x1b[2J", "\x1b(B\x1b[m"),
        ("^[[32m", "^[[0m"),
        ("[32m", "[0m"),
        ("\x9b32m", "\x9b0m"),
        ("\x1b]0;tegrastats\x07", ""),
        ("\ufeff", "\n"),
        ("\0\0\0", "\n"),
        ("> ", ""),
        ("`", "`"),
    ],
)
@pytest.mark.parametrize("line", [ORIN, NANO])
def test_what_stands_around_a_line_is_no_part_of_it(line: str, before: str, after: str) -> None:
    assert parse(before + line + after) == parse(line)


def test_a_colour_inside_a_line_is_no_part_of_a_value() -> None:
    coloured = NANO.replace("27.5", "\x1b[31m27.5\x1b[0m").replace(
        "GR3D_FREQ", "\x1b[01;31m\x1b[KGR3D_FREQ\x1b[m"
    )
    assert parse(coloured) == parse(NANO)


@pytest.mark.parametrize(
    "time",
    [
        "05-13-2026 12:04:03",
        "2026-05-13 12:04:03",
        "2026-05-13T12:04:03.123456+02:00",
        "2026/05/13 12:04:03",
        "05/13/2026 12:04:03",
        "May 13 12:04:03",
        "Wed May 13 12:04:03 UTC 2026",
        "1778673843.25",
    ],
)
def test_the_time_before_a_line_is_told_as_printed(time: str) -> None:
    assert parse(time + " " + NANO)["timestamp"] == time
    assert parse("[" + time + "] " + NANO)["timestamp"] == time
    assert parse(time + " jetson tegrastats[812]: " + NANO)["timestamp"] == time
    assert parse(time + " CPU [1%@729]")["timestamp"] == time


def test_the_time_of_tegrastats_goes_before_that_of_a_logger() -> None:
    assert parse("Apr 11 10:36:28 jetson sh[812]: " + ORIN)["timestamp"] == "04-11-2025 10:36:27"


@pytest.mark.parametrize(
    ("text", "load", "clocks"),
    [
        ("GR3D 0%@998 EDP limit 1734", 0, [998]),
        ("GR3D_FREQ 12%", 12, []),
        ("GR3D_FREQ 12% GR3D2_FREQ 0%@0 NVJPG1 729", 12, [0]),
        ("GR3D_FREQ 5%@305 GR3D2_FREQ 7%@611 NVJPG1 729", 5, [305, 611]),
        ("GR3D_FREQ @0 APE 150", None, [0]),
        ("GR3D_FREQ @[1098, 1098]", None, [1098, 1098]),
        ("GR3D_FREQ 3%@[-1,305]", 3, [305]),
        ("GR3D_FREQ 3%@-1 APE 150", 3, []),
        ("GR3D_FREQ off NVENC off", None, []),
        ("GR3D_FREQ 0%@76\n", 0, [76]),
        ("GR3D_FREQ 0%@76", 0, []),  # may have been 768
        ("GR3D_FREQ 0%@[305,3", 0, []),
    ],
)
def test_the_gpu_has_a_load_and_clocks(text: str, load: int | None, clocks: list[int]) -> None:
    fields = parse(text)
    assert (fields["gpu_load_pct"], fields["gpu_freqs_mhz"]) == (load, clocks)
    assert fields["gpu_freq_mhz"] == max(clocks, default=None)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("cpu [25%,off,1%]@2218 EMC 3%@924", [[25, 2218], [None, None], [1, 2218]]),
        ("cpu [0%,off]@-1 VDE 0", [[0, None], [None, None]]),
        ("CPU [0%@-1,OFF]", [[0, None], [None, None]]),
        ("CPU [0%@729, 5%@730 ]", [[0, 729], [5, 730]]),
        ("CPU [7%]", [[7, None]]),
        ("CPU [7%]@22", [[7, None]]),
        ("CPU [2%@972,...]", []),
        ("CPU [2%@972,3%@97", []),
        ("CPU [2%@972,3%@97]2,4%@972]", []),
        ("CPU []", []),
        ("BCPU [2%@972]", []),
    ],
)
def test_cores_are_told_all_or_none(text: str, cores: list[list[int | None]]) -> None:
    assert parse(text)["cpu"] == cores


@pytest.mark.parametrize(
    ("text", "rails"),
    [
        ("VDD_IN 5mW/6mW/7mW", {"VDD_IN": {"cur_mw": 5, "avg_mw": 6, "max_mw": 7}}),
        ("VDD_IN 5mW/6mW/7", {"VDD_IN": {"cur_mw": 5, "avg_mw": 6}}),
        ("VDD_IN 5mW/6", {"VDD_IN": {"cur_mw": 5, "avg_mw": None}}),
        ("VDD_IN 5mW", {"VDD_IN": {"cur_mw": 5, "avg_mw": None}}),
        (
            "VDD_IN 5 VDD_SOC 7\n",
            {"VDD_IN": {"cur_mw": 5, "avg_mw": None}, "VDD_SOC": {"cur_mw": 7, "avg_mw": None}},
        ),
        ("VDD_IN 5", {}),
        ("VDD_IN 5/", {"VDD_IN": {"cur_mw": 5, "avg_mw": None}}),
        ("VDD_IN -392/-5", {"VDD_IN": {"cur_mw": -392, "avg_mw": -5}}),
        ("x GPU 0/0 CPU 1/2", {"GPU": {"cur_mw": 0, "avg_mw": 0}, "CPU": {"cur_mw": 1, "avg_mw": 2}}),
        ("GPU 0/0 CPU 1/2", {"GPU": {"cur_mw": 0, "avg_mw": 0}, "CPU": {"cur_mw": 1, "avg_mw": 2}}),
        ("GPU 78/78 POM_5V_CPU 1/2", {"POM_5V_CPU": {"cur_mw": 1, "avg_mw": 2}}),
        ("x NC 0mW/0mW CPU-GPU 1mW/2mW NC 0/0", {"CPU-GPU": {"cur_mw": 1, "avg_mw": 2}}),
        ("x IRAM 0/252 SWAP 0/5 NVENC 716 APE 25 EDP limit 0 NVDEC1 716", {}),
        ("VDD_IN 43 21mW/4321mW", {}),
        ("VDD_IN 4321/43 21 VDD_SOC 7/7", {"VDD_SOC": {"cur_mw": 7, "avg_mw": 7}}),
    ],
)
def test_rails_are_in_milliwatts(text: str, rails: dict[str, Any]) -> None:
    assert parse(text)["rails"] == rails


@pytest.mark.parametrize(
    ("text", "temps", "highest"),
    [
        ("CPU@41.5C GPU@40C", {"CPU": 41.5, "GPU": 40}, {}),
        ("x iwlwifi_1@-3.5C thermal-fan-est@38C", {"iwlwifi_1": -3.5, "thermal-fan-est": 38}, {}),
        ("x cv0@-256C/-256C gpu@-256.5C", {"cv0": None, "gpu": None}, {"cv0": None}),
        ("x tj@51C/52.5C cpu@50C/53.", {"tj": 51, "cpu": 50}, {"tj": 52.5}),
        ("x tj@51", {}, {}),
        ("PU@51C", {}, {}),
        ("x CPU@4C2.5C GPU@42C.5C", {}, {}),
    ],
)
def test_temperatures_are_in_celsius(text: str, temps: dict[str, Any], highest: dict[str, Any]) -> None:
    fields = parse(text)
    assert (fields["temps"], fields["temps_max"]) == (temps, highest)


def test_the_memory_inside_the_chip_is_not_the_memory_of_the_board() -> None:
    assert parse("IRAM 0/252kB(lfb 252kB) CPU [1%@102]")["ram_total_mb"] is None
    assert parse("RAM 0/252kB(lfb 252kB) CPU [1%@102]")["ram_used_mb"] is None


def test_a_second_sample_does_not_fill_the_gaps_of_the_first() -> None:
    fields = parse("RAM 936/3964MB CPU [1%@102] POM_5V_IN 9" + NANO)
    assert (fields["ram_used_mb"], fields["cpu"], fields["rails"]) == (936, [[1, 102]], {})


def test_what_is_left_of_a_sample_before_a_whole_one_does_not_count() -> None:
    assert parse("VDD_SOC 1353/13" + NANO) == parse(NANO)


@pytest.mark.parametrize(
    "told",
    [
        "GR3D_FREQ @[1574,1574 0,1574]",
        "GR3D_FREQ 0%@?999 GR3D2_FREQ 0%@114",
        "GR3D_FREQ 0%@114 GR3D?2_FREQ 0%@999",
    ],
)
def test_where_one_clock_of_the_gpu_is_broken_none_is_told(told: str) -> None:
    fields = parse_line(f"RAM 1205/30623MB (lfb 6429x4MB) {told} CPU@43.5C\n")
    assert (fields["gpu_freqs_mhz"], fields["gpu_freq_mhz"]) == ([], None)


def test_a_date_without_a_sample_has_no_rails() -> None:
    assert parse("Tue Jan 26 18:22:31 UTC 2/021")["rails"] == {}
