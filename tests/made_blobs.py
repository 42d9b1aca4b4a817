"""Files named by their content, as a build leaves them for a board."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from host.specs.artifact import Blob


def make_blob(folder: Path, content: bytes) -> Blob:
    sha256 = hashlib.sha256(content).hexdigest()
    folder.mkdir(exist_ok=True)
    path = folder / sha256
    path.write_bytes(content)
    return Blob(path=path, sha256=sha256, size=len(content))


def make_layer(folder: Path, name: str = "package/__init__.py", size: int = 12) -> Blob:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(b"x" * size))
    return make_blob(folder, gzip.compress(packed.getvalue(), mtime=0))
