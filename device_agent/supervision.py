"""A worker process as the run sees it: asked by one pipe, answered by another, and dead in known ways."""

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from device_agent import protocol
from device_agent.logs import bound_log, open_log
from device_agent.measurement import TaskFailed
from device_agent.memory import parse_status
from device_agent.parent_death import start_pdeathsig
from device_agent.sensors.load import read_oom_kills
from device_agent.sensors.tree import read_text
from device_agent.watching import Starving, Watch

_LOG_TAIL_BYTES = 2000
_CHUNK = 1 << 16
_EXIT_S = 5.0
_QUOTED_BYTES = 80
_STUCK = "it could not be killed and may still hold memory and devices: it waits inside the kernel"


class Stopped(Exception):
    """Somebody asked the run to end."""


class Wakeup:
    """Wakes the run's select() when SIGTERM or SIGINT arrives, so that no line is torn by a signal."""

    def __init__(self) -> None:
        self.descriptor, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def wait(self, seconds: float) -> None:
        """Rest. Raises Stopped when a signal asked for it."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            raise Stopped


class WorkerProcess:
    """One worker. `ask` raises TaskFailed when it fails, dies, falls silent or starves the board; it is
    gone then. While it works, `watch` looks at the board.
    """

    def __init__(self, work: str, log: str, wakeup: Wakeup, watch: Watch) -> None:
        self._log = log
        self._wakeup = wakeup
        self._watch = watch
        self._oom_kills = read_oom_kills("/")
        self._replies, writer = os.pipe()
        self._pending = b""
        self._asked = 0
        self._spent_s = 0.0
        self._allowed_s = float("inf")
        with open_log(log) as output:  # anew: what an earlier worker said does not explain this one's end
            self._process = subprocess.Popen(
                [sys.executable, os.path.abspath(sys.argv[0]), "--work", work, "worker", str(writer)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
                preexec_fn=start_pdeathsig(),  # else it ends with its command pipe, after what it is doing
            )
        os.close(writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def allow(self, seconds: Optional[float]) -> None:
        """Bound what all answers of this worker may take together: signs of life do not extend it."""
        self._allowed_s = float("inf") if seconds is None else seconds

    def ask(
        self, command: Dict[str, Any], timeout_s: float, take: Optional[Callable[[Any], None]] = None
    ) -> Dict[str, Any]:
        """The worker's answer. Every sign of life starts the timeout anew, and so does every piece of a long
        answer, which goes to `take`. Raises TaskFailed, Stopped."""
        began = time.monotonic()
        try:
            return self._ask(command, timeout_s, take)
        finally:
            self._spent_s += time.monotonic() - began

    def _ask(
        self, command: Dict[str, Any], timeout_s: float, take: Optional[Callable[[Any], None]]
    ) -> Dict[str, Any]:
        self._watch.begin()
        last_s = time.monotonic() + self._allowed_s - self._spent_s
        self._asked += 1
        try:
            assert self._process.stdin is not None  # noqa: S101 (for the type checker: it is a pipe)
            self._process.stdin.write((json.dumps(dict(command, number=self._asked)) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._name_death() from None
        while True:
            reply = self._parse(self._read_line(command["do"], timeout_s, last_s))
            if "error" in reply:
                self.end()
                raise TaskFailed(reply["error"]["kind"], reply["error"]["message"])
            if "done" in reply:
                answer: Dict[str, Any] = reply["done"]
                return answer
            if "piece" in reply and take is not None:
                take(reply["piece"])

    def _parse(self, line: bytes) -> Dict[str, Any]:
        """A reply to the last command. Whatever else was written into the pipe is no answer."""
        try:
            # NaN and Infinity, which Python writes and JSON has not, stand for what is not known.
            reply = json.loads(line.decode(), parse_constant=lambda _word: None)
            is_ours = isinstance(reply, dict) and reply.get("number") == self._asked
        except ValueError:
            is_ours = False
        if not is_ours:
            self.end()
            message = "its answer cannot be read: {!r}".format(line[:_QUOTED_BYTES])
            raise TaskFailed(protocol.FAILED_CRASH, self._with_log(message))
        answer: Dict[str, Any] = reply
        return answer

    def _read_line(self, doing: str, timeout_s: float, last_s: float) -> bytes:
        pieces: List[bytes] = [self._pending]
        deadline = time.monotonic() + timeout_s
        while b"\n" not in pieces[-1]:
            if not self._wait_until_readable(min(deadline, last_s)):
                message = "no sign of life for {:.0f} s while it was to {}".format(timeout_s, doing)
                if last_s < deadline:
                    message = "not done with `{}` when all of its {:.0f} s were over".format(
                        doing, self._allowed_s
                    )
                raise TaskFailed(protocol.FAILED_HANG, self._with_log(message + self._end_and_tell()))
            piece = os.read(self._replies, _CHUNK)
            if not piece:
                raise self._name_death()
            pieces.append(piece)
        line, _, self._pending = b"".join(pieces).partition(b"\n")
        return line

    def _wait_until_readable(self, deadline: float) -> bool:
        """Whether the worker says something in time; until then the board is looked at. Raises Stopped."""
        while True:
            until = min(deadline, self._watch.next_s)
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self._replies, self._wakeup.descriptor], [], [], left)
            if self._wakeup.descriptor in ready:
                raise Stopped
            if ready:
                return True
            if time.monotonic() >= deadline:
                return False
            self._look()

    def _look(self) -> None:
        """Look at the board. A worker that leaves it too little memory is killed: raises TaskFailed."""
        bound_log(self._log)
        try:
            self._watch.look()
        except Starving as reason:
            status = read_text("/", "proc/{}/status".format(self._process.pid)) or ""
            resident = parse_status(status, "VmRSS")
            held = "" if resident is None else ", and its worker held {:.0f} MiB".format(resident)
            message = "stopped before the board ran out of memory: {}{}".format(reason, held)
            raise TaskFailed(protocol.FAILED_MEMORY, message + self._end_and_tell()) from reason

    def _name_death(self) -> TaskFailed:
        """Why the worker is gone: by the kernel for memory, by a signal, or by its own exit."""
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            code = 0  # it closed its pipe and lives on: `end` kills it
        self.end()
        has_oom_killed = (read_oom_kills("/") or 0) > (self._oom_kills or 0)
        return explain_death(code, has_oom_killed, read_tail(self._log))

    def _with_log(self, message: str) -> str:
        return add_log(message, read_tail(self._log))

    def end(self) -> bool:
        """Kill the worker, if it lives, and let go of its pipes; whether it is gone. May be called again.

        One that waits inside the kernel (a driver that hangs: state D) does not end even by SIGKILL before
        the driver lets it go. Nobody waits for that: the run goes on without it.
        """
        if self._process.stdin is None or self._process.stdin.closed:
            return self._process.poll() is not None
        self._process.kill()
        os.close(self._replies)
        with contextlib.suppress(BrokenPipeError):  # a command that it no longer read
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            sys.stderr.write("worker {} does not end: {}\n".format(self._process.pid, _STUCK))
            return False
        return True

    def _end_and_tell(self) -> str:
        """End the worker; what is to be added to a message where it does not end."""
        return "" if self.end() else "; " + _STUCK


def explain_death(code: int, has_oom_killed: bool, tail: str) -> TaskFailed:
    """The failure that stands for an exit code (negative: a signal), what the kernel counted, and a log."""
    if code == -signal.SIGKILL and has_oom_killed:
        return TaskFailed(protocol.FAILED_MEMORY, "killed by the kernel: the board ran out of memory")
    if "std::bad_alloc" in tail or "MemoryError" in tail:
        return TaskFailed(protocol.FAILED_MEMORY, add_log("the worker could not get memory", tail))
    if code < 0:
        return TaskFailed(protocol.FAILED_CRASH, add_log("killed by {}".format(name_signal(-code)), tail))
    return TaskFailed(protocol.FAILED_CRASH, add_log("ended with exit code {}".format(code), tail))


def add_log(message: str, tail: str) -> str:
    return "{}; its log ends with:\n{}".format(message, tail) if tail else message


def start_worker(work: str, log: str, wakeup: Wakeup, watch: Watch) -> WorkerProcess:
    """A new worker. Raises TaskFailed where the board has no memory or no process left for it."""
    try:
        return WorkerProcess(work, log, wakeup, watch)
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EAGAIN):
            raise TaskFailed(
                protocol.FAILED_MEMORY, "no worker could be started: {}".format(error)
            ) from error
        raise


def name_signal(number: int) -> str:
    """SIGSEGV for 11; the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def read_tail(path: str) -> str:
    """The end of a log, from the start of a line."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return text.strip() if size <= _LOG_TAIL_BYTES else text.partition("\n")[2].strip()
