"""Putting the agent on a board and asking it what the board is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from device_agent import protocol
from host.errors import BoardBusy, DeviceError
from host.fleet.agent_archive import build_agent
from host.fleet.probing import (
    AgentFault,
    agent_argv,
    agent_path,
    bootstrap_agent,
    call_agent,
    describe_refusal,
    parse_answer,
    probe_board,
)
from host.fleet.remote import Completed, Remote
from host.fleet.ssh import open_ssh
from host.specs.artifact import Blob
from host.specs.device import Device
from tests.old_python import find_old_python


@pytest.fixture
def fresh(device: Device, tmp_path: Path) -> Device:
    """Each kind of device, with an empty work folder whose name needs quotes."""
    return device.model_copy(update={"work_folder": f"{tmp_path}/it's $HOME"})


@pytest.fixture
def remote(fresh: Device) -> Iterator[Remote]:
    with open_ssh(fresh) as remote:
        yield remote


@pytest.fixture
def agent(tmp_path: Path) -> Blob:
    return build_agent(tmp_path / "cache")


def test_the_agent_is_sent_once(remote: Remote, fresh: Device, agent: Blob) -> None:
    assert bootstrap_agent(remote, fresh, agent) is True
    assert bootstrap_agent(remote, fresh, agent) is False
    put = Path(agent_path(fresh, agent))
    assert hashlib.sha256(put.read_bytes()).hexdigest() == agent.sha256
    assert put.stat().st_mode & 0o777 == 0o600
    assert Path(fresh.work_folder).stat().st_mode & 0o777 == 0o700
    assert [path.name for path in put.parent.iterdir()] == [put.name]


def test_a_damaged_agent_is_sent_anew(remote: Remote, fresh: Device, agent: Blob) -> None:
    bootstrap_agent(remote, fresh, agent)
    Path(agent_path(fresh, agent)).write_bytes(b"torn")
    assert bootstrap_agent(remote, fresh, agent) is True
    assert Path(agent_path(fresh, agent)).stat().st_size == agent.size


def test_an_agent_that_arrives_damaged_is_refused(remote: Remote, fresh: Device, agent: Blob) -> None:
    other = agent.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(AgentFault, match="damaged") as told:
        bootstrap_agent(remote, fresh, other)
    assert told.value.kind == protocol.ERROR_CORRUPT
    assert not Path(agent_path(fresh, other)).exists()


def test_the_home_folder_is_the_default(device: Device, agent: Blob) -> None:
    with open_ssh(device) as remote:
        bootstrap_agent(remote, device, agent)
        listed = remote.run(["ls", "~/.boardbench/agents"]).stdout.decode()
    assert f"{agent.sha256}.pyz" in listed


@pytest.mark.parametrize(
    ("word", "sees_packages"), [("probe", True), ("start", True), ("receive", False), ("follow", False)]
)
def test_only_what_needs_a_runtime_loads_site_packages(
    board: Device, agent: Blob, word: str, sees_packages: bool
) -> None:
    assert ("-S" not in agent_argv(board, agent, word)) is sees_packages


def test_files_of_the_home_folder_do_not_get_in_the_way(device: Device, agent: Blob) -> None:
    with open_ssh(device) as remote:
        remote.run(["sh", "-c", "echo 'raise SystemExit(9)' > ~/hashlib.py"])
        try:
            bootstrap_agent(remote, device, agent)
        finally:
            remote.run(["rm", "~/hashlib.py"])


def test_a_board_without_python_says_what_to_install(remote: Remote, fresh: Device, agent: Blob) -> None:
    bare = fresh.model_copy(update={"python": "/nonexistent/python3"})
    with pytest.raises(DeviceError, match="there is no /nonexistent/python3") as told:
        bootstrap_agent(remote, bare, agent)
    assert "apt install python3" in (told.value.hint or "")


def test_an_old_python_is_told(remote: Remote, fresh: Device, agent: Blob) -> None:
    old = fresh.model_copy(update={"python": find_old_python()})
    with pytest.raises(DeviceError, match="is too old") as told:
        bootstrap_agent(remote, old, agent)
    assert "`python:`" in (told.value.hint or "")
    assert not Path(fresh.work_folder).exists()


@pytest.mark.parametrize("folder", ["/dev/null/work", "/proc/work"])
def test_a_work_folder_that_cannot_be_is_told(
    remote: Remote, fresh: Device, agent: Blob, folder: str
) -> None:
    with pytest.raises(DeviceError) as told:
        bootstrap_agent(remote, fresh.model_copy(update={"work_folder": folder}), agent)
    assert folder in told.value.message


def test_facts_of_the_board_come_back(remote: Remote, fresh: Device, agent: Blob) -> None:
    bootstrap_agent(remote, fresh, agent)
    facts = probe_board(remote, fresh, agent)
    assert facts.schema_version == protocol.SCHEMA
    assert (facts.implementation, facts.libc.name) == ("cp", "glibc")
    assert facts.board
    assert facts.free_bytes is None or facts.free_bytes > 0
    if fresh.emulation is not None:
        assert facts.cores == fresh.emulation.cpus
    json.dumps(facts.model_dump(mode="json"))


def test_what_the_agent_refuses_is_an_error(remote: Remote, fresh: Device, agent: Blob) -> None:
    bootstrap_agent(remote, fresh, agent)
    with pytest.raises(DeviceError):
        call_agent(remote, fresh, agent, ("put-job", "run"), stdin=b"{}")


class Answering:
    """A board whose agent answers one thing."""

    device_name = "pi4"

    def __init__(self, facts: object) -> None:
        self._facts = facts

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        return answer(0, self._facts)

    def send(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float = 60.0) -> Completed:
        raise NotImplementedError

    def stream(self, argv: Sequence[str], *, idle_timeout: float) -> Iterator[bytes]:
        raise NotImplementedError


BARE = {
    "schema": 1,
    "agent_version": "0.1.0",
    "python": "3.9.2",
    "implementation": "cp",
    "machine": "armv7l",
    "libc": {"name": None, "version": None},
    "board": "Raspberry Pi 3",
}


def test_what_a_board_cannot_tell_is_none(board: Device, agent: Blob) -> None:
    nulls = dict.fromkeys(
        ("cpu_model", "cores", "memory_mb", "os", "governor", "temperature_c", "free_bytes")
    )
    facts = probe_board(Answering({**BARE, **nulls}), board, agent)
    assert (facts.cpu_model, facts.free_bytes, facts.temperature_c) == (None, None, None)
    assert (facts.libc.name, facts.runtimes, facts.power_sources) == ("unknown", {}, ())
    assert (facts.soc, facts.l4t, facts.nvpmodel, facts.jetson_clocks) == (None, None, None, None)
    assert (facts.clusters, facts.thermal_zones, facts.root_would_add) == ((), (), ())


def test_a_board_tells_its_clusters_zones_and_modes(board: Device, agent: Blob) -> None:
    told = {
        "soc": "Tegra234 (Orin)",
        "clusters": [{"cores": [0, 1], "core_type": "Cortex-A78AE", "max_mhz": 2201.6, "capacity": 1024}],
        "offline_cores": [2, 3],
        "thermal_zones": [
            {"name": "cpu-thermal", "temperature_c": None, "trips": [{"kind": "hot", "temperature_c": 99.0}]}
        ],
        "nvpmodel": {"mode": "MAXN", "mode_id": 0},
        "jetson_clocks": {"pinned": None, "gpu_mhz": 306.0, "gpu_max_mhz": 918.0, "emc_mhz": None},
        "is_root": False,
        "root_would_add": ["power: one sentence"],
    }
    facts = probe_board(Answering({**BARE, **told}), board, agent)
    assert facts.clusters[0].cores == (0, 1)
    assert facts.clusters[0].current_mhz is None
    assert facts.thermal_zones[0].trips[0].temperature_c == 99.0
    assert facts.nvpmodel is not None
    assert facts.nvpmodel.mode_id == 0
    assert facts.root_would_add == ("power: one sentence",)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"board": "x" * 100_000}, "board"),
        ({"cores": -1}, "cores"),
        ({"python": "three"}, "python"),
        ({"temperature_c": float("nan")}, "temperature_c"),
        ({"runtimes": {str(number): {"version": "1"} for number in range(1000)}}, "runtimes"),
        ({"path": "/etc/passwd"}, "path: unknown key"),
        ({"libc": "glibc"}, "libc"),
        ({"clusters": [{"cores": [0]}] * 1000}, "clusters"),
        ({"clusters": [{"cores": list(range(100_000))}]}, r"clusters\[0\].cores"),
        ({"clusters": [{"cores": [0], "max_mhz": 1e9}]}, r"clusters\[0\].max_mhz"),
        ({"thermal_zones": [{"name": "cpu", "temperature_c": float("inf")}]}, "thermal_zones"),
        ({"root_would_add": ["x" * 1000]}, "root_would_add"),
        ({"nvpmodel": "MAXN"}, "nvpmodel"),
        ({"jetson_clocks": {"pinned": "maybe"}}, "jetson_clocks.pinned"),
    ],
)
def test_facts_beyond_all_bounds_are_refused(board: Device, agent: Blob, wrong: object, place: str) -> None:
    with pytest.raises(DeviceError, match=place):
        probe_board(Answering({**BARE, **wrong}), board, agent)  # type: ignore[dict-item]


def test_facts_do_nothing_to_the_terminal(board: Device, agent: Blob) -> None:
    told = {**BARE, "board": "\x1b[2JPi", "runtimes": {"ort\x07": {"version": "1\x1b[0m"}}}
    facts = probe_board(Answering(told), board, agent)
    assert facts.model_dump_json().isprintable()


# Answers, as programs on boards give them.


def answer(code: int, stdout: object = "", stderr: str = "") -> Completed:
    text = stdout if isinstance(stdout, str) else json.dumps(stdout)
    return Completed(text.encode(), stderr.encode(), code)


@pytest.fixture
def board() -> Device:
    return Device(name="pi4", host="10.0.0.7", fingerprint="SHA256:" + "A" * 43)


def test_an_object_is_the_answer(board: Device) -> None:
    assert parse_answer(board, answer(0, {"layer": "x"})) == {"layer": "x"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (protocol.ERROR_NO_SPACE, "is full"),
        (protocol.ERROR_READ_ONLY, "cannot be written"),
        (protocol.ERROR_BAD_JOB, "said so"),
    ],
)
def test_a_refusal_keeps_its_kind(board: Device, kind: str, words: str) -> None:
    told = answer(protocol.EXIT_FAULT, {"error": {"kind": kind, "message": "said so"}})
    with pytest.raises(AgentFault, match=words) as raised:
        parse_answer(board, told)
    assert raised.value.kind == kind
    assert raised.value.hint


def test_a_board_that_measures_says_who_holds_it(board: Device) -> None:
    told = {"error": {"kind": protocol.ERROR_LOCKED, "message": "ann@desk since 10:00"}}
    with pytest.raises(BoardBusy, match="ann@desk since 10:00"):
        parse_answer(board, answer(protocol.EXIT_LOCKED, told))


@pytest.mark.parametrize(
    ("completed", "words"),
    [
        (answer(127, "", "sh: 1: python3: not found"), "there is no python3"),
        (answer(126, "", "permission denied"), "there is no python3"),
        (answer(1, "", "python3: Command not found."), "there is no python3"),
        (answer(protocol.EXIT_OLD_PYTHON, "", "this is Python 2.7.18"), "too old: this is Python 2.7.18"),
        (answer(1, "", "Traceback: boom"), "exit code 1 and said: Traceback: boom"),
        (answer(-1), "killed by a signal and said: nothing"),
        (answer(0, "[]"), "exit code 0"),
        (answer(0, "{"), "exit code 0"),
        (answer(0, "[" * 100_000), "exit code 0"),
        (answer(1, {"error": "no object"}), "exit code 1"),
    ],
)
def test_a_failure_says_what_happened(board: Device, completed: Completed, words: str) -> None:
    with pytest.raises(DeviceError, match=words) as told:
        parse_answer(board, completed)
    assert told.value.message.startswith("pi4: ")
    assert len(told.value.message) < protocol.MAX_TEXT + 200


def test_words_of_a_board_do_nothing_to_the_terminal(board: Device) -> None:
    assert str(describe_refusal(board, "other", "\x1b]0;title\x07\ud800")).replace("\n", " ").isprintable()
