"""Which folder has no room left: the error of a write that failed does not name its file."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from host.workspace import Workspace

LEAST_BYTES = 1 << 20


def name_full_folders(workspace: Workspace) -> str | None:
    """Those of our folders whose disks are full, and the one of temporary files; None where none is."""
    places = [workspace.cache, workspace.results, workspace.root]
    with contextlib.suppress(OSError):  # it is looked for by writing: there may be none
        places.append(Path(tempfile.gettempdir()))
    full = [str(place) for place in places if place.is_dir() and _find_free(place) < LEAST_BYTES]
    return " and ".join(dict.fromkeys(full)) or None


def _find_free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
