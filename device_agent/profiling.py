"""The command `profile`: one piece of a profile by operator, in a process of its own.

A piece times some inferences as they are, then as many while the runtime tells what each node took. Telling
costs time, also within the times that are told: how much, nodes show that compute next to nothing (the blank
model). The host asks for pieces of several models in turn.
"""

import json
import os
import select
import shutil
import subprocess
import sys
from typing import Any, Dict

from device_agent import protocol
from device_agent.board_root import find_root
from device_agent.faults import AgentFault
from device_agent.lock import acquire_lock
from device_agent.measurement import TaskFailed
from device_agent.parent_death import start_pdeathsig
from device_agent.profile_piece import fit_answer, measure_piece
from device_agent.sensors.load import read_oom_kills
from device_agent.supervision import explain_death, read_tail
from device_agent.tuning.fixing import settle
from device_agent.tuning.step import Place
from device_agent.work_folder import WorkFolder, check_sha256, make_folder
from device_agent.worker import offer_to_oom_killer

Fields = Dict[str, Any]

TRACE_BYTES = 64 << 20  # what the trace of a piece may need on the disk
_QUESTION_NUMBERS = {
    "seconds": (0.0, 60.0),
    "inferences": (1, 10000),
    "file_nodes": (1, 1000000),
    "timeout_s": (1, 3600),
}


def profile(folder: WorkFolder, question: Any) -> Fields:
    """The answer of a child process that does the piece, while the board's lock is held."""
    check_question(question)
    lock = acquire_lock(folder, "profile", question["holder"])
    scratch = os.path.join(folder.root, "profiling")
    try:
        settle(Place(folder, find_root()))
        shutil.rmtree(scratch, ignore_errors=True)  # of a piece that was killed
        _check_space(folder, question)
        make_folder(scratch)
        return _run_child(folder, scratch, question)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def check_question(question: Any) -> None:
    """Raise AgentFault for what is no question."""
    _check(isinstance(question, dict) and question.get("schema") == protocol.SCHEMA, "schema")
    for name in ("holder", "runtime", "provider"):
        _check(isinstance(question.get(name), str), name)
    for name in ("model", "feeds", "blank"):
        check_sha256(question.get(name))
    if question.get("layer") is not None:
        check_sha256(question["layer"])
    threads = question.get("threads")
    _check(threads is None or (type(threads) is int and 1 <= threads <= 1024), "threads")
    _check(isinstance(question.get("options"), dict), "options")
    for name, (low, high) in _QUESTION_NUMBERS.items():
        value = question.get(name)
        _check(type(value) in (int, float) and low <= value <= high, name)


def _check(is_right: bool, name: str) -> None:
    if not is_right:
        raise AgentFault(protocol.ERROR_BAD_JOB, "the question of the profile has no fitting {}".format(name))


def _check_space(folder: WorkFolder, question: Fields) -> None:
    try:
        needed = TRACE_BYTES + os.stat(folder.blob(question["model"])).st_size
    except FileNotFoundError as error:
        raise AgentFault(protocol.ERROR_MISSING, "the model is not on the board") from error
    if folder.free_bytes() < needed:
        message = "a profile needs {} MiB for its trace, {} MiB are free"
        raise AgentFault(protocol.ERROR_NO_SPACE, message.format(needed >> 20, folder.free_bytes() >> 20))


def _run_child(folder: WorkFolder, scratch: str, question: Fields) -> Fields:
    """What the child found. Raises AgentFault with one of the FAILED_ of the protocol as its kind."""
    log, answer = os.path.join(scratch, "log"), os.path.join(scratch, "answer.json")
    oom_kills = read_oom_kills("/") or 0
    alive, writer = os.pipe()
    with open(log, "wb") as output:
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0]), "--work", folder.root, "profile-here", answer],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
            preexec_fn=start_pdeathsig(),
        )
    os.close(writer)
    try:
        _hand_over(child, json.dumps(question).encode())
        if not _wait(alive, question["timeout_s"]):
            message = "no answer within {:.0f} s".format(question["timeout_s"])
            raise AgentFault(protocol.FAILED_HANG, message)
        code = child.wait()
    finally:
        os.close(alive)
        child.kill()
        child.wait()
    try:
        with open(answer, "rb") as file:
            told: Fields = json.loads(file.read().decode())
    except (OSError, ValueError):
        death = explain_death(code, (read_oom_kills("/") or 0) > oom_kills, read_tail(log))
        raise AgentFault(death.kind, death.message) from None
    if "error" in told:
        raise AgentFault(told["error"]["kind"], told["error"]["message"])
    return told


def _hand_over(child: Any, question: bytes) -> None:
    try:
        child.stdin.write(question)
        child.stdin.close()
    except BrokenPipeError:
        return  # it is gone: its end explains why


def _wait(alive: int, seconds: float) -> bool:
    """Whether the child ends in time. Raises AgentFault where who asked is gone: nobody needs the answer."""
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(sys.stdout.fileno(), 0)  # only that its other end is closed
    found = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
    if found and alive not in found:
        raise AgentFault(protocol.ERROR_OTHER, "who asked is gone")
    return bool(found)


def profile_here(folder: WorkFolder, question: Fields, answer: str) -> int:
    """Do the piece in this process and write its answer, or its error, to a file; the exit code."""
    offer_to_oom_killer()
    if question["layer"] is not None:
        sys.path.insert(0, folder.layer(question["layer"]))
    try:
        told = fit_answer(measure_piece(folder, question, os.path.dirname(answer)))
        code = protocol.EXIT_OK
    except TaskFailed as failure:
        told = {"error": {"kind": failure.kind, "message": failure.message}}
        code = protocol.EXIT_FAULT
    with open(answer + ".part", "wb") as file:
        file.write(json.dumps(told).encode())
    os.rename(answer + ".part", answer)
    return code
