"""The process behind an emulated board: an SSH server on 127.0.0.1 whose sessions are bound to some cores.

Started by `host.fleet.emulator` as `python -m host.fleet.emulator_server FOLDER NAME CORES PORT`, with
cores such as `2,3`. It prints one line of JSON once it listens, and goes on in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import asyncssh

from host.fleet.emulator_processes import MARK
from host.login import find_login

CHUNK_BYTES = 256 * 1024


def main() -> int:
    folder, name, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])
    cores = [int(core) for core in sys.argv[3].split(",")]
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return _relay_outcome(reader)
    os.setsid()
    os.close(reader)
    board = Board(folder, name, cores)
    asyncio.run(serve(board, port, lambda told: _detach(board, told, writer)))
    return 0


def _relay_outcome(reader: int) -> int:
    """Pass on the line that the server writes when it listens; nothing comes if it failed."""
    with os.fdopen(reader) as pipe:
        outcome = pipe.read()
    sys.stdout.write(outcome)
    return 0 if outcome else 1


def _detach(board: Board, told: str, writer: int) -> None:
    """Say that the server listens; from here on its log is where it speaks."""
    log = os.open(board.folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    with os.fdopen(writer, "w") as pipe:
        pipe.write(told)


class Board:
    """The folder of one emulated board: its home, its keys, and what its processes see."""

    def __init__(self, folder: Path, name: str, cores: list[int]) -> None:
        self.folder = folder
        self.name = name
        self.home = folder / "home"
        self.cores = cores

    def load_key(self, kind: str) -> asyncssh.SSHKey:
        """The `host` or `client` key, made on first use."""
        path = self.folder / f"{kind}_key"
        if not path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519", f"boardbench {self.name} {kind}")
            part = path.with_suffix(".part")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key.export_private_key())
            part.replace(path)
        return asyncssh.read_private_key(path)

    def prepare_home(self) -> None:
        """A home whose python3 is the interpreter below this process's virtual environment."""
        programs = self.home / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        link = programs / "python3"
        link.unlink(missing_ok=True)
        link.symlink_to(find_interpreter())

    def environment(self) -> dict[str, str]:
        user = find_login()
        return {
            "HOME": str(self.home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "PATH": f"{self.home / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            MARK: os.environ[MARK],
        }

    def bind(self) -> None:
        """Confine the calling process, and all that it starts, to the board's cores.

        Signals are what they are at a login: whoever started us may ignore some, as `nohup` does.
        """
        os.sched_setaffinity(0, self.cores)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def find_interpreter() -> Path:
    """The Python that this one's virtual environment was made from: a board has no virtual environment."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for candidate in (Path(sys.base_prefix) / "bin" / f"python{version}", Path(sys.executable).resolve()):
        if candidate.is_file():
            return candidate
    return Path(shutil.which("python3") or sys.executable)


class Gate(asyncssh.SSHServer):
    """Lets in one user with one key; no passwords, no forwarding."""

    def __init__(self, user: str, key: asyncssh.SSHKey) -> None:
        self._user = user
        self._key = key.public_data

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - the signature is asyncssh's
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._user and key.public_data == self._key


async def serve(board: Board, port: int, on_ready: Callable[[str], None]) -> None:
    """Accept sessions until SIGTERM or SIGINT. `on_ready` is told what the host must know, as JSON."""
    board.prepare_home()
    os.chdir(board.home)  # where SFTP's relative paths begin
    host_key, client_key = board.load_key("host"), board.load_key("client")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sessions = Sessions(board)
    with open_listener(port) as listener:
        acceptor = await asyncssh.listen(
            sock=listener,
            server_factory=lambda: Gate(find_login(), client_key),
            server_host_keys=[host_key],
            process_factory=sessions.run,
            sftp_factory=True,
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            config=None,
        )
        fingerprint = host_key.get_fingerprint("sha256")
        told = {"port": acceptor.get_port(), "cpus": len(board.cores), "cores": board.cores}
        on_ready(json.dumps({"pid": os.getpid(), "fingerprint": fingerprint, **told}))
        await stop.wait()
        acceptor.close()


def open_listener(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1: on `port` if that is free, else on one that is."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        listener.bind(("127.0.0.1", 0))
    return listener


class Sessions:
    """Runs what clients ask for, as sshd does: a shell per command, in a process group of its own."""

    def __init__(self, board: Board) -> None:
        self._board = board

    async def run(self, session: asyncssh.SSHServerProcess[bytes]) -> None:
        """Carry one command's streams and its exit status; a client that goes takes its command along."""
        words = ["/bin/sh", "-c", session.command] if session.command else ["/bin/sh"]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._board.home,
            env=self._board.environment(),
            start_new_session=True,
            preexec_fn=self._board.bind,
        )
        beside = [asyncio.create_task(task(session, process)) for task in (_feed, _hang_up_when_closed)]
        try:
            await asyncio.gather(
                _carry(process.stdout, session.stdout), _carry(process.stderr, session.stderr)
            )
            code = await process.wait()
            _report(session, code)
        except (asyncssh.Error, OSError, EOFError):
            session.close()
        finally:
            for task in beside:
                task.cancel()
            if process.returncode is None:
                _hang_up(process.pid)


async def _feed(session: asyncssh.SSHServerProcess[bytes], process: asyncio.subprocess.Process) -> None:
    """Carry the client's input to its end."""
    stdin = process.stdin
    assert stdin is not None  # noqa: S101 - it is a pipe
    try:
        while data := await session.stdin.read(CHUNK_BYTES):
            stdin.write(data)
            await stdin.drain()
    except (asyncssh.Error, OSError):
        pass  # either side closed
    with contextlib.suppress(OSError):
        stdin.close()


async def _hang_up_when_closed(
    session: asyncssh.SSHServerProcess[bytes], process: asyncio.subprocess.Process
) -> None:
    """End the command with the connection, also one that has not taken its input and so holds up `_feed`."""
    await session.channel.wait_closed()
    if process.returncode is None:
        _hang_up(process.pid)


async def _carry(source: asyncio.StreamReader | None, target: asyncssh.SSHWriter[bytes]) -> None:
    assert source is not None  # noqa: S101 - it is a pipe
    while data := await source.read(CHUNK_BYTES):
        target.write(data)
        await target.drain()


def _report(session: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    if code < 0:
        session.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        session.exit(code)


def _hang_up(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGHUP)


if __name__ == "__main__":
    sys.exit(main())
