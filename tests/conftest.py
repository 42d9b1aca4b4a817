"""What tests share: real SSH servers (the emulated board, OpenSSH where there is one), and a first sweep."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import hypothesis
import pytest

from host.fleet import emulator
from host.specs.device import Device
from host.workspace import Workspace
from tests.bench_command import bench
from tests.planted_wheels import look_only_in, plant_runtime
from tests.private_postgres import MISSING, Postgres, run_postgres
from tests.tiny_workspace import make_tiny_workspace

if TYPE_CHECKING:
    from tests.faults import Lab
    from tests.main_job import Swept
    from tests.openssh_board import OpensshBoard

# A machine may be busy: no test judges by how long an example took.
hypothesis.settings.register_profile("boardbench", deadline=None)
hypothesis.settings.load_profile("boardbench")

pytest.register_assert_rewrite("tests.main_job")  # before it is imported, or its asserts tell little


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def emulated_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace of `emulated_device`."""
    return Workspace(tmp_path_factory.mktemp("emulated"))


@pytest.fixture(scope="session")
def emulated_device(emulated_workspace: Workspace) -> Iterator[Device]:
    """An emulated board with one core, up for the whole test session."""
    device = emulator.up(emulated_workspace, "emulated", 1)
    yield device
    emulator.down(emulated_workspace, "emulated")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpensshBoard]:
    """A board behind OpenSSH's own server; modules that test other boards have a `board` of theirs."""
    from tests.openssh_board import openssh_board

    with openssh_board(tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture
def planted_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages that a board without onnxruntime needs, in the only place where pip looks."""
    plant_runtime(tmp_path / "wheels")
    look_only_in(tmp_path / "wheels", monkeypatch)


@pytest.fixture
def bare_lab(board: OpensshBoard, lab: Lab, planted_runtime: None) -> Lab:
    """The `lab` of a module, where the board has no onnxruntime until it has unpacked one."""
    lab.register(lab.device.model_copy(update={"python": board.bare_python}))
    return lab


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """A workspace that was empty, and the first sweep in it on an emulated board with one core."""
    from tests.main_job import sweep_device

    root = make_tiny_workspace(tmp_path_factory.mktemp("swept"))
    yield sweep_device(root, "x86-emulated", is_emulated=True)
    bench(root, "devices", "emulate", "x86-emulated", "down")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own, up for the whole test session."""
    with run_postgres() as server:
        if server is None:
            pytest.skip(MISSING)
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a ledger in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'results' / 'boardbench.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url()


@dataclass(frozen=True)
class Sshd:
    """A running sshd, and keys that it takes; each of them ends up in another kind of account."""

    folder: Path
    port: int

    def device(self, key: str = "user", host_key: str = "ssh_host_ed25519_key") -> Device:
        public = asyncssh.read_public_key(self.folder / f"{host_key}.pub")
        return Device(
            name="sshd",
            host="127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            fingerprint=public.get_fingerprint("sha256"),
            key_file=str(self.folder / key),
        )


ACCOUNTS = {
    "user": "",
    "noisy": 'command="echo Welcome; echo to you >&2; printf prompt; eval \\"$SSH_ORIGINAL_COMMAND\\"" ',
    "closed": 'command="echo This account is not available.; exit 1" ',
}


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """OpenSSH's sshd on a port of its own, as the current user, with keys of its own."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    port = _find_free_port()
    _write_sshd_files(folder, port)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root wants it, and packages leave it to init
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait_for_port(process, port, folder / "sshd.log")
        yield Sshd(folder, port)
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def sshd_device(sshd: Sshd) -> Device:
    """The current user's account behind a real sshd, with a home folder of its own."""
    return sshd.device()


@pytest.fixture(params=["emulated", pytest.param("sshd", marks=pytest.mark.sshd)])
def device(request: pytest.FixtureRequest) -> Device:
    """Each kind of SSH server in turn."""
    found: Device = request.getfixturevalue(f"{request.param}_device")
    return found


def _write_sshd_files(folder: Path, port: int) -> None:
    (folder / "home").mkdir()  # so that the files of the real user's shell stay out of it
    host_keys = {"ssh_host_ed25519_key": "ssh-ed25519", "ssh_host_ecdsa_key": "ecdsa-sha2-nistp256"}
    for name, algorithm in host_keys.items():
        _write_key(folder / name, algorithm)
    lines = []
    for name, options in ACCOUNTS.items():
        _write_key(folder / name, "ssh-ed25519")
        lines.append(options + (folder / f"{name}.pub").read_text())
    (folder / "authorized_keys").write_text("".join(lines))
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
        "MaxStartups": "100",
        "SetEnv": f"HOME={folder / 'home'}",
    }
    config = [f"HostKey {folder / name}" for name in host_keys]
    config += [f"{key} {value}" for key, value in settings.items()]
    (folder / "sshd_config").write_text("\n".join(config) + "\n")


def _write_key(path: Path, algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    path.touch(mode=0o600)
    key.write_private_key(path)
    key.write_public_key(path.with_name(f"{path.name}.pub"))


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"sshd does not listen: {log.read_text()}")
