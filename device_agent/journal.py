"""The journal of a run: JSON Lines with a sequence number each, on the disk before anyone hears of them."""

import base64
import contextlib
import json
import os
import re
import time
import zlib
from array import array
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from device_agent import protocol

_HEAD = re.compile(rb'^\{"seq": (\d+), "event": "([a-z-]+)"')
_HEAD_BYTES = 300


def parse_head(line: bytes) -> Optional[str]:
    """The event of a line; None where that is no line of a journal."""
    head = _HEAD.match(line)
    return None if head is None else head.group(2).decode()


class Line(NamedTuple):
    """One whole line as it stands in the file, with what its head says."""

    seq: int
    event: str
    raw: bytes


class Journal:
    """The journal, open for appending. Lines start with `seq` and `event`: cheap to read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.seq = _repair(path, self._descriptor)

    def append(self, event: str, **fields: Any) -> int:
        """The sequence number of the new line, which is on the disk when this returns.

        A line that the disk does not take whole is taken back, so that the journal stays readable.
        """
        told = {"seq": self.seq + 1, "event": event, "wall": time.time(), "mono": time.monotonic()}
        told.update(fields)
        content = (json.dumps(told, allow_nan=False) + "\n").encode()
        size = os.fstat(self._descriptor).st_size
        try:
            _write_all(self._descriptor, content)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise
        self.seq += 1
        return self.seq

    def close(self) -> None:
        os.close(self._descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _repair(path: str, descriptor: int) -> int:
    """The last sequence number, after cutting off what a lost run may have left: a torn line, or one that the
    disk has damaged and all that follows it."""
    whole, last = 0, 0
    for line, _ in read_sound(path):
        whole += len(line.raw)
        last = line.seq
    if whole < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, whole)
    return last


class Tail:
    """Reads the whole lines of a journal that somebody else appends to."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (`close` closes it)

    def read(self) -> Iterator[Line]:
        """The lines that were added since the last call, without the one that is being written."""
        while True:
            place = self._file.tell()
            raw = self._file.readline(protocol.MAX_LINE_BYTES + 1)
            head = _HEAD.match(raw)
            if not raw.endswith(b"\n") or head is None:
                self._file.seek(place)
                return
            yield Line(int(head.group(1)), head.group(2).decode(), raw)

    def close(self) -> None:
        self._file.close()


def read_lines(path: str) -> Iterator[Line]:
    """Every whole line of a journal."""
    with contextlib.closing(Tail(path)) as tail:
        yield from tail.read()


def read_sound(path: str) -> Iterator[Tuple[Line, Dict[str, Any]]]:
    """Every line of a journal with what it tells, up to the first that is damaged or out of order."""
    for number, line in enumerate(read_lines(path), 1):
        told = _read_told(line)
        if told is None or line.seq != number:
            return
        yield line, told


def _read_told(line: Line) -> Optional[Dict[str, Any]]:
    """What a line tells; None for one that is damaged. Samples carry a checksum of their own (zlib's)."""
    try:
        told: Dict[str, Any] = json.loads(line.raw.decode())
        if "samples_ns" in told:
            unpack_samples(told["samples_ns"])
    except (ValueError, TypeError, zlib.error):
        return None
    return told


class Known(NamedTuple):
    """What a journal already holds: rounds by task, tasks with a result, and how the last start ended."""

    rounds: Dict[str, Set[int]]
    results: Dict[str, str]
    ended: Optional[str]


def read_known(path: str) -> Known:
    """What need not be measured again. An absent journal holds nothing."""
    rounds: Dict[str, Set[int]] = {}
    results: Dict[str, str] = {}
    ended: Optional[str] = None
    if not os.path.exists(path):
        return Known(rounds, results, ended)
    for line, told in read_sound(path):
        ended = None
        if line.event == protocol.EVENT_ROUND:
            rounds.setdefault(told["task"], set()).add(told["round"])
        elif line.event == protocol.EVENT_RESULT:
            results[told["task"]] = told["status"]
        elif line.event == protocol.EVENT_RUN_ENDED:
            ended = told["reason"]
    return Known(rounds, results, ended)


def read_task(path: str, task: str) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Every `task-opened` and every `round` of one task, in the order of their measuring."""
    found: Dict[str, List[Dict[str, Any]]] = {protocol.EVENT_TASK_OPENED: [], protocol.EVENT_ROUND: []}
    marker = '"task": "{}"'.format(task).encode()
    for line in read_lines(path):
        # The task stands before the samples, so lines of others are passed over unread.
        if line.event in found and marker in line.raw[:_HEAD_BYTES]:
            found[line.event].append(json.loads(line.raw.decode()))
    return found[protocol.EVENT_TASK_OPENED], found[protocol.EVENT_ROUND]


def pack_samples(samples: "array[int]", count: int) -> str:
    """The first `count` durations as base64 of zlib of little-endian 64-bit numbers.

    Level 1: level 6 makes them a tenth smaller, and takes seven times as long on the board.
    """
    taken = samples[:count]
    if array("H", [1]).tobytes() != b"\x01\x00":
        taken.byteswap()
    return base64.b64encode(zlib.compress(taken.tobytes(), 1)).decode()


def unpack_samples(packed: str) -> "array[int]":
    """The durations of one round in nanoseconds."""
    samples = array("Q")
    samples.frombytes(zlib.decompress(base64.b64decode(packed)))
    if array("H", [1]).tobytes() != b"\x01\x00":
        samples.byteswap()
    return samples
