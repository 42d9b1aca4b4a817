"""What lies on a board is for its owner alone, and what a run leaves anywhere holds no secret."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import stat
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import psutil
import pytest

from host.errors import DeviceError
from host.fleet import emulator
from host.fleet.emulator_processes import find_processes
from host.fleet.ssh import open_ssh
from host.specs.device import Device
from host.workspace import Workspace
from tests.bench_command import BENCH, environment, run_bench
from tests.faults import PATIENCE_S, make_lab
from tests.main_job import Swept
from tests.openssh_board import OpensshBoard, openssh_board
from tests.test_ssh_auth import password_board

OPEN_SHELL = ("/bin/sh", "-c", 'umask 000; exec /bin/sh -c "$1"', "sh")
"""A login shell that leaves everything open to everybody."""


def find_open(folder: Path) -> list[str]:
    """What others than its owner may read, write or enter, below a folder and itself."""
    found = []
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & 0o077:
            found.append(f"{path.relative_to(folder)} {stat.S_IMODE(mode):o}")
    return found


@pytest.mark.sshd
def test_files_on_a_board_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    with openssh_board(tmp_path, shell=OPEN_SHELL) as board:
        deep = board.home / "not/yet/there"
        lab = make_lab(tmp_path / "lab", board.device(work_folder=str(deep)))
        lab.assert_survived(lab.measure(), may_fail=False)
        assert len(list(deep.rglob("*"))) > 20
        assert find_open(board.home / "not") == []


@pytest.mark.slow
def test_files_of_a_sweep_with_packages_are_their_owners_alone(swept: Swept) -> None:
    work = swept.root / f".boardbench/emulators/{swept.device}/home/.boardbench"
    assert (work / "layers").is_dir()
    assert find_open(work) == []


# Secrets.


@pytest.fixture
def board(tmp_path: Path) -> Iterator[OpensshBoard]:
    with openssh_board(tmp_path) as board:
        yield board


def read_everything(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()


def read_processes() -> bytes:
    """Words and environments of all processes that we may look at, without this one's."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            for name in ("cmdline", "environ"):
                try:
                    found.append((process / name).read_bytes())
                except OSError:
                    continue  # it is gone, or not ours
    return b"\n".join(found)


def answer_prompts(words: list[str], root: Path, answer: str) -> Iterator[bytes]:
    """What `bench` prints on a terminal of its own, where each question gets the same answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*BENCH, *words],
        cwd=root,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        while True:
            try:
                said = terminal.read(65536)
            except OSError:  # nobody is left on the other side
                break
            yield said
            if said.rstrip().endswith(b":"):
                terminal.write(answer.encode() + b"\n")
    assert process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.sshd
def test_a_private_key_and_its_passphrase_are_told_to_nobody(board: OpensshBoard, tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", board.device())
    path, passphrase = board.folder / "user_key", "correct horse battery"
    key = asyncssh.read_private_key(path)
    secret = key.export_private_key("openssh").splitlines()[3]  # a line of the private half
    path.write_bytes(key.export_private_key("openssh", passphrase, rounds=16, ignore_few_rounds=True))
    said = b""
    words = ["run", str(lab.model), "--device", "board", "--measure", "quick"]
    for piece in answer_prompts(words, lab.root, passphrase):
        said += piece
        seen = read_processes()
        assert passphrase.encode() not in seen
        assert secret not in seen
    assert said.count(b"Passphrase of") == 1  # asked once, for all the links of a run
    for forbidden in (passphrase.encode(), secret):
        assert forbidden not in said
        assert [at for at, text in read_everything(lab.root, board.home) if forbidden in text] == []


def test_a_refused_password_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        password_board() as device,
        pytest.raises(DeviceError, match="lets us in by no key") as told,
        open_ssh(device, ask_password=lambda prompt: "hunter2"),
    ):
        pass
    assert "hunter2" not in str(told.value) + repr(told.value.__cause__) + caplog.text


def test_the_password_of_a_ledger_is_told_to_nobody(tmp_path: Path) -> None:
    lab_root = tmp_path
    (lab_root / "devices.yaml").write_text("devices: {}\n")
    secret = "correct-horse"
    for url in (
        f"postgresql://me:{secret}@127.0.0.1:9/x",
        f"mysql://me:{secret}@127.0.0.1:9/x",
        f"nonsense://:{secret}@",
    ):
        ended = run_bench(lab_root, "results", "--ledger", url)
        assert ended.code != 0
        assert secret not in ended.out + ended.err
    assert [path for path, content in read_everything(lab_root) if secret.encode() in content] == []


def test_a_device_never_holds_a_password(tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text(
        "devices: {pi4: {host: 10.0.0.7, fingerprint: 'SHA256:" + "A" * 43 + "', password: hunter2}}\n"
    )
    ended = run_bench(tmp_path, "devices", "list")
    assert ended.code == 2
    assert "password: unknown key" in ended.err
    assert "hunter2" not in ended.err


# The emulated board.


def test_an_emulated_board_listens_on_loopback_only(
    emulated_workspace: Workspace, emulated_device: Device
) -> None:
    mark = (emulated_workspace.emulators / emulated_device.name / "mark").read_text()
    listening = [
        one.laddr
        for process in find_processes(mark)
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert [(one.ip, one.port) for one in listening] == [("127.0.0.1", emulated_device.port)]


def test_an_emulated_board_lets_in_its_own_key_only(
    emulated_device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        path = tmp_path / kind
        asyncssh.generate_private_key(kind).write_private_key(path)
        other = emulated_device.model_copy(update={"key_file": str(path)})
        with pytest.raises(DeviceError, match="lets us in by no key") as told, open_ssh(other):
            pass
        assert re.search(r"the server takes: publickey$", str(told.value), re.MULTILINE)
    asked: list[str] = []
    without = emulated_device.model_copy(update={"key_file": None})
    with pytest.raises(DeviceError), open_ssh(without, ask_password=lambda prompt: asked.append(prompt)):
        pass
    assert asked == []  # no password would help


def test_one_emulated_board_does_not_take_the_key_of_another(
    workspace: Workspace, emulated_device: Device
) -> None:
    try:
        own = emulator.up(workspace, "second", 1)
        with (
            pytest.raises(DeviceError, match="lets us in by no key"),
            open_ssh(own.model_copy(update={"key_file": emulated_device.key_file})),
        ):
            pass
    finally:
        emulator.down(workspace, "second")
