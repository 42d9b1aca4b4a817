"""What lies in the work folder, thing by thing: what it is, how large, and when it was last used."""

import os
import re
import stat
from typing import Dict, Iterator, List, NamedTuple, Tuple

from device_agent.work_folder import WorkFolder, is_name

BLOB, PART, LAYER, AGENT, ENGINE, RUN, SCRATCH = (
    "file",
    "unfinished file",
    "packages",
    "agent",
    "engine",
    "run",
    "scratch",
)
GONE = ".gone"
"""How the name of what is being removed ends: half of it never stands under its own name."""

_PART = ".part"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Item(NamedTuple):
    """One thing that is there whole or not at all; `used_at` is in seconds since the epoch, by this board."""

    kind: str
    name: str
    paths: Tuple[str, ...]
    size: int
    used_at: float


def list_stock(folder: WorkFolder) -> List[Item]:
    """Everything that may grow. Locks and what is known of the board are not listed."""
    return [_describe(*each) for kind in _LISTS for each in kind(folder)]


def _describe(kind: str, name: str, *paths: str) -> Item:
    measured = [_measure(path) for path in paths]
    return Item(kind, name, paths, sum(size for size, _ in measured), max(at for _, at in measured))


def _measure(path: str) -> Tuple[int, float]:
    """Bytes below a path, and the latest time at which anyone wrote or read there.

    Folders tell only when they were written: looking into one counts as reading it.
    """
    size, used_at = 0, 0.0
    for each in _walk(path):
        try:
            found = os.lstat(each)
        except OSError:  # somebody else removes it
            continue
        is_folder = stat.S_ISDIR(found.st_mode)
        size += 0 if is_folder else found.st_size
        used_at = max(used_at, found.st_mtime, 0.0 if is_folder else found.st_atime)
    return size, used_at


def _walk(path: str) -> Iterator[str]:
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, folders, files in os.walk(path):
            for name in folders + files:
                yield os.path.join(folder, name)


def _names(folder: WorkFolder, *steps: str) -> Iterator[Tuple[str, str]]:
    """Names in a folder and their paths."""
    path = os.path.join(folder.root, *steps)
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return
    for name in names:
        yield name, os.path.join(path, name)


Listed = Iterator[Tuple[str, ...]]


def _list_blobs(folder: WorkFolder) -> Listed:
    for name, path in _names(folder, "blobs"):
        if _SHA256.match(name):
            yield BLOB, name, path
        elif name.endswith(_PART):
            yield PART, name, path


def _list_layers(folder: WorkFolder) -> Listed:
    for name, path in _names(folder, "layers"):
        if _SHA256.match(name):
            yield LAYER, name, path
        elif name.endswith((_PART, GONE)):
            yield SCRATCH, name, path


def _list_agents(folder: WorkFolder) -> Listed:
    """An agent is its archive and, once it has run, its folder."""
    paths: Dict[str, List[str]] = {}
    for name, path in _names(folder, "agents"):
        stem = os.path.splitext(name)[0]
        if _SHA256.match(stem) and name.endswith((".pyz", ".files")):
            paths.setdefault(stem, []).append(path)
        elif name.endswith((_PART, GONE)):
            yield SCRATCH, name, path
    for stem, own in paths.items():
        yield (AGENT, stem) + tuple(own)


def _list_engines(folder: WorkFolder) -> Listed:
    for kind, path in _names(folder, "engines"):
        if os.path.islink(path) or not os.path.isdir(path):
            yield ENGINE, kind, path
            continue
        for name, below in _names(folder, "engines", kind):
            yield ENGINE, "{}/{}".format(kind, name), below


def _list_runs(folder: WorkFolder) -> Listed:
    for name, path in _names(folder, "runs"):
        if name.endswith(GONE):
            yield SCRATCH, name, path
        elif is_name(name):
            yield RUN, name, path


def _list_profiling(folder: WorkFolder) -> Listed:
    path = os.path.join(folder.root, "profiling")
    if os.path.isdir(path):
        yield SCRATCH, "profiling", path


_LISTS = (_list_blobs, _list_layers, _list_agents, _list_engines, _list_runs, _list_profiling)
