"""`bench` as a user runs it: a process of its own, in a workspace, with an exit code and two streams."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

BENCH = (sys.executable, "-m", "host.cli")


class Ended(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def run_bench(root: Path, *words: str, timeout: float = 300, within: Sequence[str] = ()) -> Ended:
    """Run `bench` to its end, `within` another program that starts it where one is given."""
    done = subprocess.run(
        [*within, *BENCH, *words],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def bench(root: Path, *words: str, code: int = 0, timeout: float = 300) -> str:
    """What `bench` printed on standard output; of one that is to fail, all that it printed."""
    ended = run_bench(root, *words, timeout=timeout)
    assert ended.code == code, f"bench {' '.join(words)}: {ended.code}\n{ended.out}\n{ended.err}"
    return ended.out if code == 0 else ended.out + ended.err


def start_bench(root: Path, *words: str) -> subprocess.Popen[str]:
    """A `bench` that is under way; its standard error is a pipe."""
    return subprocess.Popen(
        [*BENCH, *words],
        cwd=root,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore SIGINT, and so would this one if the tests run in such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_words(process: subprocess.Popen[str], words: str) -> str:
    """What the process says up to the line that begins something named by `words`."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line and "done in" not in line:
            return "".join(said)
    raise AssertionError(f"bench ended without saying {words!r}: {''.join(said)}")


def environment() -> dict[str, str]:
    here = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": here, "COLUMNS": "200", "BENCH_LEDGER": ""}


def share_cache(source: Path, target: Path, *kinds: str) -> None:
    """Copy kinds of cached files (agents, builds, layers) from one workspace to another."""
    for kind in kinds:
        found = source / ".boardbench" / "cache" / kind
        if found.is_dir():
            shutil.copytree(found, target / ".boardbench" / "cache" / kind, dirs_exist_ok=True)
