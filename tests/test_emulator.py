"""Emulated boards: they start, they are alone on their cores, and they leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import psutil
import pytest

from host.errors import DeviceError, UsageError
from host.fleet import emulator
from host.fleet.emulator_processes import find_processes
from host.fleet.registry import load_devices, save_device
from host.fleet.remote import quote_command
from host.fleet.ssh import open_ssh
from host.specs.device import Device, Emulation
from host.workspace import Workspace

NAME = "board"


@pytest.fixture
def own_workspace(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose emulated board is taken down at the end."""
    yield workspace
    emulator.down(workspace, NAME)


def server_file(workspace: Workspace) -> Path:
    return workspace.emulators / NAME / "server.json"


def read_mark(workspace: Workspace) -> str:
    return (workspace.emulators / NAME / "mark").read_text()


def is_reachable(device: Device) -> bool:
    with open_ssh(device) as remote:
        return remote.run(["true"]).code == 0


def test_a_board_that_never_was_is_down(workspace: Workspace) -> None:
    assert emulator.status(workspace, NAME).state == "down"
    assert emulator.down(workspace, NAME) is False


def test_a_board_comes_up_registered_and_goes_down(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    assert load_devices(own_workspace) == {NAME: device}
    assert (device.host, device.emulation, device.is_emulated) == ("127.0.0.1", Emulation(cpus=1), True)
    status = emulator.status(own_workspace, NAME)
    assert (status.state, status.port, status.cpus) == ("up", device.port, 1)
    assert is_reachable(device)
    assert emulator.down(own_workspace, NAME) is True
    assert emulator.status(own_workspace, NAME).state == "down"
    assert NAME in load_devices(own_workspace)


def test_up_again_is_the_same_board(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    pid = emulator.status(own_workspace, NAME).pid
    assert emulator.up(own_workspace, NAME, 1) == device
    assert emulator.status(own_workspace, NAME).pid == pid


def test_port_keys_and_home_stay_across_a_restart(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    with open_ssh(device) as remote:
        remote.run(["sh", "-c", "echo kept > ~/file"])
    emulator.down(own_workspace, NAME)
    assert emulator.up(own_workspace, NAME, 1) == device
    with open_ssh(device) as remote:
        assert remote.run(["cat", "~/file"]).stdout == b"kept\n"


def test_what_a_person_added_to_the_entry_stays(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    emulator.down(own_workspace, NAME)
    save_device(own_workspace, device.model_copy(update={"labels": ("emulated", "mine")}))
    assert emulator.up(own_workspace, NAME, 1).labels == ("emulated", "mine")


def test_of_two_commands_at_once_one_starts_it(own_workspace: Workspace) -> None:
    found: list[Device] = []
    threads = [
        threading.Thread(target=lambda: found.append(emulator.up(own_workspace, NAME, 1))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(list(find_processes(read_mark(own_workspace)))) == 1


def test_down_ends_what_detached_itself(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    loop = "trap '' HUP TERM; while :; do sleep 0.1; done"
    with open_ssh(device) as remote:
        remote.run(["sh", "-c", f'setsid sh -c "{loop}" >/dev/null 2>&1 </dev/null & echo $!'])
    assert len(list(find_processes(read_mark(own_workspace)))) >= 2
    assert emulator.down(own_workspace, NAME) is True
    assert list(find_processes(read_mark(own_workspace))) == []


def test_a_killed_server_is_stale_and_can_be_started_again(own_workspace: Workspace) -> None:
    emulator.up(own_workspace, NAME, 1)
    pid = emulator.status(own_workspace, NAME).pid
    assert pid is not None
    psutil.Process(pid).kill()
    while any(process.pid == pid for process in find_processes(read_mark(own_workspace))):
        time.sleep(0.01)
    assert emulator.status(own_workspace, NAME).state == "stale"
    assert is_reachable(emulator.up(own_workspace, NAME, 1))
    assert emulator.status(own_workspace, NAME).state == "up"


def test_a_reused_pid_is_no_server_and_is_left_alone(own_workspace: Workspace) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    emulator.down(own_workspace, NAME)
    told = {"pid": os.getpid(), "port": device.port, "cpus": 1, "fingerprint": device.fingerprint}
    server_file(own_workspace).write_text(json.dumps(told))
    assert emulator.status(own_workspace, NAME).state == "stale"
    assert emulator.down(own_workspace, NAME) is False
    assert emulator.status(own_workspace, NAME).state == "down"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": -1}'])
def test_a_damaged_file_is_no_server(own_workspace: Workspace, text: str) -> None:
    server_file(own_workspace).parent.mkdir(parents=True)
    server_file(own_workspace).write_text(text)
    assert emulator.status(own_workspace, NAME).state == "down"
    assert is_reachable(emulator.up(own_workspace, NAME, 1))


def test_a_taken_port_is_left_to_its_owner(own_workspace: Workspace, emulated_device: Device) -> None:
    device = emulator.up(own_workspace, NAME, 1)
    emulator.down(own_workspace, NAME)
    save_device(own_workspace, device.model_copy(update={"port": emulated_device.port}))
    moved = emulator.up(own_workspace, NAME, 1)
    assert moved.port != emulated_device.port
    assert load_devices(own_workspace)[NAME].port == moved.port
    assert is_reachable(moved)


def test_more_cores_than_the_machine_has_are_refused(workspace: Workspace) -> None:
    usable = len(os.sched_getaffinity(0))
    with pytest.raises(UsageError, match=f"{usable + 1} cores asked for"):
        emulator.up(workspace, NAME, usable + 1)
    assert not workspace.emulators.exists()


def test_another_number_of_cores_needs_a_restart(own_workspace: Workspace) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    emulator.up(own_workspace, NAME, 1)
    with pytest.raises(UsageError, match="is up with 1 core, not 2") as told:
        emulator.up(own_workspace, NAME, 2)
    assert f"bench devices emulate {NAME} down" in (told.value.hint or "")
    emulator.down(own_workspace, NAME)
    device = emulator.up(own_workspace, NAME, 2)
    assert device.emulation == Emulation(cpus=2)
    with open_ssh(device) as remote:
        assert remote.run(["nproc"]).stdout == b"2\n"


def test_boards_are_spread_over_the_cores_and_keep_theirs(workspace: Workspace) -> None:
    usable = sorted(os.sched_getaffinity(0))
    names = [f"board-{number}" for number in range(len(usable) + 1)]
    try:
        for name in names:
            emulator.up(workspace, name, 1)
        found = [emulator.find_cores(workspace, name) for name in names]
        assert found == [frozenset({core}) for core in [*reversed(usable), usable[-1]]]
        emulator.up(workspace, names[0], 1)
        assert emulator.find_cores(workspace, names[0]) == found[0]
        emulator.down(workspace, names[0])
        assert emulator.find_cores(workspace, names[0]) == frozenset()
        device = emulator.up(workspace, names[0], 1)
        with open_ssh(device) as remote:
            program = "import os; print(*os.sched_getaffinity(0))"
            seen = remote.run(["python3", "-c", program]).stdout
        assert frozenset(map(int, seen.split())) == emulator.find_cores(workspace, names[0])
    finally:
        for name in names:
            emulator.down(workspace, name)


def test_a_real_device_is_never_taken_over(workspace: Workspace) -> None:
    real = Device(name=NAME, host="10.0.0.7", fingerprint="SHA256:" + "A" * 43)
    save_device(workspace, real)
    with pytest.raises(UsageError, match="is a real device"):
        emulator.up(workspace, NAME, 1)
    assert load_devices(workspace) == {NAME: real}


def test_a_server_that_cannot_start_says_why(workspace: Workspace) -> None:
    folder = workspace.emulators / NAME
    folder.mkdir(parents=True)
    (folder / "home").write_text("a file where the home folder should be")
    with pytest.raises(DeviceError, match=r"(?s)did not start.*home"):
        emulator.up(workspace, NAME, 1)
    assert emulator.status(workspace, NAME).state == "down"
    assert list(find_processes(read_mark(workspace))) == []


def test_keys_are_readable_by_their_owner_alone(own_workspace: Workspace) -> None:
    emulator.up(own_workspace, NAME, 1)
    folder = own_workspace.emulators / NAME
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*_key")} == {
        "host_key": 0o600,
        "client_key": 0o600,
    }


# What a session on the board sees.


def test_a_session_sees_its_own_home_cores_and_python(
    emulated_device: Device, emulated_workspace: Workspace
) -> None:
    program = (
        "import json, os, sys; print(json.dumps({'cores': len(os.sched_getaffinity(0)), 'cwd': os.getcwd(),"
        " 'home': os.environ['HOME'], 'names': sorted(os.environ), 'prefix': [sys.prefix, sys.base_prefix]}))"
    )
    with open_ssh(emulated_device) as remote:
        seen = json.loads(remote.run(["python3", "-c", program]).stdout)
    home = str(emulated_workspace.emulators / "emulated" / "home")
    assert (seen["cores"], seen["cwd"], seen["home"]) == (1, home, home)
    assert seen["prefix"][0] == seen["prefix"][1], "a board has no virtual environment"
    assert set(seen["names"]) <= {
        "BOARDBENCH_EMULATOR", "HOME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "USER", "_",
        "LC_CTYPE", "SHLVL",
    }  # fmt: skip


def test_a_client_that_goes_takes_its_command_along(emulated_device: Device) -> None:
    with open_ssh(emulated_device) as remote:
        lines = remote.stream(["sh", "-c", "echo $$; sleep 60"], idle_timeout=20)
        process = psutil.Process(int(next(lines)))
    process.wait(timeout=10)


NEVER_READS = ["sh", "-c", "echo $$; exec sleep 60"]
READS_SLOWLY = [
    "python3", "-uc", "import os, time; print(os.getpid())\nwhile os.read(0, 1000): time.sleep(0.01)",
]  # fmt: skip


@pytest.mark.parametrize("argv", [NEVER_READS, READS_SLOWLY])
def test_a_broken_link_ends_a_command_that_has_not_taken_its_input(
    emulated_device: Device, argv: list[str]
) -> None:
    with open_ssh(emulated_device) as remote:
        channel = remote._link.open_session()
        channel.exec_command(f"exec {quote_command(argv)}")
        process = psutil.Process(int(channel.makefile().readline()))
        channel.settimeout(0.5)
        with pytest.raises(TimeoutError):
            channel.sendall(bytes(32 << 20))
        remote._link.sock.shutdown(socket.SHUT_RDWR)
        process.wait(timeout=10)


def test_a_board_started_under_nohup_still_hangs_up(own_workspace: Workspace) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        device = emulator.up(own_workspace, NAME, 1)
    finally:
        signal.signal(signal.SIGHUP, before)
    with open_ssh(device) as remote:
        lines = remote.stream(["sh", "-c", "echo $$; sleep 60"], idle_timeout=20)
        process = psutil.Process(int(next(lines)))
    process.wait(timeout=10)


def test_a_shell_without_a_command_reads_its_input(emulated_device: Device) -> None:
    with open_ssh(emulated_device) as remote:
        channel = remote._link.open_session()
        channel.invoke_shell()
        channel.sendall(b"echo out; exit 3\n")
        assert channel.makefile().read() == b"out\n"
        assert channel.recv_exit_status() == 3


def test_files_go_home_by_sftp(emulated_device: Device) -> None:
    with open_ssh(emulated_device) as remote, remote._link.open_sftp_client() as client:
        with client.open("by-sftp", "w") as file:
            file.write("data")
        assert remote.run(["cat", "~/by-sftp"]).stdout == b"data"


def test_nothing_is_forwarded(emulated_device: Device) -> None:
    with open_ssh(emulated_device) as remote, pytest.raises(paramiko.ChannelException):
        remote._link.open_channel("direct-tcpip", ("127.0.0.1", emulated_device.port or 22), ("127.0.0.1", 0))
