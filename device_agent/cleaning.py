"""Making room on the board: what was used longest ago goes first, and nothing that a run still needs."""

import fcntl
import os
import re
import shutil
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.lock import find_holder
from device_agent.pins import Pinned, read_pins
from device_agent.sending import hold_off_sending
from device_agent.sensors.tree import list_names, read_text
from device_agent.stock import BLOB, GONE, PART, RUN, SCRATCH, Item, list_stock
from device_agent.work_folder import WorkFolder

_FRESH_S = 3600.0  # an agent that is being put here or unpacked for a run is done long before
_TOLD = 2000
_AGENT = re.compile(r"/agents/([0-9a-f]{64})\.")

Answer = Dict[str, Any]


class Question(NamedTuple):
    """How much may stay (`keep_bytes`), or how long without use (`older_s`); the other one is None.

    `fetched` are runs whose results the host has. Of all others the files are kept, unless `takes_abandoned`.
    """

    keep_bytes: Optional[int]
    older_s: Optional[float]
    fetched: Set[str]
    takes_abandoned: bool
    is_dry: bool


def clean(folder: WorkFolder, asked: Dict[str, Any]) -> Answer:
    """Remove what the question asks for; what that was, and what is left. Raises AgentFault while a run
    measures, which removing would disturb, and while files are being sent."""
    question = parse_question(asked)
    if question.is_dry:
        return _describe(folder, *_choose(folder, question))
    holder = find_holder(folder)
    if holder is not None:
        message = "{} since {}".format(holder.get("holder"), holder.get("since"))
        raise AgentFault(protocol.ERROR_LOCKED, message, protocol.EXIT_LOCKED)
    with hold_off_sending(folder):
        chosen, kept, needed = _choose(folder, question)
        gone = {item for item in chosen if _remove(item)}
        removed = [item for item in chosen if item in gone]
        kept += [item for item in chosen if item not in gone]
    return _describe(folder, removed, kept, needed)


def parse_question(asked: Dict[str, Any]) -> Question:
    """Raises AgentFault for what is no question."""
    keep, older, fetched = asked.get("keep_bytes"), asked.get("older_s"), asked.get("fetched", [])
    if not all(bound is None or (type(bound) in (int, float) and bound >= 0) for bound in (keep, older)):
        raise AgentFault(protocol.ERROR_OTHER, "keep_bytes, older_s: expected a number")
    if not isinstance(fetched, list) or (keep is None) == (older is None):
        raise AgentFault(protocol.ERROR_OTHER, "expected fetched, and one of keep_bytes and older_s")
    names = {str(name) for name in fetched}
    return Question(keep, older, names, asked.get("abandoned") is True, asked.get("dry_run") is True)


def _choose(folder: WorkFolder, question: Question) -> Tuple[List[Item], List[Item], List[Item]]:
    """What goes, the least recently used first; what stays; and what of that something needs."""
    stock = list_stock(folder)
    pins = {item.name: read_pins(folder, item.name) for item in stock if item.kind == RUN}
    needed, used = _find_needed(pins, question), _find_uses(stock, pins)
    stock = [item._replace(used_at=max(item.used_at, used.get(item.name, 0.0))) for item in stock]
    free = [item for item in stock if item.name not in needed]
    free.sort(key=lambda item: (item.kind != SCRATCH, item.used_at))
    left, now, chosen = sum(item.size for item in stock), time.time(), []
    for item in free:
        if _is_chosen(item, question, left, now):
            chosen.append(item)
            left -= item.size
    gone = set(chosen)
    kept = [item for item in stock if item not in gone]
    return chosen, kept, [item for item in kept if item.name in needed]


def _is_chosen(item: Item, question: Question, left: int, now: float) -> bool:
    idle_s = now - item.used_at
    if item.kind == SCRATCH:
        return item.name.endswith(GONE) or idle_s > _FRESH_S
    if question.keep_bytes is not None:
        return left > question.keep_bytes or question.keep_bytes == 0  # not even what is empty
    return idle_s > (question.older_s or 0.0)


def _find_needed(pins: Dict[str, Pinned], question: Question) -> Set[str]:
    """The names of what a run or a process needs."""
    needed = _find_running_agents()
    for run, pinned in pins.items():
        if run not in question.fetched and not question.takes_abandoned:
            needed |= {run} | pinned.blobs | pinned.layers
    return needed


def _find_running_agents() -> Set[str]:
    """The agents that some process was started from, this one among them."""
    commands = [read_text("/", "proc/{}/cmdline".format(name)) for name in list_names("/", "proc")]
    return {found for words in commands + ["\0".join(sys.argv)] for found in _AGENT.findall(words or "")}


def _find_uses(stock: List[Item], pins: Dict[str, Pinned]) -> Dict[str, float]:
    """When a run that names a file or a layer was last written to: not every disk tells who has read."""
    used: Dict[str, float] = {}
    for item in stock:
        for name in pins[item.name].uses if item.kind == RUN else ():
            used[name] = max(item.used_at, used.get(name, 0.0))
    return used


def _remove(item: Item) -> bool:
    """Whether it is gone; it is not where somebody else holds it, or the disk refuses."""
    if item.kind in (BLOB, PART) and _is_held(item.paths[0]):
        return False
    try:
        for path in item.paths:
            _remove_path(path)
    except OSError as error:
        sys.stderr.write("{}\n".format(error))
        return False
    return True


def _is_held(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _remove_path(path: str) -> None:
    """Folders get another name first: one that is half removed must not be taken for a whole one."""
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    gone = path if path.endswith(GONE) else path + GONE
    if gone != path:
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(path, gone)
    shutil.rmtree(gone)


def _describe(folder: WorkFolder, removed: List[Item], kept: List[Item], needed: List[Item]) -> Answer:
    now = time.time()
    told = [
        {"kind": item.kind, "name": item.name, "bytes": item.size, "idle_s": max(0.0, now - item.used_at)}
        for item in removed
    ]
    return {
        "removed": told[:_TOLD],
        "removed_count": len(told),
        "freed_bytes": sum(item.size for item in removed),
        "kept_bytes": sum(item.size for item in kept),
        "needed_bytes": sum(item.size for item in needed),
        "runs": [item.name for item in needed if item.kind == RUN][:_TOLD],
        "free_bytes": folder.free_bytes(),
    }
