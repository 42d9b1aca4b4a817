"""`.ci/run` itself, with stand-ins for the programs that install and build: what it calls."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / ".ci" / "run"


def test_it_lints_and_tests_and_says_nothing_itself(tmp_path: Path) -> None:
    log = tmp_path / "called"
    for name in ("make", "apt-get"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{log}"\n')
        program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [SCRIPT], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    called = log.read_text().splitlines()
    assert [line for line in called if line.startswith("make ")] == ["make lint", "make test"]
