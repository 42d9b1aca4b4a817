"""The processes of an emulated board, found by the mark that each of them carries in its environment."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

MARK = "BOARDBENCH_EMULATOR"
"""The environment variable that names the board: it tells its processes from one with a reused pid."""

SERVER_MODULE = "host.fleet.emulator_server"


def is_server(pid: int, mark: str) -> bool:
    """Whether a process is the running server of the board with this mark."""
    try:
        process = psutil.Process(pid)
        return process.environ().get(MARK) == mark and SERVER_MODULE in process.cmdline()
    except psutil.Error:
        return False


def find_processes(mark: str) -> Iterator[psutil.Process]:
    """Every living process of the board; dead ones that nobody has waited for have no environment."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except psutil.Error:
            continue


def end_processes(mark: str, patience_s: float = 5.0) -> bool:
    """End every process of the board, politely first; whether there was any."""
    found = list(find_processes(mark))
    for process in found:
        _signal(process, is_polite=True)
    psutil.wait_procs(found, timeout=patience_s)
    deadline = time.monotonic() + patience_s
    while (left := list(find_processes(mark))) and time.monotonic() < deadline:
        for process in left:  # what ignored the first signal, and what it started meanwhile
            _signal(process, is_polite=False)
        psutil.wait_procs(left, timeout=0.2)
    return bool(found)


def _signal(process: psutil.Process, *, is_polite: bool) -> None:
    try:
        process.terminate() if is_polite else process.kill()
    except psutil.NoSuchProcess:
        return
