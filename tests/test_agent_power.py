"""The ladder of sources of power, and the power pass by a real sampler on sensors that are made up."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from device_agent.energy import Load, Window
from device_agent.power import Source, describe_sources, find_source
from device_agent.power_pass import Pass, Timeline, measure_power, withhold_energy
from device_agent.sensors.process_cpu import parse_stat, read_group_ticks, read_ticks
from device_agent.supervision import Stopped, Wakeup, WorkerProcess
from host.fleet.agent_archive import build_agent
from host.specs.measurement import Power
from tests.agent_board import Board, make_model, pick
from tests.fake_module import Module
from tests.planted_commands import plant_command

ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) CPU [0%@729,off] tj@44.343C "
    "VDD_IN {}mW/9999mW VDD_CPU_GPU_CV 390mW/391mW VDD_SOC 1000mW/1000mW"
)


class Package:
    """A processor that draws some watts, in a tree of /sys."""

    def __init__(self, root: Path) -> None:
        self.counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
        self.counter.parent.mkdir(parents=True)
        (self.counter.parent / "name").write_text("package-0\n")
        (self.counter.parent / "max_energy_range_uj").write_text("262143328850\n")
        self.counter.write_text("1000000\n")


class StubWorker:
    """A process that sleeps, and says of the load what it was asked for: 100 inferences a second."""

    def __init__(self, on_load: Callable[[bool], None] = lambda _: None) -> None:
        self._on_load = on_load
        self._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.pid = self._process.pid

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self._on_load(True)
        time.sleep(command["seconds"])
        self._on_load(False)
        return {"inferences": max(1, round(100 * command["seconds"])), "seconds": command["seconds"]}

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the power pass looks for what other processes take: this machine may be busy with other tests."""
    root = tmp_path / "quiet"
    root.mkdir()
    monkeypatch.setenv("BOARDBENCH_ROOT", str(root))
    return root


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield Wakeup()
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_pass(
    source: Source | None,
    wakeup: Wakeup,
    window_s: float = 0.4,
    threads: int | None = 1,
    on_load: Callable[[bool], None] = lambda _: None,
    is_paced: bool = False,
) -> dict[str, Any]:
    assert source is not None
    worker = StubWorker(on_load)
    try:
        known = cast(WorkerProcess, worker)
        return measure_power(Pass(source, known, threads, window_s, 10.0, wakeup, is_paced))
    finally:
        worker.end()


def run_whole(source: Source | None, wakeup: Wakeup, window_s: float = 0.4, **options: Any) -> dict[str, Any]:
    """As `run_pass`, in longer windows where this machine had no time for enough values in short ones."""
    for times in (1, 4, 16):
        found = run_pass(source, wakeup, times * window_s, **options)
        if found["idle_w"] is not None and found["load_w"] is not None:
            break
    return found


def test_a_board_without_a_source_has_none(tmp_path: Path) -> None:
    assert find_source(str(tmp_path)) is None
    assert describe_sources(str(tmp_path)) == []


def check_course(found: dict[str, Any], idle_w: float) -> None:
    """Its windows are in order, the mean of the load is what was told of it, and the host takes it.

    On a busy machine an idle window may have too few values, and then it is not there.
    """
    windows = {one["phase"]: one for one in found["course"]}
    phases, starts = zip(*((one["phase"], one["start_s"]) for one in found["course"]), strict=True)
    assert phases == ("idle", "load", "idle") or found["idle_w"] is None
    assert sorted(set(starts)) == list(starts)
    means = {
        phase: sum(watts for _, watts in one["points"]) / len(one["points"]) for phase, one in windows.items()
    }
    assert means["load"] == pytest.approx(found["load_w"], abs=1e-4)
    assert means.get("idle", idle_w) == pytest.approx(idle_w, rel=0.2)
    assert all(5 <= len(one["points"]) <= 200 for one in found["course"])
    assert Power.model_validate_json(json.dumps(found)).course


def test_ina_sensors_are_sampled_and_come_before_rapl(tmp_path: Path, wakeup: Wakeup) -> None:
    module = Module(tmp_path)
    Package(tmp_path)
    source = find_source(module.root)
    found = run_whole(source, wakeup, on_load=lambda is_on: module.draw(9.0 if is_on else 5.0))
    assert (found["source"], found["rails"]) == ("ina VDD_IN", ["VDD_IN"])
    assert found["idle_w"] == pytest.approx(5.0, rel=0.1)
    assert found["load_w"] == pytest.approx(9.0, rel=0.1)
    assert found["energy_mj"] == pytest.approx(90.0, rel=0.1)  # a hundred inferences a second
    assert found["energy_net_mj"] == pytest.approx(40.0, rel=0.3)
    assert found["rate_hz"] > 5
    check_course(found, idle_w=5.0)
    assert [one["name"] for one in describe_sources(module.root)] == ["ina VDD_IN", "rapl"]


class Ticks:
    """The ticks of cores that others keep busy: each reading finds as many more as the machine has in all."""

    def __init__(self, root: Path) -> None:
        self._stat = root / "proc/stat"
        self._stat.parent.mkdir()
        self.write(0)

    def write(self, seconds: float) -> None:
        ticks = round(seconds * os.sysconf("SC_CLK_TCK"))
        cores = sorted(os.sched_getaffinity(0))
        self._stat.write_text("".join(f"cpu{core} {ticks} 0 0 1000 0 0 0 0 0 0\n" for core in cores))


def test_where_others_compute_under_load_there_is_no_energy(
    tmp_path: Path, quiet: Path, wakeup: Wakeup
) -> None:
    ticks, asked = Ticks(quiet), [0]

    def hog(is_on: bool) -> None:
        asked[0] += not is_on
        ticks.write(asked[0])

    found = run_pass(find_source(Module(tmp_path).root), wakeup, on_load=hog)
    assert (found["energy_mj"], found["energy_net_mj"]) == (None, None)
    assert re.fullmatch(
        r"other processes took \d+ % of the cores while power was read under load", found["note"]
    )
    assert found["load_w"] == pytest.approx(5.0)
    assert found["idle_w"] == pytest.approx(5.0)


def test_what_others_take_at_idle_costs_net_energy_alone() -> None:
    window = Window(0.0, 10.0)
    figures = {"load_w": 9.0, "idle_w": 5.0, "energy_mj": 90.0, "energy_net_mj": 40.0, "note": None}
    quiet_board = Timeline(window, Load(window, 10.0, 100), window, 0.04, None)
    assert withhold_energy(figures, quiet_board, is_paced=False) == figures
    found = withhold_energy(figures, quiet_board._replace(idle_others=0.26), is_paced=False)
    assert found["note"] == "other processes took 26 % of the cores while power was read at idle"
    assert (found["energy_mj"], found["energy_net_mj"]) == (90.0, None)
    silent = dict(figures, load_w=None, energy_mj=None, energy_net_mj=None, note="silent")
    assert withhold_energy(silent, quiet_board._replace(load_others=1.0), is_paced=True) == silent


def test_rounds_at_a_pace_have_no_energy(tmp_path: Path, wakeup: Wakeup) -> None:
    found = run_pass(find_source(Module(tmp_path).root), wakeup, is_paced=True)
    assert (found["energy_mj"], found["energy_net_mj"]) == (None, None)
    assert "not at the pace" in found["note"]
    assert found["load_w"] == pytest.approx(5.0)


def test_the_worker_and_the_sampler_with_what_it_reads_are_no_others() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdout=subprocess.PIPE, start_new_session=True
    ) as known:
        assert known.stdout is not None
        known.stdout.readline()
        told = [read_ticks(known.pid), read_group_ticks(known.pid)]
        known.kill()
    assert all(ticks / os.sysconf("SC_CLK_TCK") >= 0.27 for ticks in told)
    assert read_ticks(known.pid) == 0
    assert parse_stat("7 (a) 1 b) S 1 42 7 0 -1 4 1 2 3 4 10 20 3 4 20 0") == (42, 37)
    assert parse_stat("7 (a) S") is None
    assert parse_stat("7 (a) S x x x x x x x x x x x x x x x") is None


def test_a_sensor_is_asked_as_often_as_its_chip_renews_its_values(tmp_path: Path) -> None:
    module = Module(tmp_path)
    for milliseconds, best_s in ((35, 0.035), (1, 0.01), (900, 0.1), (0, 0.01)):
        module.tell_interval(milliseconds)
        source = find_source(module.root)
        assert source is not None
        assert source.spec["best_s"] == best_s


def test_a_sensor_that_falls_silent_leaves_its_name_and_no_number(tmp_path: Path, wakeup: Wakeup) -> None:
    module = Module(tmp_path)
    asked = []

    def fall_silent(is_on: bool) -> None:
        asked.append(is_on)
        if len(asked) == 4:  # at the end of the load
            module.fall_silent()

    found = run_pass(find_source(module.root), wakeup, window_s=1.0, on_load=fall_silent)
    assert found["source"] == "ina VDD_IN"
    assert (found["idle_w"], found["energy_net_mj"]) == (None, None)
    assert find_source(module.root) is None
    assert describe_sources(module.root) == [
        {"name": "ina VDD_IN", "readable": False, "note": "a rail of the sum gives no value"}
    ]


def test_rails_that_make_up_no_total_are_no_source(tmp_path: Path) -> None:
    assert find_source(Module(tmp_path, label="VDD_SOC_SRAM").root) is None


def test_what_a_source_does_not_see_is_told(tmp_path: Path) -> None:
    (told,) = describe_sources(Module(tmp_path).root)
    assert "without its carrier board" in told["note"]


def test_a_counter_of_rapl_becomes_watts(tmp_path: Path, wakeup: Wakeup) -> None:
    package = Package(tmp_path)
    source = find_source(str(tmp_path))
    assert source is not None
    counting = (
        "import pathlib, sys, time; counter = pathlib.Path(sys.argv[1]); begin = time.monotonic()\n"
        "while True:\n"
        "    part = counter.with_name('part')\n"
        "    part.write_text(f'{1000000 + (time.monotonic() - begin) * 25e6:.0f}\\n')\n"
        "    part.replace(counter); time.sleep(0.002)\n"
    )
    with subprocess.Popen([sys.executable, "-c", counting, str(package.counter)]) as counter:
        try:
            found = run_whole(source, wakeup)
        finally:
            counter.kill()
    assert found["source"] == "rapl"
    assert found["load_w"] == pytest.approx(25.0, rel=0.2)
    check_course(found, idle_w=25.0)
    assert found["energy_mj"] == pytest.approx(250.0, rel=0.2)


def test_a_counter_for_root_alone_is_told_and_not_used(tmp_path: Path) -> None:
    package = Package(tmp_path)
    (told,) = describe_sources(str(tmp_path))
    assert told["readable"] is True
    assert "packages only" in told["note"]
    package.counter.unlink()
    assert find_source(str(tmp_path)) is None
    (told,) = describe_sources(str(tmp_path))
    assert (told["name"], told["readable"]) == ("rapl", False)
    assert "root" in told["note"]


def plant_tegrastats(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """`tegrastats` of a board that is not here, and where it writes its process number and its words."""
    plant_command(folder, monkeypatch, "tegrastats", "")
    trace = folder / "trace"
    command = folder / "bin" / "tegrastats"
    command.write_text(f"#!/bin/sh\necho $$ \"$@\" >> '{trace}'\n{script}\n")
    return trace


def repeat(line: str) -> str:
    return f"while true; do echo '{line}'; sleep 0.02; done"


def is_running(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tegrastats_tells_the_current_value_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wakeup: Wakeup
) -> None:
    trace = plant_tegrastats(tmp_path, monkeypatch, repeat(ORIN.format(5200)))
    (told,) = describe_sources(str(tmp_path))
    assert (told["name"], told["readable"]) == ("tegrastats VDD_IN", True)
    found = run_pass(find_source(str(tmp_path)), wakeup)
    assert (found["source"], found["rails"]) == ("tegrastats VDD_IN", ["VDD_IN"])
    assert found["load_w"] == pytest.approx(5.2)
    check_course(found, idle_w=5.2)
    started = [line.split() for line in trace.read_text().splitlines()]
    assert len(started) == 3
    assert all(words[1:] == ["--interval", "100"] for words in started)
    assert not any(is_running(words[0]) for words in started)


def test_a_line_that_lacks_a_rail_of_the_sum_has_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wakeup: Wakeup
) -> None:
    rails = "VDD_GPU_SOC 2000mW/1mW VDD_CPU_CV 1000mW/1mW"
    whole = f"RAM 1/2MB {rails} VIN_SYS_5V0 3000mW/1mW"
    trace = plant_tegrastats(tmp_path, monkeypatch, f"echo '{whole}'; {repeat(f'RAM 1/2MB {rails}')}")
    source = find_source(str(tmp_path))
    assert source is not None
    assert source.name == "tegrastats VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    found = run_pass(source, wakeup)
    assert (found["load_w"], found["energy_mj"]) == (None, None)
    assert found["note"]
    assert found["course"] == []
    assert trace.exists()


def test_tegrastats_that_dies_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wakeup: Wakeup
) -> None:
    line = ORIN.format(5200)
    plant_tegrastats(tmp_path, monkeypatch, f"echo '{line}'; sleep 0.3; echo broken >&2; exit 7")
    found = run_pass(find_source(str(tmp_path)), wakeup)
    assert found["source"] == "tegrastats VDD_IN"
    assert found["energy_mj"] is None
    assert found["note"] == "the command ended with exit code 7: broken"


def test_tegrastats_without_a_total_is_told_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_tegrastats(tmp_path, monkeypatch, "echo 'RAM 598/1892MB (lfb 209x4MB) cpu [0%,off]@-1'; exit 0")
    assert find_source(str(tmp_path)) is None
    (told,) = describe_sources(str(tmp_path))
    assert (told["name"], told["readable"]) == ("tegrastats", False)
    assert "no total power" in told["note"]


def test_the_rails_of_a_raspberry_pi_5_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wakeup: Wakeup
) -> None:
    core = "VDD_CORE_A current(7)=2.00000000A\nVDD_CORE_V volt(15)=0.90000000V"
    board = " 3V3_SYS_A current(1)=0.10000000A\n 3V3_SYS_V volt(9)=3.00000000V\n EXT5V_V volt(24)=5.1V"
    plant_command(tmp_path, monkeypatch, "vcgencmd", f"{core}\n{board}\n")
    (told,) = describe_sources(str(tmp_path))
    assert told["name"] == "pmic"
    assert "5 V" in told["note"]
    found = run_whole(find_source(str(tmp_path)), wakeup, window_s=2.0)
    assert found["source"] == "pmic"
    assert found["load_w"] == pytest.approx(2.1)
    (load,) = (one for one in found["course"] if one["phase"] == "load")
    assert {watts for _, watts in load["points"]} == {2.1}


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


def test_a_meter_comes_before_every_sensor(tmp_path: Path, wakeup: Wakeup) -> None:
    module = Module(tmp_path)
    program = "import time\nwhile True: print(time.monotonic(), 7.5); time.sleep(0.02)"
    meter = {"command": [sys.executable, "-c", program]}
    source = find_source(module.root, meter)
    found = run_whole(source, wakeup)
    assert found["source"] == f"meter {Path(sys.executable).name}"
    assert found["load_w"] == pytest.approx(7.5)
    check_course(found, idle_w=7.5)


def test_a_meter_that_tells_nothing_is_named_and_no_sensor_takes_its_place(
    tmp_path: Path, wakeup: Wakeup
) -> None:
    module = Module(tmp_path)
    source = find_source(module.root, {"command": ["sh", "-c", "echo no device >&2; exit 3"]})
    found = run_pass(source, wakeup)
    assert found["source"] == "meter sh"
    assert found["energy_mj"] is None
    assert found["note"] == "the command ended with exit code 3: no device"
    assert found["course"] == []


def test_a_run_that_is_to_end_waits_for_no_meter(wakeup: Wakeup) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        find_source("/", {"command": ["sleep", "60"]}, wakeup.descriptor)


def test_a_worker_on_all_cores_shares_one_with_the_sampler(tmp_path: Path, wakeup: Wakeup) -> None:
    module, cores = Module(tmp_path), len(os.sched_getaffinity(0))
    shared = run_pass(find_source(module.root), wakeup, threads=cores)
    assert shared["sampler"] == "shared core"
    if cores > 1:
        assert run_pass(find_source(module.root), wakeup, threads=1)["sampler"] == "own core"


def test_a_run_tells_the_power_of_its_board_and_what_was_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOARDBENCH_ROOT", Module(tmp_path / "root").root)
    board = Board(tmp_path / "work", build_agent(tmp_path / "cache").path)
    board.work.mkdir()
    cores = len(os.sched_getaffinity(0))
    board.put_job("r1", *(board.describe_task(f"t{n}", make_model(4), threads=n) for n in {1, cores}))
    results = {one["task"]: one["measurement"]["power"] for one in pick(board.measure("r1"), "result")}
    for name, found in results.items():
        assert (found["source"], found["rails"]) == ("ina VDD_IN", ["VDD_IN"])
        assert found["load_w"] == pytest.approx(5.0)
        assert found["energy_mj"] > 0
        check_course(found, idle_w=5.0)
        assert found["sampler"] == ("shared core" if name == f"t{cores}" else "own core")
    assert (board.work / "runs" / "r1" / "agent.log").read_text() == ""
