"""What is seen of a board while a worker measures, and when it is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent import watching
from device_agent.environment import usable_cores
from device_agent.sensors.load import Memory
from device_agent.summary import join_during
from device_agent.watching import PERIOD_S, Look, Starving, Watch, describe_shortage, summarize_looks
from host.fleet.agent_archive import build_agent
from tests.agent_board import PROTOCOL, Board, make_model, pick
from tests.planted_commands import plant_command


class Sensors:
    """A tree with a clock for each core of this machine, a thermal zone and a Raspberry Pi's firmware."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.firmware = root / "sys/devices/platform/soc/soc:firmware"
        self.show(1500.0, 45.0, 0)

    def show(self, fastest_mhz: float, temperature_c: float, bits: int) -> None:
        for number, core in enumerate(usable_cores()):
            mhz = 600.0 if number else fastest_mhz
            self._write(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{mhz * 1000:.0f}")
        self._write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self._write("sys/class/thermal/thermal_zone0/temp", f"{temperature_c * 1000:.0f}")
        self._write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits:x}")

    def _write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(".part")  # whoever reads meanwhile finds the old or the new value
        part.write_text(text + "\n")
        part.rename(file)


def test_a_watch_sees_the_extremes_of_a_window_only(tmp_path: Path) -> None:
    sensors, now = Sensors(tmp_path), [0.0]
    watch = Watch(str(tmp_path), clock=lambda: now[0])
    watch.begin()
    for at, mhz, degrees, bits in (
        (0.0, 600.0, 40.0, 0),
        (0.5, 1450.0, 45.0, 0),
        (1.0, 1500.0, 50.0, 0x2),
        (1.5, 900.0, 55.0, 0x4),
        (2.0, 1500.0, 60.0, 0),
        (2.5, 700.0, 90.0, 0x8),
    ):
        now[0] = at
        sensors.show(mhz, degrees, bits)
        watch.look()
    assert watch.describe(0.8, 2.2) == {
        "samples": 3,
        "warm_mhz": 1450.0,
        "first_mhz": 1500.0,
        "lowest_mhz": 900.0,
        "highest_mhz": 1500.0,
        "gpu_mhz": None,
        "temperature_c_max": 60.0,
        "throttle_bits": 0x6,
    }
    assert watch.describe(2.2, 3.0)["lowest_mhz"] == 700.0  # the next piece of a long loop
    watch.begin()
    assert watch.describe(0.0, 9.0)["samples"] == 0


def test_the_clock_of_a_gpu_is_that_of_most_looks(tmp_path: Path) -> None:
    clock = tmp_path / "sys/class/devfreq/17000000.gpu/cur_freq"
    clock.parent.mkdir(parents=True)
    now = [0.0]
    watch = Watch(str(tmp_path), clock=lambda: now[0])
    for hertz in (306000000, 918000000, 918000000):
        now[0] += PERIOD_S
        clock.write_text(f"{hertz}\n")
        watch.look()
    assert watch.describe(0.0, float("inf"))["gpu_mhz"] == 918.0


def test_a_board_that_tells_nothing_is_seen_as_nothing(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path))
    watch.look()
    seen = watch.describe(0.0, 1e12)
    assert seen.pop("samples") == 1
    assert set(seen.values()) == {None}


def test_looking_takes_no_more_than_its_share_of_a_core(tmp_path: Path) -> None:
    now, cost = [100.0], iter((0.0, 0.0001, 10.0, 10.004, 20.0, 20.004))
    watch = Watch(str(tmp_path), clock=lambda: now[0], cost=lambda: next(cost))
    seen = []
    while now[0] < 103.0:  # from the second look on, a sensor takes 4 ms of the processor's time
        watch.look()
        seen.append(watch.describe(now[0], now[0])["samples"])
        now[0] = watch.next_s
    assert seen == [1, 1, 0, 0, 0, 1]


def test_memory_is_looked_at_every_half_second_even_where_sensors_are_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, cost, left = [0.0], iter((0.0, 60.0)), [900.0]
    monkeypatch.setattr(watching, "read_memory", lambda _root: Memory(1000.0, left[0]))
    watch = Watch(str(tmp_path), clock=lambda: now[0], cost=lambda: next(cost))
    watch.look()  # sensors that took a minute of the processor's time are not asked again for hours
    now[0], left[0] = watch.next_s, 10.0
    assert now[0] == PERIOD_S
    with pytest.raises(Starving):
        watch.look()


def test_no_look_within_a_window_is_told_as_none() -> None:
    seen = summarize_looks([Look(1.0, 1500.0, 50.0, 0)], 2.0, 3.0)
    assert (seen["samples"], seen["warm_mhz"], seen["lowest_mhz"]) == (0, 1500.0, None)


def test_rounds_are_joined_to_their_extremes() -> None:
    one = summarize_looks([Look(0.0, 1500.0, 50.0, 1, gpu_mhz=900.0)], 0.0, 1.0)
    other = summarize_looks([Look(0.0, 1400.0, 60.0, 4, gpu_mhz=700.0)], 0.0, 1.0)
    assert join_during([one, None, other]) == {
        "samples": 2,
        "lowest_mhz": 1400.0,
        "highest_mhz": 1500.0,
        "gpu_mhz": 700.0,
        "temperature_c_max": 60.0,
        "throttle_bits": 5,
    }
    assert join_during([None])["lowest_mhz"] is None


@pytest.mark.parametrize(
    ("total", "available", "floor"),
    [(900.0, 63.0, "64"), (4000.0, 199.0, "200"), (64000.0, 255.0, "256")],
)
def test_a_board_keeps_a_part_of_its_memory_for_itself(total: float, available: float, floor: str) -> None:
    shortage = describe_shortage(Memory(total, available))
    assert shortage is not None
    assert f"{available:.0f} of {total:.0f} MiB were left, less than the {floor}" in shortage
    assert describe_shortage(Memory(total, available + 2)) is None


def test_a_kernel_that_does_not_tell_its_memory_starves_nobody() -> None:
    assert describe_shortage(Memory(1000.0, None)) is None


def test_a_look_at_a_starving_board_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "read_memory", lambda _root: Memory(1000.0, 10.0))
    with pytest.raises(Starving, match="10 of 1000 MiB were left"):
        Watch(str(tmp_path)).look()


@pytest.mark.parametrize(("last", "is_flagged"), [("0x50000", True), ("0x0", False)])
def test_a_run_believes_the_firmware_and_not_what_the_kernel_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, is_flagged: bool
) -> None:
    Sensors(tmp_path / "root")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(tmp_path / "root"))
    plant_command(tmp_path, monkeypatch, "vcgencmd", "")
    asked = tmp_path / "asked"
    # Asked when the run starts, when the model is opened, before the only round, and after it.
    (tmp_path / "bin" / "vcgencmd").write_text(
        f'#!/bin/sh\n[ "$1" = get_throttled ] || exit 1\necho >> {asked}\n'
        f"[ $(wc -l < {asked}) -lt 4 ] && echo throttled=0x0 || echo throttled={last}\n"
    )
    board = Board(tmp_path / "work", build_agent(tmp_path).path)
    board.put_job("r1", board.describe_task("a", make_model()), protocol={**PROTOCOL, "rounds": 1})
    events = board.measure("r1")
    assert pick(events, "run-started")[0]["environment"]["throttle_bits"] == 0
    around = pick(events, "round")[0]["environment"]
    assert (around["before"]["throttle_bits"], around["after"]["throttle_bits"]) == (0, int(last, 16))
    flags = pick(events, "result")[0]["measurement"]["flags"]
    assert ("throttled" in flags) is is_flagged
