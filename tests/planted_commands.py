"""Commands of boards that are not here: scripts of their names, first on the path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def plant_command(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """From now on the command prints the text, whatever it is asked."""
    command = folder / "bin" / name
    command.parent.mkdir(parents=True)
    (folder / "text").write_text(text)
    command.write_text(f"#!/bin/sh\ncat '{folder}/text'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
