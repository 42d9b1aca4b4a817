"""Folders that look like boards: files planted below a root, and trees that people posted of theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings" / "sysfs_trees.jsonl"
ENTRIES = [json.loads(line) for line in RECORDINGS.read_text(encoding="utf-8").splitlines()]

# What `grep -r . /sys/class/powercap` prints: names of zones hold colons, file names do not.
_GREPPED = re.compile(r"^(/sys/\S*/[a-z0-9_]+):(.*)$")
_REFUSED = re.compile(r"^\S*?: ?(/sys/\S+): Permission denied$|^SKIP (/sys/\S+): \[Errno 13\]")


def plant(root: Path, files: Mapping[str, str]) -> str:
    """The root, with the files in it."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(root)


def plant_entry(root: Path, entry: dict[str, Any]) -> str:
    """The tree that a recording shows. A file that it could not read is there, and cannot be read."""
    output = entry["output"]
    if isinstance(output, dict):
        return plant(root, output)
    for line in output.splitlines():
        told, refused = _GREPPED.match(line), _REFUSED.match(line)
        if told:
            plant(root, {told[1]: told[2] + "\n"})
        elif refused:
            make_unreadable(root / (refused[1] or refused[2]).lstrip("/"))
    return str(root)


def make_unreadable(path: Path) -> None:
    """A folder in the file's place: not even root reads that."""
    path.mkdir(parents=True)


def plant_cpus(root: Path, **files: Mapping[int, str]) -> str:
    """Files of the folders of cores: the name with `__` for `/`, and its text by core."""
    for name, texts in files.items():
        for core, text in texts.items():
            plant(root, {f"sys/devices/system/cpu/cpu{core}/{name.replace('__', '/')}": f"{text}\n"})
    return str(root)
