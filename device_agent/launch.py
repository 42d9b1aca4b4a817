"""Putting a job down, starting its run apart from the SSH session, and the run's process itself."""

import json
import os
import subprocess
import sys
from typing import Any, Dict, Optional

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.job import parse_job
from device_agent.journal import read_known
from device_agent.lock import acquire_lock, find_holder
from device_agent.logs import bound_log
from device_agent.sending import hold_off_cleaning
from device_agent.unpacked import provide_program
from device_agent.work_folder import WorkFolder, write_file

Answer = Dict[str, Any]

LEAST_FREE_BYTES = 1 << 20
"""A run on a fuller disk might begin its journal, but could not even say why it ended."""

_MAX_READY = 8192


def put_job(folder: WorkFolder, run: str, content: bytes) -> Answer:
    """Check a job and keep it for `start`."""
    job = parse_job(content)
    if job["run"] != run:
        raise AgentFault(
            protocol.ERROR_BAD_JOB, "the job is of run {!r}, not of {!r}".format(job["run"], run)
        )
    with hold_off_cleaning(folder):  # from here on nothing that the job names is cleaned away
        write_file(folder.job(run), content)
    return {"run": run, "tasks": len(job["tasks"])}


def read_job(folder: WorkFolder, run: str) -> Dict[str, Any]:
    """The job that was put down. Raises AgentFault where there is none."""
    try:
        with open(folder.job(run), "rb") as file:
            return parse_job(file.read(protocol.MAX_ANSWER_BYTES))
    except FileNotFoundError as error:
        raise AgentFault(protocol.ERROR_MISSING, "no job was put down for run {!r}".format(run)) from error


def is_finished(folder: WorkFolder, job: Dict[str, Any]) -> bool:
    """Whether the journal has ended with a result for every task of the job."""
    known = read_known(folder.journal(job["run"]))
    return known.ended == "completed" and all(task["task"] in known.results for task in job["tasks"])


def start_run(folder: WorkFolder, run: str) -> Answer:
    """Start a run that outlives the session; returns once it holds the lock. Raises AgentFault if refused."""
    job = read_job(folder, run)
    if is_finished(folder, job):
        return {"state": "finished", "pid": None}
    told = _find_running(folder, run)
    if told is None:
        check_space(folder)
        told = _spawn(folder, run)
    if "error" in told:
        running = _find_running(folder, run)  # another `start` of the same run was faster
        if running is not None:
            return running
        code = protocol.EXIT_LOCKED if told["error"]["kind"] == protocol.ERROR_LOCKED else protocol.EXIT_FAULT
        raise AgentFault(told["error"]["kind"], told["error"]["message"], code)
    return told


def check_space(folder: WorkFolder) -> None:
    """Raise AgentFault where the disk has no room for a journal."""
    free = folder.free_bytes()
    if free < LEAST_FREE_BYTES:
        needed = "a run needs {} KiB for its journal".format(LEAST_FREE_BYTES >> 10)
        raise AgentFault(protocol.ERROR_NO_SPACE, "{}, {} KiB are free".format(needed, free >> 10))


def _find_running(folder: WorkFolder, run: str) -> Optional[Answer]:
    """The answer for a run that measures already; one that has said that it ended is only letting go."""
    holder = find_holder(folder)
    if holder is None or holder.get("run") != run or read_known(folder.journal(run)).ended is not None:
        return None
    return {"state": "running", "pid": holder.get("pid")}


def _spawn(folder: WorkFolder, run: str) -> Answer:
    """What the new process says of itself. It has a session of its own and none of our descriptors,
    so that the SSH channel closes when this command ends."""
    ready, writer = os.pipe()
    log = os.path.join(folder.run(run), "agent.log")
    program = provide_program(folder, os.path.abspath(sys.argv[0]))
    command = [sys.executable, program, "--work", folder.root, "run", run]
    bound_log(log)
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command + ["--ready", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            pass_fds=(writer,),
        )
    os.close(writer)
    with os.fdopen(ready, "rb") as answer:
        text = answer.read(_MAX_READY)
    if not text:
        process.wait()
        raise AgentFault(protocol.ERROR_OTHER, "the run ended at once; see {}".format(log))
    told: Answer = json.loads(text.decode())
    return told


def run_here(folder: WorkFolder, run: str, ready: Optional[int]) -> int:
    """Measure in this process; `ready` is where `start` waits until the lock is held or refused."""
    from device_agent.board_root import find_root
    from device_agent.notify import Pokes
    from device_agent.run import Run, enter_folder
    from device_agent.supervision import Wakeup
    from device_agent.tuning.fixing import claim, release
    from device_agent.tuning.step import Place

    job = read_job(folder, run)
    place, fix = Place(folder, find_root()), None
    try:
        lock = acquire_lock(folder, run, job["holder"])
        wakeup = Wakeup()
        journal = enter_folder(folder, run)
        pokes = Pokes()
        fix = claim(place, run)
        measuring = Run(folder, job, journal, pokes, wakeup, fix)
        measuring.say_started()
    except BaseException as error:
        if fix is not None:
            release(place)
        if isinstance(error, (AgentFault, OSError)):
            _answer(ready, _describe(error))
        raise
    _answer(ready, {"state": "started", "pid": os.getpid()})
    measuring.measure(lambda: release(place))
    pokes.withdraw()  # before another start of this run may bind the name anew
    os.close(lock)  # before followers hear of the end, so that they may start another run
    pokes.close()
    return protocol.EXIT_OK


def _describe(error: Exception) -> Answer:
    from device_agent.faults import describe_os_error

    fault = describe_os_error(error) if isinstance(error, OSError) else error
    assert isinstance(fault, AgentFault)  # noqa: S101 (for the type checker)
    return {"error": {"kind": fault.kind, "message": fault.message}}


def _answer(ready: Optional[int], told: Answer) -> None:
    if ready is not None:
        try:
            os.write(ready, json.dumps(told).encode())
        except BrokenPipeError:
            sys.stderr.write("whoever started this run is gone; it goes on\n")
        os.close(ready)
