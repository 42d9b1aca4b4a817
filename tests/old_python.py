"""An interpreter that is too old for the agent, where this machine has one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

STUB = """\
#!/bin/sh
echo "this is Python 2.7.18" >&2
exit 3
"""
"""What an old interpreter comes to when it runs the first words that are sent to a board."""


def find_old_python() -> str:
    """A Python before 3.6; skips the test where there is none."""
    found = look_for_old_python()
    if found is None:
        pytest.skip("no Python before 3.6 on this machine")
    return found


def make_old_python(folder: Path) -> str:
    """A Python before 3.6 or, where there is none, a program in `folder` that answers as one does."""
    stub = folder / "python2.7"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return look_for_old_python() or str(stub)


def look_for_old_python() -> str | None:
    """A Python before 3.6 of this machine."""
    installed = Path("~/.pyenv/versions").expanduser()
    candidates = [shutil.which("python2.7"), shutil.which("python2"), shutil.which("python3.5")]
    candidates += [str(path / "bin" / "python") for path in sorted(installed.glob("2.*"))]
    for candidate in filter(None, candidates):
        program = "import sys; print(sys.version_info < (3, 6))"
        done = subprocess.run([candidate, "-c", program], capture_output=True, check=False)
        if done.stdout.strip() == b"True":
            return candidate
    return None
