"""What is said of boards that would measure badly, and with which command it is mended."""

from __future__ import annotations

from typing import Any

import pytest

from host.errors import UsageError
from host.fleet.conditions import Outcome
from host.readiness.boards import Change, check_words, judge_board
from host.readiness.finding import BoardFinding, Look
from tests.made_looks import (
    IDLE,
    JETSON_IDLE,
    NANO,
    NOW,
    ORIN,
    PI3,
    PI4,
    PI5,
    PI_IDLE,
    X86,
    X86_IDLE,
    cluster,
    look,
)


def judge(seen: Look, *done: Outcome) -> dict[str, BoardFinding]:
    return {one.check: one for one in judge_board(seen, done)}


def wrong(seen: Look) -> list[str]:
    return [one.check for one in judge_board(seen) if one.is_fine is False]


@pytest.mark.parametrize(
    ("told", "now", "missing"),
    [
        (PI3, PI_IDLE, ["power source"]),
        (PI4, PI_IDLE, ["power source"]),
        (PI5, PI_IDLE, []),
        (NANO, JETSON_IDLE, []),
        (ORIN, JETSON_IDLE, []),
        (X86, X86_IDLE, []),
    ],
    ids=["pi3", "pi4", "pi5", "nano", "orin", "x86"],
)
def test_a_board_that_is_ready_has_nothing_wrong_but_what_it_lacks(
    told: dict[str, Any], now: dict[str, Any], missing: list[str]
) -> None:
    assert wrong(look(told, now)) == missing


def test_every_finding_that_is_wrong_says_what_to_do() -> None:
    bad = {
        **PI_IDLE,
        "throttle_bits": 0x50005,
        "swaps": [
            {"name": "/var/swap", "size_mb": 100, "used_mb": 80, "is_zram": False},
            {"name": "/dev/zram0", "size_mb": 100, "used_mb": 80, "is_zram": True},
        ],
        "available_mb": 100.0,
        "busy_cores": 1.2,
        "busiest": [{"name": "chromium", "cores": 1.1}],
        "desktop": ["wayfire"],
        "installing": ["apt-get"],
        "upgrade_timers": ["apt-daily.timer"],
    }
    told = {
        **PI4,
        "python": "3.7.3",
        "temperature_c": 79.0,
        "free_bytes": 1 << 20,
        "clusters": [{**cluster(range(4), 600, 1800, "ondemand"), "allowed_max_mhz": 1000.0}],
        "offline_cores": [3],
    }
    findings = judge(look(told, bad, ahead_s=-86400.0))
    assert {name for name, one in findings.items() if one.is_fine is False} == {
        "governor",
        "clock limits",
        "cores",
        "throttling",
        "supply",
        "temperature",
        "clock",
        "other load",
        "desktop",
        "upgrades",
        "swap",
        "zram",
        "memory",
        "disk",
        "python",
        "power source",
    }
    assert all(one.advice for one in findings.values() if one.is_fine is False)
    without = {name for name, one in findings.items() if one.is_fine is False and one.command is None}
    assert without == {"throttling", "supply", "temperature", "power source"}  # no command mends these


GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


@pytest.mark.parametrize("governor", ["ondemand", "schedutil", "powersave", "ondemand,performance"])
def test_any_other_governor_is_wrong_and_can_be_fixed(governor: str) -> None:
    told = {**PI4, "clusters": [cluster(range(4), 600, 1800, governor)]}
    found = judge(look(told, PI_IDLE))["governor"]
    assert (found.is_fine, found.command, found.can_fix) == (False, GOVERNOR, True)
    assert found.found == governor.replace(",", ", ")


def test_a_machine_without_clocks_is_neither_right_nor_wrong() -> None:
    found = judge(look({**X86, "clusters": []}, IDLE))
    assert [found[name].is_fine for name in ("governor", "clock limits", "throttling")] == [None] * 3


@pytest.mark.parametrize(
    ("bits", "throttling", "supply"),
    [
        (0x0, True, True),
        (0x1, True, False),
        (0x4, False, True),
        (0x50000, False, False),
        (0x20000, False, True),
        (0x80000, False, True),
    ],
)
def test_the_bits_of_a_raspberry_pi_tell_now_and_since_its_start(
    bits: int, throttling: bool, supply: bool
) -> None:
    found = judge(look(PI4, {**PI_IDLE, "throttle_bits": bits}))
    assert (found["throttling"].is_fine, found["supply"].is_fine) == (throttling, supply)
    said = found["throttling"].found + found["supply"].found
    assert ("now" in said) == bool(bits & 0xF)
    if bits >> 16 and not bits & 0xF:
        assert "since its start" in said
        assert "sudo reboot" in {found["throttling"].command, found["supply"].command}


def test_a_board_whose_firmware_only_root_may_ask_says_how_to_be_let_in() -> None:
    sentence = "throttling and power: vcgencmd (the group `video` is enough)"
    found = judge(look({**PI4, "root_would_add": [sentence]}, IDLE))["throttling"]
    assert (found.is_fine, found.command) == (None, "sudo usermod -aG video $USER")


def test_an_intel_that_slowed_down_before_is_told() -> None:
    assert wrong(look(X86, {**X86_IDLE, "throttle_events": 3})) == ["throttling"]


def test_a_jetson_below_its_fastest_mode_is_told_what_sets_it() -> None:
    told = {
        **ORIN,
        "nvpmodel": {"mode": "MODE_30W", "mode_id": 2},
        "clusters": [{**cluster(range(4), 115, 2201), "allowed_max_mhz": 1728.0}],
        "offline_cores": [8, 9, 10, 11],
        "jetson_clocks": {"pinned": False},
    }
    found = judge(look(told, JETSON_IDLE))
    assert [name for name, one in found.items() if one.is_fine is False] == [
        "clock limits",
        "cores",
        "power mode",
        "jetson_clocks",
    ]
    assert (found["power mode"].command, found["power mode"].can_fix) == ("sudo nvpmodel -m 0", True)
    assert (found["jetson_clocks"].command, found["jetson_clocks"].can_fix) == ("sudo jetson_clocks", True)
    restart = {"mode": "MAXN", "mode_id": 0, "asks_for_restart": True}
    mode = judge(look(told, {**JETSON_IDLE, "fastest_mode": restart}))["power mode"]
    assert (mode.is_fine, mode.can_fix, "restarts" in str(mode.advice)) == (False, False, True)


def test_a_jetson_whose_modes_have_no_fastest_is_not_judged() -> None:
    told = {**NANO, "nvpmodel": {"mode": "MODE_15W_6CORE", "mode_id": 2}}
    assert judge(look(told, {**JETSON_IDLE, "fastest_mode": None}))["power mode"].is_fine is None


def test_a_jetson_that_drew_too_much_current_is_told() -> None:
    assert wrong(look(ORIN, {**JETSON_IDLE, "overcurrent_events": 2})) == ["supply"]


@pytest.mark.parametrize(("degrees", "is_fine"), [(81.9, True), (82.1, False), (97.0, False)])
def test_a_zone_near_the_temperature_that_slows_it_down_is_told(degrees: float, is_fine: bool) -> None:
    zone = {**NANO["thermal_zones"][0], "temperature_c": degrees}
    found = judge(look({**NANO, "thermal_zones": [zone], "temperature_c": degrees}, JETSON_IDLE))
    assert found["temperature"].is_fine is is_fine


def test_a_hot_board_without_trip_points_is_told() -> None:
    assert wrong(look({**PI5, "temperature_c": 66.0}, PI_IDLE)) == ["temperature"]


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(-1.7e9, "behind"), (3600.0, "1:00:00 ahead of"), (45, "45 s")]
)
def test_a_wrong_date_is_told_with_the_right_one(ahead_s: float, said: str) -> None:
    now = {**PI_IDLE, "time": NOW + ahead_s}
    found = judge(look(PI5, now, ahead_s=ahead_s))["clock"]
    assert found.is_fine is False
    assert said in found.found
    assert "2023-11-14 22:13:20" in str(found.command)


def test_rapl_that_only_root_may_read_says_how_to_let_others() -> None:
    told = {**X86, "power_sources": [{"name": "rapl", "readable": False, "note": "root only"}]}
    found = judge(look(told, X86_IDLE))["power source"]
    assert (found.is_fine, "sudo chmod a+r" in str(found.command)) == (False, True)


def test_a_meter_is_a_source_whatever_the_board_has() -> None:
    assert wrong(look(PI4, PI_IDLE, meter={"command": ["read-meter"]})) == []


def test_what_else_computes_is_named() -> None:
    now = {**PI_IDLE, "busy_cores": 0.8, "busiest": [{"name": "node", "cores": 0.7}]}
    found = judge(look(PI5, now))["other load"]
    assert (found.is_fine, found.found) == (False, "0.80 cores busy: node 0.70")
    measuring = judge(look(PI5, {**now, "measuring": "ann@laptop since noon"}))
    assert measuring["other load"].is_fine is True  # it is the run that computes
    assert measuring["lock"].is_fine is False


def test_words_of_a_board_are_quoted_where_they_become_a_command() -> None:
    swap = {"name": "/dev/zram0;reboot", "size_mb": 1, "used_mb": 0, "is_zram": True}
    assert (
        judge(look(PI5, {**PI_IDLE, "swaps": [swap]}))["zram"].command == "sudo swapoff '/dev/zram0;reboot'"
    )
    now = {**PI_IDLE, "fix": {"problem": "broken", "path": "/home/$(id)/x"}}
    assert judge(look(PI5, now))["fix"].command == "rm '/home/$(id)/x'"


def test_a_fix_in_force_is_told_with_its_end() -> None:
    changed = [{"kind": "governor", "now": "performance", "before": "ondemand"}]
    fix = {"since": "2026-01-01", "holder": "ann", "state": "waiting", "run": None, "changed": changed}
    found = judge(look(PI5, {**PI_IDLE, "fix": fix}))["fix"]
    assert found.is_fine is True
    assert "governor performance (was ondemand)" in found.found
    assert "bench doctor --device b --restore" in str(found.advice)
    left = judge(look(PI5, {**PI_IDLE, "fix": {**fix, "state": "restoring"}}))["fix"]
    assert left.is_fine is False


def test_what_was_put_back_for_a_dead_run_is_told() -> None:
    outcome = {"kind": "governor", "state": "done", "wanted": "performance", "before": "ondemand"}
    found = judge(look(PI5, {**PI_IDLE, "settled": [outcome]}))["restore governor"]
    assert (found.is_fine, found.found) == (True, "back to ondemand")


def test_a_fix_that_sudo_refused_says_what_to_add() -> None:
    told = {**PI5, "clusters": [cluster(range(4), 1500, 2400, "ondemand")]}
    refused = Outcome(
        kind="governor",
        state="refused",
        wanted="performance",
        message="tee as root: sudo: a password is required",
    )
    found = judge(look(told, PI_IDLE), refused)["governor"]
    assert (found.is_fine, found.can_fix, found.command) == (False, False, GOVERNOR)
    assert "sudoers" in str(found.advice)
    clocks = refused.model_copy(update={"kind": "clocks", "wanted": "held by jetson_clocks"})
    unknown = judge(look({**NANO, "jetson_clocks": {"pinned": None}}, JETSON_IDLE), clocks)["jetson_clocks"]
    assert unknown.is_fine is False


def test_fixing_and_restoring_exclude_each_other_and_want_a_board() -> None:
    assert check_words(["b"], is_fixing=True, is_restoring=False) is Change.FIX
    assert check_words(["b"], is_fixing=False, is_restoring=True) is Change.RESTORE
    with pytest.raises(UsageError, match="changes it back"):
        check_words(["b"], is_fixing=True, is_restoring=True)
    with pytest.raises(UsageError, match="no board is named"):
        check_words([], is_fixing=True, is_restoring=False)
