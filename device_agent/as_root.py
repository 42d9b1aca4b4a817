"""Commands that only root may run: as they are where we are root, else by `sudo -n`, which never asks."""

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import List, NamedTuple, Optional, Sequence

from device_agent.asking import find_command
from device_agent.privileges import is_root

TIMEOUT_S = 30.0
_MAX_BYTES = 1 << 18
_KILL_S = 1.0


class Refused(Exception):
    """The board did not let us, or did not do it: the message says why."""


class Ran(NamedTuple):
    """A command that ended: its exit code, and both of its streams in one text."""

    code: int
    said: str


def run_as_root(name: str, words: Sequence[str], given: str = "", timeout_s: float = TIMEOUT_S) -> Ran:
    """Run a program of the board as root with `given` on its input.

    Raises Refused where it is not there, does not end, or sudo would have to ask for a password.
    """
    program = _find(name)
    before = [] if is_root() else [_find("sudo"), "-n"]
    ran = _run(before + [program] + list(words), given, timeout_s)
    if before and ran.code != 0 and ran.said.startswith("sudo:"):
        raise Refused("{} as root: {}".format(name, ran.said.splitlines()[0]))
    return ran


def write_as_root(path: str, text: str) -> None:
    """Write into a file of /sys. Raises Refused where that is not allowed, or the kernel says no."""
    if is_root():
        try:
            with open(path, "w") as file:
                file.write(text)
        except OSError as error:
            raise Refused("{}: {}".format(path, error.strerror)) from error
        return
    ran = run_as_root("tee", [path], text)
    if ran.code != 0:
        raise Refused("{}: {}".format(path, last_line(ran.said)))


def _find(name: str) -> str:
    program = find_command(name)
    if program is None:
        raise Refused("there is no {} on the board".format(name))
    return program


def _run(command: List[str], given: str, timeout_s: float) -> Ran:
    """Through files, not pipes: a script that is ended may leave children behind that hold a pipe open."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(given.encode())
        asked.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=asked,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(os.environ, LC_ALL="C"),  # in English, since answers are read
                preexec_fn=_open_umask,
            )
        except OSError as error:
            raise Refused("{} cannot be started: {}".format(command[-1], error.strerror)) from error
        code = _wait(process, timeout_s)
        said.seek(0)
        text = said.read(_MAX_BYTES).decode("utf-8", "replace").strip()
    if code is None:
        raise Refused("`{}` did not end within {:.0f} s".format(" ".join(command), timeout_s))
    return Ran(code, text)


def _open_umask() -> None:
    """sudo adds our umask to its own; what root writes for us we have to be able to read."""
    os.umask(0o022)


def _wait(process: "subprocess.Popen[bytes]", timeout_s: float) -> Optional[int]:
    """The exit code; None where it does not end in time. What sudo has started is not ours to kill."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_S)
        return None


def last_line(text: str) -> str:
    """How a program ended, in its own words."""
    return (text.splitlines() or ["it said nothing"])[-1][:200]
