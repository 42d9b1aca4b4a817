"""What may not be cleaned away: files that runs still need."""

import json
import os
from typing import Any, Collection, Dict, List, NamedTuple, Optional, Set, Tuple

from device_agent import protocol
from device_agent.journal import read_lines
from device_agent.work_folder import WorkFolder

_FILES = ("model", "feeds", "evaluation", "reference")
_ENDING = (protocol.EVENT_RESULT, protocol.EVENT_RUN_ENDED)


class Pinned(NamedTuple):
    """Names that a run needs; `uses` are all files and layers that its job names."""

    blobs: Set[str]
    layers: Set[str]
    uses: Set[str]


def read_pins(folder: WorkFolder, run: str) -> Pinned:
    """What the tasks of a run that have no result yet need: nothing of a run that is over."""
    job = _read_job(folder, run)
    tasks = [task for task in job.get("tasks", []) if isinstance(task, dict)]
    results, is_over = _read_results(folder.journal(run))
    left = [] if is_over else [task for task in tasks if str(task.get("task")) not in results]
    layer = [job["layer"]] if isinstance(job.get("layer"), str) else []
    uses = _list_files(tasks) | set(layer)
    return Pinned(_list_files(left), set(layer) if left else set(), uses)


def _list_files(tasks: List[Dict[str, Any]]) -> Set[str]:
    named = (task.get(key) for task in tasks for key in _FILES)
    return {name for name in named if isinstance(name, str)}


def _read_job(folder: WorkFolder, run: str) -> Dict[str, Any]:
    """The job as it was put down; empty where it is not there or not readable."""
    try:
        with open(folder.job(run), "rb") as file:
            job = json.loads(file.read(protocol.MAX_ANSWER_BYTES).decode())
    except (OSError, ValueError):
        return {}
    return job if isinstance(job, dict) and isinstance(job.get("tasks"), list) else {}


def _read_results(journal: str) -> Tuple[Collection[str], bool]:
    """The tasks that have a result, and whether the run has said that it is complete."""
    results: Set[str] = set()
    last: Optional[str] = None
    if os.path.exists(journal):
        for line in read_lines(journal):
            last = None
            if line.event in _ENDING:
                told = _read_line(line.raw)
                last = told.get("reason")
                results.add(str(told.get("task")))
    return results, last == "completed"


def _read_line(raw: bytes) -> Dict[str, Any]:
    """A line of the journal; empty where the disk has damaged it."""
    try:
        told: Dict[str, Any] = json.loads(raw.decode())
    except ValueError:
        return {}
    return told
