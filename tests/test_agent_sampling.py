"""The sampling process: what it reads from commands, devices and pages, where it runs, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from device_agent.affinity import choose_core, keep_off, read_affinities
from device_agent.line_source import LineSource, start_command
from device_agent.polled_source import (
    MOST_DUTY,
    MOST_SHARED_DUTY,
    MOST_SPARING_S,
    PolledSource,
    choose_period,
)
from device_agent.power import find_source
from device_agent.sampling import Record, Sampler, SamplerFailed, probe
from tests.fake_module import Module

ROOT = Path(__file__).resolve().parent.parent


def meter(**told: Any) -> dict[str, Any]:
    return {"kind": "meter", "meter": told}


def record(spec: dict[str, Any], seconds: float = 0.3) -> Record:
    with Sampler(spec) as sampler:
        sampler.wait_ready()
        time.sleep(seconds)
        return sampler.stop()


def watts_of(found: Record) -> set[float | None]:
    return {one.watts for one in found.arrivals}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> bool:
    for _ in range(500):
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def find_spec(root: Path) -> dict[str, Any]:
    source = find_source(Module(root).root)
    assert source is not None
    return dict(source.spec)


def test_a_sensor_is_read_at_moments_of_the_monotonic_clock(tmp_path: Path) -> None:
    begin = time.monotonic()
    found = record(find_spec(tmp_path))
    moments = [one.at for one in found.arrivals]
    assert moments == sorted(moments)
    assert begin < moments[0] < moments[-1] < time.monotonic()
    assert watts_of(found) == {5.0}
    assert found.reason is None
    steps = [after - before for before, after in pairwise(moments)]
    assert len({round(step, 4) for step in steps}) > 1  # not in step with anything


def test_nothing_is_read_while_the_sampler_is_held(tmp_path: Path) -> None:
    with Sampler(find_spec(tmp_path)) as sampler:
        sampler.wait_ready()
        sampler.hold()
        held = time.monotonic()
        time.sleep(0.5)
        going = time.monotonic()
        sampler.go_on()
        time.sleep(0.3)
        found = sampler.stop()
    between = [one for one in found.arrivals if held + 0.2 < one.at < going]
    assert between == []
    assert any(one.at > going for one in found.arrivals)


def test_a_sampler_that_is_held_can_be_stopped(tmp_path: Path) -> None:
    with Sampler(find_spec(tmp_path)) as sampler:
        sampler.wait_ready()
        sampler.hold()
        assert sampler.stop().arrivals


def test_a_sampler_that_is_killed_says_so(tmp_path: Path) -> None:
    with Sampler(find_spec(tmp_path)) as sampler:
        sampler.wait_ready()
        os.kill(sampler.pid, signal.SIGKILL)
        with pytest.raises(SamplerFailed, match="died"):
            sampler.stop()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_sampler_keeps_to_its_core_and_the_worker_to_the_others(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    core = min(cores)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as worker:
        try:
            with keep_off(worker.pid, core) as is_kept, Sampler(find_spec(tmp_path), core) as sampler:
                assert is_kept
                sampler.wait_ready()
                assert os.sched_getaffinity(sampler.pid) == {core}
                assert set.union(*read_affinities(worker.pid).values()) == cores - {core}
            assert os.sched_getaffinity(worker.pid) == cores
        finally:
            worker.kill()


def test_every_thread_of_a_worker_keeps_off_and_comes_back() -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    stopped = threading.Event()
    thread = threading.Thread(target=stopped.wait)
    thread.start()
    assert thread.native_id is not None
    try:
        os.sched_setaffinity(thread.native_id, {min(cores)})  # as a pool of threads pins its own
        with keep_off(os.getpid(), min(cores)) as is_kept:
            assert is_kept
            assert os.sched_getaffinity(thread.native_id) == cores - {min(cores)}
        assert os.sched_getaffinity(thread.native_id) == {min(cores)}
        assert os.sched_getaffinity(0) == cores
    finally:
        stopped.set()
        thread.join()


def test_keeping_off_a_process_that_is_gone_changes_nothing() -> None:
    with subprocess.Popen(["true"]) as done:
        done.wait()
    with keep_off(done.pid, 0) as is_kept:
        assert not is_kept


def test_a_core_is_spared_where_a_worker_leaves_one() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert choose_core(cores, len(cores)) is None
    assert choose_core([7], None) is None
    assert choose_core([5, 6, 7], 2) in (5, 6, 7)
    assert choose_core([5, 6, 7], None) in (5, 6, 7)


def test_a_period_grows_with_what_asking_costs() -> None:
    assert choose_period(0.01, 0.0001, 0.0001, has_own_core=True) == 0.01
    assert choose_period(0.01, 0.004, 0.004, has_own_core=True) == pytest.approx(0.004 / MOST_DUTY)
    assert choose_period(0.01, 0.001, 0.001, has_own_core=False) == pytest.approx(0.001 / MOST_SHARED_DUTY)
    assert choose_period(0.01, 0.01, 0.01, has_own_core=False) == MOST_SPARING_S
    assert choose_period(0.01, 0.0, 0.3, has_own_core=True) == pytest.approx(0.6)


def test_moments_that_were_missed_are_not_made_up_for() -> None:
    now = [0.0]
    source = PolledSource(lambda: 5.0, 0.1, clock=lambda: now[0])
    taken = []
    for now[0] in (0.0, 0.01, 10.0, 10.0, 10.01, 10.2):
        taken += [one.at for one in source.take([])]
    assert taken == [0.0, 10.0, 10.2] or taken == [0.0, 10.0, 10.0, 10.2]


def test_lines_of_a_command_arrive_one_by_one_though_it_flushes_none() -> None:
    program = "import time\nfor at in range(10**6): print(at / 50, 4.5); time.sleep(0.02)"
    found = record(meter(command=[sys.executable, "-c", program]), 0.5)
    assert watts_of(found) == {4.5}
    assert len({one.at for one in found.arrivals}) > 3
    own = [one.seconds for one in found.arrivals]
    assert own[:3] == [0.0, 0.02, 0.04]


def test_nothing_that_a_meter_started_is_left(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > '{tmp_path}/child'; while true; do echo 1 2; sleep 0.05; done"
    with Sampler(meter(command=["sh", "-c", script])) as sampler:
        sampler.wait_ready()
        child = int((tmp_path / "child").read_text())
        assert is_alive(child)
        sampler.stop()
    assert wait_until_gone(child)


def test_a_sampler_and_its_command_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from device_agent.sampling import Sampler\n"
        "sampler = Sampler(json.loads(sys.argv[2])); sampler.wait_ready()\n"
        "print(sampler.pid, flush=True); time.sleep(600)\n"
    )
    spec = meter(
        command=["sh", "-c", f"echo $$ > '{tmp_path}/meter'; while true; do echo 1 2; sleep 0.05; done"]
    )
    command = [sys.executable, "-c", program, str(ROOT), json.dumps(spec)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        sampler = int(run.stdout.readline())
        run.kill()
    assert wait_until_gone(sampler)
    assert wait_until_gone(int((tmp_path / "meter").read_text()))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"command": ["no-such-meter"]}, "no-such-meter cannot be started: No such file"),
        ({"command": ["true"]}, "ended with exit code 0"),
        ({"command": ["sh", "-c", "echo 'not found: /dev/x' >&2; exit 4"]}, "exit code 4: not found: /dev/x"),
        ({"command": ["sh", "-c", "echo '12:00 volts 5'; exit 0"]}, "it says '12:00 volts 5'"),
        ({"serial": "/dev/no-such-device"}, "/dev/no-such-device: No such file"),
        ({"serial": "/dev/null"}, "is no serial device"),
        ({"serial": "/dev/null", "baud": 12345}, "knows 12345 baud"),
        ({"url": "http://127.0.0.1:1/power"}, "no value within 5 s; it says 'Connection refused'"),
    ],
)
def test_a_meter_that_tells_nothing_says_why(told: dict[str, Any], words: str) -> None:
    with pytest.raises(SamplerFailed) as failure:
        probe(meter(**told))
    assert words in str(failure.value)


@contextmanager
def serial_device() -> Iterator[tuple[int, str]]:
    """A terminal's two ends stand for the meter's side and for the device of the board."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        (None, b"%d 6.25\r\n"),
        (r"P=(?P<watts>[0-9.]+)W", b"U=5.01V I=1.247A P=6.25W %d\n"),
        (r"(?P<seconds>\d+);(?P<watts>[0-9.]+)", b"%d;6.25\r"),
    ],
)
def test_a_serial_device_is_read_from_its_first_whole_line(pattern: str | None, lines: bytes) -> None:
    stopped = threading.Event()
    with serial_device() as (ours, path), Sampler(meter(serial=path, baud=9600, pattern=pattern)) as sampler:

        def talk() -> None:
            """It is in the middle of a line when we begin to listen."""
            at = 0
            os.write(ours, b"25")
            while not stopped.wait(0.02):
                at += 1
                os.write(ours, b"\n" if at == 30 else lines % at if at > 30 else b"")

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            sampler.wait_ready()
            time.sleep(0.2)
            found = sampler.stop()
        finally:
            stopped.set()
            thread.join()
    assert watts_of(found) == {6.25}


class Plug(BaseHTTPRequestHandler):
    """A smart plug's page; the path says what it answers."""

    ANSWERS: ClassVar = {
        "/rpc/Switch.GetStatus?id=0": '{"id": 0, "apower": 7.5, "voltage": 229.9}',
        "/status": '{"em1:0": {"act_power": 3}, "meters": [{"power": "8.25"}]}',
        "/plain": "9.5\n",
        "/broken": "<html>",
    }

    def do_GET(self) -> None:
        if self.path not in self.ANSWERS:
            self.send_error(404)
            return
        body = self.ANSWERS[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def plug() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Plug) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "key", "watts"),
    [
        ("/rpc/Switch.GetStatus?id=0", "apower", 7.5),
        ("/status", "em1:0.act_power", 3.0),
        ("/status", "meters.0.power", 8.25),
        ("/plain", None, 9.5),
    ],
)
def test_a_page_is_asked_again_and_again(
    plug: str, path: str, key: str | None, watts: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a meter is never asked for through it
    found = record(meter(url=plug + path, key=key, period_s=0.02), 1.5)
    assert watts_of(found) == {watts}
    assert len(found.arrivals) >= 2


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [
        ("/broken", None, "no number in: <html>"),
        ("/plain", "apower", "no watts at apower in: 9.5"),
        ("/gone", None, "HTTP 404 Not Found"),
    ],
)
def test_a_page_without_the_value_is_no_meter_and_says_why(
    plug: str, path: str, key: str | None, words: str
) -> None:
    with pytest.raises(SamplerFailed, match="no value within") as failure:
        probe(meter(url=plug + path, key=key, period_s=0.05))
    assert words in str(failure.value)


class ProcessOfAnother:
    """A command that may not be killed, as one that `sudo` has started: it ends by itself."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def kill(self) -> None:
        raise PermissionError

    def wait(self, timeout: float | None = None) -> int:
        return self.process.wait(timeout)


def test_a_command_that_may_not_be_killed_ends_when_nobody_reads_it() -> None:
    link = start_command(["sh", "-c", "while echo 1 2; do sleep 0.05; done"])
    assert link.process is not None
    process = link.process
    LineSource(link._replace(process=ProcessOfAnother(process)), lambda _: None).close()
    assert process.returncode is not None


@pytest.mark.parametrize("version", ["3.6.15", "3.8.18"])
def test_an_old_python_samples(version: str, tmp_path: Path) -> None:
    python = Path(f"~/.pyenv/versions/{version}/bin/python").expanduser()
    if not python.exists():
        pytest.skip(f"no Python {version} on this machine")
    program = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from device_agent.sampling import Sampler\n"
        "with Sampler(json.loads(sys.argv[2])) as sampler:\n"
        "    sampler.wait_ready(); time.sleep(0.3); found = sampler.stop()\n"
        "print(json.dumps([len(found.arrivals), found.arrivals[-1].watts]))\n"
    )
    for spec in (
        find_spec(tmp_path),
        meter(command=["sh", "-c", "while true; do echo 1 5; sleep 0.05; done"]),
    ):
        command = [str(python), "-c", program, str(ROOT), json.dumps(spec)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
        count, watts = json.loads(done.stdout)
        assert count > 2
        assert watts == 5.0
