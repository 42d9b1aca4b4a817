"""OpenSSH's sshd on a port of its own, as the current user, for as long as a block lasts."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh

from host.specs.device import Device

CONFIG = """\
HostKey {folder}/host
Port {port}
ListenAddress 127.0.0.1
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
SetEnv HOME={folder}/home
"""


def find_sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def run_sshd(program: str, folder: Path) -> Iterator[Device]:
    """The account of the current user behind a real sshd, with a home of its own in `folder`."""
    (folder / "home").mkdir()
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / name).touch(mode=0o600)
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "sshd_config").write_text(CONFIG.format(folder=folder, port=port))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root wants it
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(process, port)
        public = asyncssh.read_public_key(folder / "host.pub")
        yield Device(
            name="sshd",
            host="127.0.0.1",
            port=port,
            user=getpass.getuser(),
            fingerprint=public.get_fingerprint("sha256"),
            key_file=str(folder / "user"),
        )
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once the server listens. Raises RuntimeError if it ended."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"sshd ended with exit code {process.returncode}")
