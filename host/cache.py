"""Room in this workspace's cache of builds, layers and agents. All of it can be made again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import NamedTuple

from host.errors import UsageError
from host.specs.cleaning import Cleaned, Removed, Terms
from host.workspace import Workspace

LOCKS = ("locks", "builds/lock")
"""What others hold open: a lock that is removed keeps nobody out."""


class CachedFile(NamedTuple):
    """One file of the cache; `used_at` is when it was last read or written."""

    path: Path
    name: str
    size: int
    used_at: float


def clean_cache(workspace: Workspace, terms: Terms) -> Cleaned:
    """Remove files, the least recently used first. Raises UsageError while something is being built."""
    with _no_build(workspace.cache):
        files = list_cache(workspace.cache)
        chosen = choose_files(files, terms, time.time())
        if not terms.is_dry:
            for file in chosen:
                file.path.unlink(missing_ok=True)
            _remove_empty_folders(workspace.cache)
    freed, now = sum(file.size for file in chosen), time.time()
    return Cleaned(
        device=None,
        is_dry=terms.is_dry,
        removed=tuple(
            Removed(
                kind=file.name.split("/")[0],
                name=file.name,
                bytes=file.size,
                idle_s=max(0.0, now - file.used_at),
            )
            for file in chosen
        ),
        removed_count=len(chosen),
        freed_bytes=freed,
        kept_bytes=sum(file.size for file in files) - freed,
        needed_bytes=0,
        free_bytes=shutil.disk_usage(workspace.root).free,
    )


def list_cache(cache: Path) -> list[CachedFile]:
    """Every file of the cache, whatever made it. What a link leads to belongs to somebody else."""
    found = []
    for folder, _, names in os.walk(cache):
        for each in names:
            path = Path(folder, each)
            name = path.relative_to(cache).as_posix()
            if not path.is_symlink() and not name.startswith(LOCKS):
                state = path.stat()
                found.append(CachedFile(path, name, state.st_size, max(state.st_atime, state.st_mtime)))
    return found


def choose_files(files: list[CachedFile], terms: Terms, now: float) -> list[CachedFile]:
    """What goes: the least recently used until the rest fits, or all that was not used for so long."""
    ordered = sorted(files, key=lambda file: file.used_at)
    if terms.keep_bytes is None:
        return [file for file in ordered if now - file.used_at > (terms.older_s or 0.0)]
    if terms.keep_bytes == 0:
        return ordered
    chosen, left = [], sum(file.size for file in files)
    for file in ordered:
        if left <= terms.keep_bytes:
            break
        chosen.append(file)
        left -= file.size
    return chosen


@contextmanager
def _no_build(cache: Path) -> Iterator[None]:
    path = cache / "builds" / "lock"
    if not path.is_file():
        yield
        return
    with path.open("r") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise UsageError("a build is under way in this workspace", "Wait for its end.") from error
        yield


def _remove_empty_folders(cache: Path) -> None:
    for folder, folders, names in os.walk(cache, topdown=False):
        if not names and not any(Path(folder, each).exists() for each in folders) and Path(folder) != cache:
            Path(folder).rmdir()
