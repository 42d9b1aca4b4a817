"""Emulated boards: an SSH server on this machine with a home, keys and cores of its own."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from host.errors import DeviceError, UsageError
from host.fleet.emulator_processes import MARK, SERVER_MODULE, end_processes, is_server
from host.fleet.registry import load_devices, save_device
from host.fleet.ssh_intake import show_text
from host.login import find_login
from host.one_at_a_time import hold_alone
from host.specs.device import Device, Emulation
from host.specs.record import Record
from host.workspace import Workspace

START_S = 60.0


class Server(Record):
    """What a server says of itself once it listens. The file that keeps it may outlive the server."""

    pid: int = Field(ge=1)
    port: int = Field(ge=1, le=65535)
    cpus: int = Field(ge=1)
    cores: tuple[int, ...] = ()
    fingerprint: str


class EmulatorStatus(Record):
    """Whether an emulated board is up. A `stale` one ended without being told to."""

    name: str
    state: Literal["up", "down", "stale"]
    pid: int | None = None
    port: int | None = None
    cpus: int | None = None


def up(workspace: Workspace, name: str, cpus: int) -> Device:
    """Start an emulated board and register it, or find it up already.

    Raises UsageError if the machine has fewer cores, if it is up with another number of them, or if a real
    device has that name; DeviceError if the server does not start.
    """
    registered = _check_request(workspace, name, cpus)
    folder = workspace.emulators / name
    with _locked(folder):
        server = _find_server(folder)
        if server is None:
            port = 0 if registered is None or registered.port is None else registered.port
            server = _start_server(folder, name, _reserve_cores(workspace, folder, cpus), port)
        elif server.cpus != cpus:
            raise UsageError(
                f"{name} is up with {_count(server.cpus)}, not {cpus}",
                f"`bench devices emulate {name} down` first.",
            )
        device = _describe_device(folder, name, server, registered)
        if device != registered:
            save_device(workspace, device)
    return device


def down(workspace: Workspace, name: str) -> bool:
    """Stop an emulated board and every process that was started on it; whether there was any.

    Its home, its keys and its place in devices.yaml stay.
    """
    folder = workspace.emulators / name
    if not folder.is_dir():
        return False
    with _locked(folder):
        had_any = end_processes(_read_mark(folder))
        _server_file(folder).unlink(missing_ok=True)
        _cores_file(folder).unlink(missing_ok=True)
    return had_any


def find_cores(workspace: Workspace, name: str) -> frozenset[int]:
    """The cores of this machine that an emulated board runs on; none where it is not up."""
    server = _find_server(workspace.emulators / name)
    return frozenset(server.cores) if server else frozenset()


def status(workspace: Workspace, name: str) -> EmulatorStatus:
    """Whether an emulated board is up; one that never was is down."""
    folder = workspace.emulators / name
    told = _read_server(folder)
    if told is None:
        return EmulatorStatus(name=name, state="down")
    if not is_server(told.pid, _read_mark(folder)):
        return EmulatorStatus(name=name, state="stale", cpus=told.cpus)
    return EmulatorStatus(name=name, state="up", pid=told.pid, port=told.port, cpus=told.cpus)


def _check_request(workspace: Workspace, name: str, cpus: int) -> Device | None:
    """What is registered under the name, if that fits an emulated board."""
    usable = len(os.sched_getaffinity(0))
    if not 1 <= cpus <= usable:
        raise UsageError(
            f"{name}: {_count(cpus)} asked for, but this machine lets us use {usable}",
            f"Ask for 1 to {usable} with --cpus, or `cpus:` in the profile.",
        )
    registered = load_devices(workspace).get(name)
    if registered is not None and registered.emulation is None:
        raise UsageError(
            f"{name} is a real device at {registered.host}, not an emulated one",
            "Take another name for the emulated board.",
        )
    return registered


def _count(cpus: int) -> str:
    return "1 core" if cpus == 1 else f"{cpus} cores"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Of two commands that start or stop a board at once, the second waits for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with hold_alone(folder / "lock"):
        yield


def _find_server(folder: Path) -> Server | None:
    """The server that runs; None where there is none, whatever a file says."""
    told = _read_server(folder)
    return told if told is not None and is_server(told.pid, _read_mark(folder)) else None


def _server_file(folder: Path) -> Path:
    return folder / "server.json"


def _read_server(folder: Path) -> Server | None:
    try:
        return Server.model_validate_json(_server_file(folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # a file that says nothing is no server


def _read_mark(folder: Path) -> str:
    """The word that marks every process of the board; it never changes, so `down` finds leftovers too."""
    path = folder / "mark"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(secrets.token_hex(16))
        part.replace(path)
    return path.read_text()


def _cores_file(folder: Path) -> Path:
    return folder / "cores.json"


def _reserve_cores(workspace: Workspace, folder: Path, cpus: int) -> list[int]:
    """The cores that the fewest other boards run on; of equals the last: interrupts go to the first.

    A board keeps them until it is taken down, so that it is the same board each time.
    """
    with hold_alone(workspace.emulators / "cores.lock"):
        usable = os.sched_getaffinity(0)
        kept = _read_cores(_cores_file(folder))
        if len(kept) == cpus and usable >= set(kept):
            return kept
        paths = [path for path in workspace.emulators.glob("*/cores.json") if path.parent != folder]
        used = Counter(core for path in paths for core in _read_cores(path))
        cores = sorted(sorted(usable, key=lambda core: (used[core], -core))[:cpus])
        part = _cores_file(folder).with_suffix(".part")
        part.write_text(json.dumps(cores))
        part.replace(_cores_file(folder))
        return cores


def _read_cores(path: Path) -> list[int]:
    try:
        return TypeAdapter(list[int]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return []


def _start_server(folder: Path, name: str, cores: list[int], port: int) -> Server:
    """Start the server and wait until it listens. Raises DeviceError with what it said if it does not."""
    mark = _read_mark(folder)
    listed = ",".join(map(str, cores))
    command = [sys.executable, "-P", "-m", SERVER_MODULE, str(folder.absolute()), name, listed, str(port)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, MARK: mark, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_S,
            check=True,
        )
        server = Server.model_validate_json(done.stdout)
    except (subprocess.SubprocessError, ValidationError) as error:
        end_processes(mark)
        said = show_text(getattr(error, "stderr", None) or str(error).encode())
        raise DeviceError(
            f"{name}: the emulated board did not start: {said}",
            f"What it says while it runs is in {folder / 'server.log'}.",
        ) from error
    part = _server_file(folder).with_suffix(".part")
    part.write_text(server.model_dump_json())
    part.replace(_server_file(folder))
    return server


def _describe_device(folder: Path, name: str, server: Server, registered: Device | None) -> Device:
    """The device to register; what a person added to the entry, such as labels, stays."""
    told = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": find_login(),
        "fingerprint": server.fingerprint,
        "key_file": str(folder / "client_key"),
        "emulation": Emulation(cpus=server.cpus),
    }
    if registered is not None:
        return registered.model_copy(update=told)
    return Device.model_validate({"name": name, "labels": ("emulated", platform.machine()), **told})
