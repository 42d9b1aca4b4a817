"""Power and energy, from a counter that the test moves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from device_agent.power import (
    NO_POWER,
    describe_sources,
    find_source,
    measure_load,
    read_idle,
    summarize_power,
)
from device_agent.sampling import PowerSampler, find_joules
from tests.planted_commands import plant_command


class Socket:
    """A package that draws some watts, and the time in which it does."""

    def __init__(self, root: Path, watts: float) -> None:
        self.root = root
        self.watts = watts
        self.now = 0.0
        self._energy_uj = 0
        self._folder = root / "sys/class/powercap/intel-rapl:0"
        self._folder.mkdir(parents=True)
        (self._folder / "name").write_text("package-0\n")
        (self._folder / "max_energy_range_uj").write_text("1000000000\n")
        self.pass_time(0)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._energy_uj = (self._energy_uj + int(self.watts * seconds * 1e6)) % 1000000000
        (self._folder / "energy_uj").write_text(f"{self._energy_uj}\n")

    def clock(self) -> float:
        return self.now


def test_energy_per_inference_is_gross_and_net_of_idle(tmp_path: Path) -> None:
    socket = Socket(tmp_path, watts=5.0)
    source = find_source(str(tmp_path))
    assert source is not None
    idle = read_idle(source, 10.0, socket.pass_time, socket.clock)
    assert idle == [pytest.approx(5.0)] * 10

    def work() -> int:
        socket.watts = 15.0
        socket.pass_time(10.0)
        return 1000

    joules, seconds, inferences = measure_load(source, work, socket.clock)
    found = summarize_power(source.name, idle, joules, seconds, inferences)
    assert found == {
        "source": "rapl",
        "idle_w": pytest.approx(5.0),
        "load_w": pytest.approx(15.0),
        "energy_mj": pytest.approx(150.0),
        "energy_net_mj": pytest.approx(100.0),
    }


def test_a_counter_that_wraps_between_two_readings_is_no_loss(tmp_path: Path) -> None:
    socket = Socket(tmp_path, watts=90.0)
    source = find_source(str(tmp_path))
    assert source is not None
    assert read_idle(source, 100.0, socket.pass_time, socket.clock) == [pytest.approx(90.0)] * 10


def test_a_load_within_the_noise_of_idle_has_no_net_energy() -> None:
    noisy = [4.0, 6.0, 4.0, 6.0]  # noise 1 W around 5 W
    within = summarize_power("rapl", noisy, 79.0, 10.0, 100)
    assert within["energy_mj"] == pytest.approx(790.0)
    assert within["energy_net_mj"] is None
    assert summarize_power("rapl", noisy, 81.0, 10.0, 100)["energy_net_mj"] == pytest.approx(310.0)


def test_a_source_that_fails_on_the_way_leaves_its_name_and_no_number() -> None:
    assert summarize_power("rapl", [5.0], None, 10.0, 100) == {**NO_POWER, "source": "rapl"}
    assert summarize_power("rapl", [], 50.0, 10.0, 100) == {**NO_POWER, "source": "rapl"}


def test_a_board_without_a_source_has_none(tmp_path: Path) -> None:
    assert find_source(str(tmp_path)) is None
    assert describe_sources(str(tmp_path)) == []


def test_a_counter_for_root_alone_is_told_and_not_used(tmp_path: Path) -> None:
    Socket(tmp_path, watts=5.0)
    assert describe_sources(str(tmp_path))[0]["readable"] is True
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert find_source(str(tmp_path)) is None
    told = describe_sources(str(tmp_path))[0]
    assert (told["name"], told["readable"]) == ("rapl", False)
    assert "root" in told["note"]


class Module:
    """A Jetson's INA3221 in /sys, whose one rail draws what the test says."""

    def __init__(self, root: Path, label: str = "VDD_IN") -> None:
        self.root = str(root)
        self._folder = root / "sys/class/hwmon/hwmon3"
        self._folder.mkdir(parents=True)
        for name, text in {"name": "ina3221", "in1_label": label, "in1_input": "5000"}.items():
            (self._folder / name).write_text(f"{text}\n")
        self.draw(5.0)

    def draw(self, watts: float) -> None:
        (self._folder / "curr1_input").write_text(f"{watts * 200:.0f}\n")  # mA at 5 V

    def fall_silent(self) -> None:
        (self._folder / "curr1_input").unlink()


def test_an_ina_sensor_is_read_in_the_background_and_comes_before_rapl(tmp_path: Path) -> None:
    module = Module(tmp_path)
    Socket(tmp_path, watts=1.0)
    source = find_source(module.root)
    assert source is not None
    assert source.name == "ina VDD_IN"

    def work() -> int:
        module.draw(9.0)
        time.sleep(0.6)  # longer than what counts as a gap
        return 10

    with source.counting():
        idle = read_idle(source, 0.5, time.sleep, time.monotonic)
        joules, seconds, inferences = measure_load(source, work, time.monotonic)
    assert idle == [pytest.approx(5.0, rel=0.2)] * 10  # a reading and its time are taken one after the other
    found = summarize_power(source.name, idle, joules, seconds, inferences)
    assert found["load_w"] == pytest.approx(9.0, rel=0.2)
    assert found["energy_net_mj"] is not None


def test_energy_between_samples_is_a_trapezoid() -> None:
    now, watts = 0.0, 2.0
    sampler = PowerSampler(lambda: watts, clock=lambda: now)
    before = sampler.read()
    now, watts = 0.25, 4.0
    after = sampler.read()
    assert before is not None
    assert after is not None
    assert find_joules(before, after) == pytest.approx(0.75)


def test_energy_over_a_gap_in_the_samples_is_not_known() -> None:
    now = 0.0
    sampler = PowerSampler(lambda: 5.0, clock=lambda: now)
    before = sampler.read()
    now = 0.6
    after = sampler.read()
    now = 0.7
    later = sampler.read()
    assert before is not None
    assert after is not None
    assert later is not None
    assert find_joules(before, after) is None
    assert find_joules(after, later) == pytest.approx(0.5)


def test_a_sensor_that_falls_silent_leaves_its_name_and_no_number(tmp_path: Path) -> None:
    module = Module(tmp_path)
    source = find_source(module.root)
    assert source is not None

    def work() -> int:
        module.fall_silent()
        return 10

    with source.counting():
        idle = read_idle(source, 0.1, time.sleep, time.monotonic)
        joules, seconds, inferences = measure_load(source, work, time.monotonic)
    found = summarize_power(source.name, idle, joules, seconds, inferences)
    assert found == {**NO_POWER, "source": "ina VDD_IN"}
    assert find_source(module.root) is None
    assert describe_sources(module.root) == [
        {"name": "ina VDD_IN", "readable": False, "note": "a rail of the sum gives no value"}
    ]


def test_rails_that_make_up_no_total_are_no_source(tmp_path: Path) -> None:
    assert find_source(Module(tmp_path, label="VDD_SOC_SRAM").root) is None


def test_the_rails_of_a_raspberry_pi_5_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = "VDD_CORE_A current(7)=2.00000000A\nVDD_CORE_V volt(15)=0.90000000V"
    board = " 3V3_SYS_A current(1)=0.10000000A\n 3V3_SYS_V volt(9)=3.00000000V\n EXT5V_V volt(24)=5.1V"
    plant_command(tmp_path, monkeypatch, "vcgencmd", f"{core}\n{board}\n")
    source = find_source(str(tmp_path))
    assert source is not None
    assert source.name == "pmic"
    with source.counting():
        joules, seconds, _ = measure_load(source, lambda: time.sleep(0.6) or 1, time.monotonic)
    assert joules is not None
    assert joules / seconds == pytest.approx(2.1, rel=0.2)


@pytest.mark.parametrize(
    "lines",
    [
        'error=1 error_msg="Command not registered"',  # up to the Raspberry Pi 4
        "VDD_CORE_A current(7)=2.00000000A\nVDD_CORE_V volt(15)=0.9V\n3V3_SYS_A current(1)=0.10000000A",
        "EXT5V_V volt(24)=5.05716000V",
    ],
)
def test_rails_that_are_not_whole_are_no_source(
    lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_command(tmp_path, monkeypatch, "vcgencmd", lines + "\n")
    assert find_source(str(tmp_path)) is None
    assert describe_sources(str(tmp_path)) == []
