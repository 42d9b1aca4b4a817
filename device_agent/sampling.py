"""The sampler as the run sees it: a process of its own that is started, held still at times, and asked."""

import json
import math
import os
import select
import signal
import subprocess
import sys
from array import array
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from device_agent.sensors.meter_lines import Arrival

READY_S = 30.0
"""For the start of a Python on a slow board and for the source's first value."""

TELLING_S = 60.0
_CHUNK = 1 << 20
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from device_agent.sampler import serve; sys.exit(serve(sys.argv[2]))"
)

Fields = Dict[str, Any]


class SamplerFailed(Exception):
    """The source of power gives nothing; the message says why."""


class Record(NamedTuple):
    """What a sampler has read; `reason` says why it ended early, None if it did not."""

    arrivals: List[Arrival]
    reason: Optional[str]


def find_agent() -> str:
    """The archive that this process runs from, or the folder of the package in a checkout."""
    found = os.path.dirname(os.path.dirname(__file__))
    # Relative only where the archive was named so; by now the run has changed into its folder.
    return found if os.path.isabs(found) else sys.argv[0]


class Sampler:
    """One sampling process, in a process group of its own with whatever it starts. Used in a `with` block.

    Raises SamplerFailed where it cannot be started. `waker` is a descriptor that becomes readable when the
    run is to end; then waiting ends by Stopped.
    """

    def __init__(self, spec: Fields, core: Optional[int] = None, waker: Optional[int] = None) -> None:
        from device_agent.parent_death import start_pdeathsig

        self._waker = waker
        # Isolated and without site-packages: it starts faster, and nothing of the board's Python disturbs it.
        command = [sys.executable, "-I", "-S", "-c", _START, find_agent(), json.dumps(dict(spec, core=core))]
        die_with_run = start_pdeathsig()

        def prepare() -> None:
            os.setpgid(0, 0)
            if die_with_run is not None:
                die_with_run()

        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=prepare
            )
        except OSError as error:  # no memory or no process left: it costs the figures of power, not the run
            raise SamplerFailed("no process could be started to read it: {}".format(error)) from error
        self._pending = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def wait_ready(self) -> List[str]:
        """The rails that the source tells of itself, once it gives values. Raises SamplerFailed, Stopped."""
        told = json.loads(self._read_line(READY_S).decode())
        if "failed" in told:
            raise SamplerFailed(told["failed"])
        rails: List[str] = told["rails"]
        return rails

    def hold(self) -> None:
        """Nothing reads the source until `go_on` or `stop`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> Record:
        """End sampling: all that was read. Raises SamplerFailed, Stopped."""
        assert self._process.stdin is not None  # noqa: S101 (for the type checker: it is a pipe)
        self.go_on()
        self._process.stdin.close()
        told = json.loads(self._read_line(TELLING_S).decode())
        size, values = 24 * told["values"], array("d")
        while len(self._pending) < size:
            self._pending += self._read_piece(TELLING_S)
        values.frombytes(bytes(self._pending[:size]))
        return Record(list(_unpack(values)), told["reason"])

    def _read_line(self, timeout_s: float) -> bytes:
        while b"\n" not in self._pending:
            self._pending += self._read_piece(timeout_s)
        line, _, self._pending = self._pending.partition(b"\n")
        return bytes(line)

    def _read_piece(self, timeout_s: float) -> bytes:
        from device_agent.supervision import Stopped

        assert self._process.stdout is not None  # noqa: S101 (for the type checker: it is a pipe)
        output = self._process.stdout.fileno()
        watched = [output] if self._waker is None else [output, self._waker]
        ready = select.select(watched, [], [], timeout_s)[0]
        if self._waker in ready:
            raise Stopped
        piece = os.read(output, _CHUNK) if ready else b""
        if not piece:
            raise SamplerFailed("the process that reads it {}".format("died" if ready else "does not answer"))
        return piece

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # it died, which `stop` tells

    def end(self) -> None:
        """Kill it and all that it started, if they live. May be called again."""
        if self._process.returncode is None:  # until it is waited for, its number is nobody else's
            self._signal(signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _unpack(values: "array[float]") -> Iterator[Arrival]:
    for at in range(0, len(values), 3):
        moment, own, watts = (None if math.isnan(one) else one for one in values[at : at + 3])
        assert moment is not None  # noqa: S101 (for the type checker)
        yield Arrival(moment, own, watts)


def probe(spec: Fields, waker: Optional[int] = None) -> List[str]:
    """The rails that a source tells of itself, after its first value. Raises SamplerFailed, Stopped."""
    with Sampler(spec, waker=waker) as sampler:
        return sampler.wait_ready()
