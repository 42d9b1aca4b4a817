"""Programs of the board that tell what no file does, asked without a terminal and with a time limit."""

import os
import shutil
import signal
import subprocess
import tempfile
from typing import IO, List, Optional

_MAX_BYTES = 1 << 20
# A session without a login shell may lack them, and NVIDIA's tools are there.
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def find_command(name: str) -> Optional[str]:
    """Where a program of the board is; None where there is none."""
    return shutil.which(name, path="{}:{}".format(os.environ.get("PATH", os.defpath), _SYSTEM_FOLDERS))


def ask_command(name: str, words: List[str], timeout_s: float) -> str:
    """What a program prints on its standard output; nothing where it is not there, or does not end in time.

    It can ask for no password: it has neither terminal nor input.
    """
    command = find_command(name)
    if command is None:
        return ""
    try:
        with tempfile.TemporaryFile() as printed:
            _run([command] + words, printed, timeout_s)
            printed.seek(0)
            return printed.read(_MAX_BYTES).decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _run(command: List[str], printed: IO[bytes], timeout_s: float) -> None:
    """Into a file, not a pipe: a script that is ended may leave children behind that hold a pipe open."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
