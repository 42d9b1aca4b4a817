"""The agent as one file, `agent.pyz`: byte-identical for identical sources."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import io
import secrets
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from host.specs.artifact import Blob

PACKAGE = "device_agent"
ENTRY = f"{PACKAGE}/entry.py"
"""What stands at the top of the archive as `__main__.py`."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name


def build_agent(cache: Path) -> Blob:
    """The agent's archive, in the cache under the SHA-256 of its bytes."""
    data, sha256 = _pack_installed()
    path = cache / "agents" / f"{sha256}.pyz"
    if not path.is_file() or path.stat().st_size != len(data):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{secrets.token_hex(4)}.part")  # several boards are readied at once
        part.write_bytes(data)
        part.replace(path)
    return Blob(path=path, sha256=sha256, size=len(data))


@functools.cache
def _pack_installed() -> tuple[bytes, str]:
    """The archive and its SHA-256. What is installed does not change under a running program."""
    data = pack(read_sources())
    return data, hashlib.sha256(data).hexdigest()


def read_sources() -> dict[str, bytes]:
    """Every source file of the installed agent by its name in the archive."""
    package = importlib.resources.files(PACKAGE)
    return dict(_walk(package, PACKAGE))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, name)
        elif entry.name.endswith(".py"):
            yield name, entry.read_bytes()


def pack(sources: dict[str, bytes]) -> bytes:
    """A zip of the sources, with the entry at its top.

    Names are sorted, dates and modes are fixed, and nothing is compressed: compressors differ from one
    version to the next, and a hash that moves would send the agent anew.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({**sources, "__main__.py": sources[ENTRY]}.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, whichever system packs it
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()
