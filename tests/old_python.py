"""An interpreter that is too old for the agent, where this machine has one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def find_old_python() -> str:
    """A Python before 3.6; skips the test where there is none."""
    installed = Path("~/.pyenv/versions").expanduser()
    candidates = [shutil.which("python2.7"), shutil.which("python2"), shutil.which("python3.5")]
    candidates += [str(path / "bin" / "python") for path in sorted(installed.glob("2.*"))]
    for candidate in filter(None, candidates):
        program = "import sys; print(sys.version_info < (3, 6))"
        done = subprocess.run([candidate, "-c", program], capture_output=True, check=False)
        if done.stdout.strip() == b"True":
            return candidate
    pytest.skip("no Python before 3.6 on this machine")
