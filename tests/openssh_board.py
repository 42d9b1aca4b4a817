"""A board behind OpenSSH's own server: it loses power, has any login shell, and stumbles when told to."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest

from host.fleet.emulator_processes import MARK, find_processes
from host.fleet.ssh import open_ssh
from host.specs.device import Device
from tests.agent_board import Board

STUMBLING = """\
#!/bin/sh
# The board's Python. It stops before or after the command of the agent that a file beside it names, until
# the test removes the file `reached`.
here={here}
wait_for_test() {{
    mv "$here/$1" "$here/reached"
    while [ -e "$here/reached" ]; do sleep 0.02; done
}}
planted=
for word; do
    if [ -e "$here/before-$word" ]; then wait_for_test "before-$word"; fi
    if [ -e "$here/after-$word" ]; then planted=$word; fi
done
if [ -z "$planted" ]; then exec {python} "$@"; fi
{python} "$@"
status=$?
wait_for_test "after-$planted"
exit $status
"""


@dataclass
class OpensshBoard:
    """An sshd with a home folder, keys and processes of its own. `within` are the words that start it.

    `shell` are words that get a command as their last one, in the place of the user's own login shell.
    """

    folder: Path
    home: Path
    port: int
    within: tuple[str, ...] = ()
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    address: str = "127.0.0.1"
    _server: subprocess.Popen[bytes] | None = None

    @property
    def work(self) -> Path:
        return self.home / ".boardbench"

    @property
    def bare_python(self) -> str:
        """An interpreter without onnxruntime: that must be sent. `python3` has what this machine has."""
        return str(self.folder / "bare" / "python3")

    @property
    def agent_board(self) -> Board:
        """What is read of the work folder."""
        return Board(self.work, Path())

    def device(self, name: str = "board", **changes: Any) -> Device:
        public = asyncssh.read_public_key(self.folder / "host_key.pub")
        told = {
            "name": name,
            "host": self.address,
            "port": self.port,
            "user": getpass.getuser(),
            "fingerprint": public.get_fingerprint("sha256"),
            "key_file": str(self.folder / "user_key"),
            "python": str(self.folder / "python3"),
        }
        return Device.model_validate({**told, **changes})

    def start(self) -> None:
        with (self.folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(
                [*self.within, find_sshd(), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_listening(self._server)

    def stop_server(self) -> None:
        """End sshd and its sessions, as `systemctl restart ssh` with a broken link does; the rest goes on."""
        if self._server is not None and self._server.poll() is None:
            server = psutil.Process(self._server.pid)
            server.suspend()  # it lets nobody new in meanwhile
            sessions = server.children(recursive=True)
            self._server.kill()
            self._server.wait()
            self._server = None
            end(sessions)

    def cut_power(self) -> None:
        """End every process of the board at once; what is on its disk stays."""
        self.stop_server()
        while found := list(find_processes(self.mark)):
            end(found)

    def _wait_until_listening(self, server: subprocess.Popen[bytes]) -> None:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex((self.address, self.port)) == 0:
                    return
            if server.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"sshd does not listen: {(self.folder / 'sshd.log').read_text()}")

    def say_hello(self) -> bytes:
        """All that a plain client gets to see of a command: also what the login shell's own files print."""
        with open_ssh(self.device()) as remote:
            channel = remote._link.open_session()
            channel.exec_command("echo hello")
            return channel.makefile().read()

    @contextlib.contextmanager
    def stumbling(self, *planted: str) -> Iterator[Path]:
        """Have the agent's commands stop at `before-WORD` or `after-WORD`; the file that says `reached`."""
        for name in planted:
            (self.folder / name).touch()
        reached = self.folder / "reached"
        try:
            yield reached
        finally:
            for name in (*planted, "reached"):
                (self.folder / name).unlink(missing_ok=True)


def end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def find_sshd() -> str:
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    return program


@contextlib.contextmanager
def openssh_board(
    folder: Path,
    *,
    home: str = "home",
    shell: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    within: tuple[str, ...] = (),
    address: str = "127.0.0.1",
) -> Iterator[OpensshBoard]:
    """A board that is up; its processes are gone at the end."""
    find_sshd()
    board = OpensshBoard(folder, folder / home, find_free_port(), within, address=address)
    board.home.mkdir(parents=True)
    write_files(board, shell, environment or {})
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root wants it, and packages leave it to init
    try:
        board.start()
        yield board
    finally:
        board.cut_power()


def write_files(board: OpensshBoard, shell: Sequence[str], environment: Mapping[str, str]) -> None:
    folder = board.folder
    for name in ("host_key", "user_key"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / name).touch(mode=0o600)
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
    (folder / "authorized_keys").write_text(describe_login(shell) + (folder / "user_key.pub").read_text())
    plant_absent(folder / "absent", "openvino", "ncnn", "tensorrt")
    plant_absent(folder / "bare" / "absent", "onnxruntime")
    variables = {
        "HOME": str(board.home),
        MARK: board.mark,
        "PYTHONPATH": str(folder / "absent"),
        **environment,
    }
    settings = {
        "HostKey": folder / "host_key",
        "Port": board.port,
        "ListenAddress": board.address,
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "MaxStartups": "100",
        "SetEnv": " ".join(quote_setting(f"{name}={value}") for name, value in variables.items()),
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    program = folder / "python3"
    write_script(
        program,
        STUMBLING.format(here=shlex.quote(str(folder)), python=shlex.quote(str(Path(sys.executable)))),
    )
    absent = shlex.quote(str(folder / "bare" / "absent"))
    bare = f'#!/bin/sh\nPYTHONPATH={absent}:"$PYTHONPATH" exec {shlex.quote(str(program))} "$@"\n'
    write_script(Path(board.bare_python), bare)


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def plant_absent(folder: Path, *names: str) -> None:
    """Runtimes that the board lacks: looking at one that no run needs would take it a second."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.py").write_text("raise ImportError('not on this board')\n")


def quote_setting(text: str) -> str:
    """A word of sshd_config."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def describe_login(shell: Sequence[str]) -> str:
    """What stands before a key so that sshd starts these words with the command, like a login shell."""
    if not shell:
        return ""
    words = shlex.join(shell).replace('"', '\\"')
    return f'command="exec {words} \\"$SSH_ORIGINAL_COMMAND\\"" '


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
