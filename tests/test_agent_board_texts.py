"""What a board's own tools printed: recordings of real boards, whole and damaged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sensors.terminal import LOST, strip_terminal
from tests.board_texts import ENTRIES, TEXT_KINDS, kind_of, parse

# Sums over what is there change with it, and a message may be the start of a longer one.
DERIVED = {"sum_w", "unpaired", "error", "w"}
# MODE_15W is a name, and the start of MODE_15W_6CORE; posts drop the NUL after a model.
NAMES_AT_THE_END = {"mode", "model"}

THOR_CLOCKS = """\
SOC family:tegra264  Machine:NVIDIA Jetson AGX Thor Developer Kit
Online CPUs: 0-1, Offline CPUs:
cpu0:  Governor=schedutil MinFreq=2601000 MaxFreq=2601000 CurrentFreq=2601000 IdleStates: WFI=0 cc7=0
cpu1:  Governor=schedutil MinFreq=2601000 MaxFreq=2601000 CurrentFreq=2601000 IdleStates: WFI=0 cc7=0
gpu-gpc-0 MinFreq=1575000000 MaxFreq=1575000000 CurrentFreq=1575000000
gpu-nvd-0 MinFreq=1692000000 MaxFreq=1692000000 CurrentFreq=1692000000
EMC MinFreq=665600000 MaxFreq=4266000000 CurrentFreq=4266000000 FreqOverride=1
FAN Dynamic Speed Control=nvfancontrol hwmon1_pwm1=73
FAN Dynamic Speed Control=nvfancontrol hwmon1_pwm1_enable=1
NV Power Mode: MAXN
"""
TX1_CLOCKS = """\
SOC family:tegra210  Machine:jetson_tx1
Online CPUs: 0-1
CPU Cluster Switching: Disabled
cpu0: Gonvernor=interactive MinFreq=1734000 MaxFreq=1734000 CurrentFreq=1734000
cpu1: Gonvernor=interactive MinFreq=1734000 MaxFreq=1734000 CurrentFreq=1734000
GPU MinFreq=998400000 MaxFreq=998400000 CurrentFreq=998400000
EMC MinFreq=12750000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=1
Fan: speed=255
"""


def is_part_of(part: Any, whole: Any) -> bool:
    """Whether nothing is said that the whole text does not say."""
    if part is None or part == whole or part in ([], {}):
        return True
    if isinstance(part, dict):
        known = whole if isinstance(whole, dict) else {}
        return all(key in DERIVED or is_part_of(value, known.get(key)) for key, value in part.items())
    return False


each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
entries = st.sampled_from(ENTRIES)


@each_entry
def test_a_recording_says_what_a_careful_reader_finds(entry: dict[str, Any]) -> None:
    answer = parse(kind_of(entry), entry["output"])
    assert {key: answer[key] for key in entry["expect"]} == entry["expect"]


@each_entry
def test_only_a_refusal_has_more_keys_than_its_command(entry: dict[str, Any]) -> None:
    answer = parse(kind_of(entry), entry["output"])
    surplus = {key: value for key, value in answer.items() if key not in entry["expect"]}
    assert not surplus or "error" in entry["expect"]
    assert all(value in (None, [], {}) for value in surplus.values())


@each_entry
def test_a_text_that_is_cut_off_says_nothing_else(entry: dict[str, Any]) -> None:
    kind, text = kind_of(entry), entry["output"]
    whole = parse(kind, text)
    for end in range(len(text)):
        part = parse(kind, text[:end])
        assert set(part.pop("fan", ())) <= set(whole.get("fan", ()))
        for name in NAMES_AT_THE_END & part.keys():
            assert str(whole.get(name)).startswith(part.pop(name) or "")
        assert is_part_of(part, whole), text[:end][-80:]


@each_entry
def test_colours_and_line_ends_change_nothing(entry: dict[str, Any]) -> None:
    kind, text = kind_of(entry), entry["output"]
    whole = parse(kind, text)
    assert parse(kind, text.replace("\n", "\r\n")) == whole
    assert parse(kind, text.replace("=", "\x1b[01;31m\x1b[K=\x1b[m\x1b[K")) == whole


@given(entries, st.data(), st.sampled_from([LOST, "\x1b[5C", "\x1b]0;title\x07", "\x1b7"]))
def test_what_is_lost_inside_a_text_is_not_made_up(
    entry: dict[str, Any], data: st.DataObject, damage: str
) -> None:
    kind, text = kind_of(entry), entry["output"]
    at = data.draw(st.integers(0, len(text)))
    whole, part = parse(kind, text), parse(kind, text[:at] + damage + text[at:])
    assert set(part.pop("fan", ())) <= set(whole.get("fan", ()))
    assert is_part_of(part, whole), (part, whole)


@given(st.sampled_from(TEXT_KINDS), st.text())
def test_any_text_has_an_answer(kind: str, text: str) -> None:
    parse(kind, text)


@given(entries, st.sampled_from(TEXT_KINDS), st.data())
def test_any_mixture_has_an_answer(entry: dict[str, Any], kind: str, data: st.DataObject) -> None:
    text = entry["output"]
    start, end = (data.draw(st.integers(0, len(text))) for _ in range(2))
    parse(kind, text[:start] + data.draw(st.text(max_size=20)) + text[end:])


def test_a_text_of_no_command_has_every_key_and_no_value() -> None:
    answer = parse("vcgencmd", "hello\n")
    known = {key for entry in ENTRIES if kind_of(entry) == "vcgencmd" for key in entry["expect"]}
    assert known & answer.keys() >= {"temp_c", "id", "hz", "volts", "raw", "amps", "rails", "sum_w", "error"}
    assert all(value in (None, [], {}) for value in answer.values())


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("throttled=0x50005", 0x50005),
        ("throttled=0x0", 0),
        ("throttled=0x5", None),
        ("throttled=0x5\n", 5),
        ("throttled=0x5000", None),
        ("throttled=0x", None),
        ("Throttled flag  : throttled=0x20002\n", 0x20002),
    ],
)
def test_the_bits_at_the_very_end_count_only_where_they_are_all_there(text: str, bits: int | None) -> None:
    answer = parse("vcgencmd", text)
    assert answer["raw"] == bits
    assert (answer["now"] is None) == (bits is None)


@pytest.mark.parametrize(
    ("text", "hz"),
    [
        ("frequency(48)=1500345728", 1500345728),  # as a shell's $(vcgencmd measure_clock arm) gives it
        ("frequency(48)=600169920", 600169920),  # a digit more has no room in 32 bits
        ("frequency(48)=429496730", 429496730),
        ("frequency(48)=429496729", None),
        ("frequency(1)=250000496", None),  # of 2.5 GHz?
        ("frequency(1)=250000496\n", 250000496),
        ("frequency(0)=0", 0),
    ],
)
def test_a_clock_at_the_very_end_counts_only_where_no_digit_may_be_missing(text: str, hz: int | None) -> None:
    assert parse("vcgencmd", text)["hz"] == hz


def test_the_last_clock_of_a_loop_may_have_lost_its_newline() -> None:
    text = "arm:\tfrequency(48)=600169920\nv3d:\tfrequency(46)={}"
    assert parse("vcgencmd", text.format(500000992)) == {"arm": 600169920, "v3d": 500000992}
    assert parse("vcgencmd", text.format(250000496)) == {"arm": 600169920, "v3d": None}


def test_a_loop_over_voltages_gives_them_by_name() -> None:
    text = "core:\tvolt=0.8600V\nsdram_c:\tvolt=1.2000V\n"
    assert parse("vcgencmd", text) == {"core": 0.86, "sdram_c": 1.2}


def test_several_commands_in_one_text_are_all_read() -> None:
    answer = parse("vcgencmd", "temp=51.0'C\nvolt=0.8563V\nthrottled=0x0\nfrequency(48)=600169920\n")
    flags = {"raw": 0, "now": [], "since_boot": []}
    assert answer == {"temp_c": 51.0, "volts": 0.8563, "id": 48, "hz": 600169920, **flags}


def test_the_first_of_two_readings_counts_and_the_two_are_not_mixed() -> None:
    first = "VDD_CORE_A current(7)=1.00000000A\nVDD_CORE_V volt(15)=0.90000000V\n"
    answer = parse("vcgencmd", first + "VDD_CORE_A current(7)=2.00000000A\nVDD_CORE_V volt(1")
    assert answer["rails"] == {"VDD_CORE": {"a": 1.0, "v": 0.9, "w": 0.9}}


def test_a_channel_whose_unit_does_not_fit_its_name_is_none() -> None:
    answer = parse("vcgencmd", "VDD_CORE_A current(7)=0.90V\nEXT5V_V volt(24)=5.1A\nHDMI_A volt(3)=1.0V\n")
    assert (answer["amps"], answer["volts"], answer["sum_w"]) == ({}, {}, None)


@pytest.mark.parametrize(
    "text",
    [
        "Can't open device file: /dev/vcio\nTry creating a device file with: sudo mknod /dev/vcio c 100 0\n",
        "bash: vcgencmd: command not found\n",
    ],
)
def test_the_first_line_of_a_failure_is_the_error(text: str) -> None:
    assert parse("vcgencmd", text)["error"] == text.splitlines()[0]


def test_the_clocks_of_a_thor_say_online_once_and_have_two_gpus() -> None:
    answer = parse("jetson_clocks", THOR_CLOCKS)
    assert answer["online_cpus"] == [0, 1]
    assert [cpu["online"] for cpu in answer["cpus"].values()] == [True, True]
    assert answer["gpu"] == dict.fromkeys(("min_hz", "max_hz", "cur_hz"), 1575000000)
    assert len(answer["fan"]) == 2
    assert answer["pinned"] is True


def test_the_clocks_of_a_tx1_have_a_misspelt_governor_and_no_mode() -> None:
    answer = parse("jetson_clocks", TX1_CLOCKS)
    assert answer["cpus"]["1"] == {
        "online": True,
        "governor": "interactive",
        "min_khz": 1734000,
        "max_khz": 1734000,
        "cur_khz": 1734000,
    }
    assert (answer["mode"], answer["fan"], answer["pinned"]) == (None, ["Fan: speed=255"], True)


@pytest.mark.parametrize(
    ("changes", "pinned"),
    [
        ({"FreqOverride=1": "FreqOverride=0"}, False),
        ({"cpu1:  Governor=schedutil MinFreq=2601000": "cpu1:  Governor=schedutil MinFreq=972000"}, False),
        ({"gpu-gpc-0 MinFreq=1575000000": "gpu-gpc-0 MinFreq=306000000"}, False),
        ({"cpu1: ": "c\ufffd1: "}, None),
        ({"Online CPUs": "Onl\ufffdCPUs"}, None),
        ({"gpu-gpc-0": "gpu-\ufffd-0"}, None),
        ({"EMC MinFreq": "E\ufffdC MinFreq", "NV Power": "NV P\ufffd"}, None),
    ],
)
def test_clocks_are_pinned_only_where_all_parts_say_so(changes: dict[str, str], pinned: bool | None) -> None:
    text = THOR_CLOCKS
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert parse("jetson_clocks", text)["pinned"] is pinned


def test_lines_that_run_into_each_other_lend_no_numbers() -> None:
    text = "cpu1: Online=1 Governor=schedutil MinFreq=729cpu2: Online=0 MaxFreq=1 CurrentFreq=2 \n"
    assert parse("jetson_clocks", text)["cpus"] == {
        "1": {"online": True, "governor": "schedutil", "min_khz": None, "max_khz": None, "cur_khz": None}
    }


def test_blanks_of_a_release_may_be_missing() -> None:
    text = "# R32(release), REVISION:6.1, GCID:27863751, BOARD:t186ref, EABI:aarch64\n"
    answer = parse("nv_tegra_release", text)
    assert (answer["l4t"], answer["gcid"]) == ("32.6.1", "27863751")
    assert (answer["eabi"], answer["date"]) == ("aarch64", None)


@pytest.mark.parametrize(
    ("text", "soc"),
    [
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", "bcm2712"),
        ("nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0nvidia,tegra23x\0", "tegra234"),
        ("nvidia,p3737-0000+p3701-0000nvidia,tegra234nvidia,tegra23x", "tegra234"),
        ("nvidia,jetson-cvnvidia,tegra21", None),
    ],
)
def test_the_chip_is_among_the_compatible_names(text: str, soc: str | None) -> None:
    assert parse("device_tree_model", text) == {"soc": soc}


@pytest.mark.parametrize(
    ("text", "model", "vendor"),
    [
        ("lightning\0", "lightning", "nvidia"),
        ("Radxa ROCK 5B\0", "Radxa ROCK 5B", None),
        ("$ cat /proc/device-tree/model\njetson-nano\n", "jetson-nano", "nvidia"),
        ("NVIDIA Orin Nano Developer Kit", "NVIDIA Orin Nano Developer Kit", "nvidia"),
        ("Radxa ROCK", None, None),
        ("Raspberry Pi 5 Model B Rev 1.0pi@raspberrypi:~ $\n", None, "raspberrypi"),
        ("cat: /proc/device-tree/model: No such file or directory\n", None, None),
        ("", None, None),
    ],
)
def test_a_model_is_what_stands_there(text: str, model: str | None, vendor: str | None) -> None:
    assert parse("device_tree_model", text) == {"model": model, "vendor": vendor}


def test_the_parts_of_one_number_are_never_joined_over_a_moved_cursor() -> None:
    assert strip_terminal("20\x1b[31m00\x1b[K 4\x1b[2C78\r\n") == f"2000 4{LOST}78\n\n"
