"""The installed `bench` command, run as a user runs it and timed from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """One finished command: the wall time of its whole process, and what it printed for programs."""

    seconds: float
    stdout: bytes


def find_bench() -> str:
    """The command beside the interpreter that runs this benchmark."""
    return str(Path(sys.executable).with_name("bench"))


def call_bench(*words: str, workspace: Path) -> Call:
    """Run `bench` in a workspace; one that fails ends the benchmark with what it said."""
    began = time.perf_counter()
    done = subprocess.run([find_bench(), *words], cwd=workspace, capture_output=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        sys.exit(f"`bench {' '.join(words)}` ended with exit code {done.returncode}:\n{said}")
    return Call(seconds, done.stdout)
