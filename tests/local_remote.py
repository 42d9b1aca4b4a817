"""Connections without a network: the real agent in a local process, and links that break where told to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import LinkLost
from host.fleet.remote import Completed, Remote, quote_command


@dataclass
class LocalRemote:
    """A `Remote` whose board is a folder on this machine: words go through a shell, as over SSH."""

    device_name: str
    home: Path

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        return self.send(argv, [stdin], timeout=timeout)

    def send(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float = 60.0) -> Completed:
        with self._start(argv) as process:
            assert process.stdin is not None
            try:
                for chunk in chunks:
                    process.stdin.write(chunk)
                    process.stdin.flush()
            except BrokenPipeError:
                pass  # the command ended before it read all; its answer says why
            except BaseException:
                process.stdin.close()  # a link that breaks ends the command's input
                process.wait(timeout)
                raise
            stdout, stderr = process.communicate(timeout=timeout)
            return Completed(stdout, stderr, process.returncode)

    def stream(self, argv: Sequence[str], *, idle_timeout: float) -> Generator[bytes, None, int]:
        with self._start(argv) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    yield line.rstrip(b"\n")
                return process.wait()
            finally:
                process.kill()

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        command = ["/bin/sh", "-c", f"exec {quote_command(argv)}"]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.home, env=environment)


@dataclass
class BrittleRemote:
    """A `Remote` that breaks after so many bytes or lines, and changes bytes on the way."""

    link: Remote
    bytes_left: int | None = None
    lines_left: int | None = None
    flip_at: int | None = None

    @property
    def device_name(self) -> str:
        return self.link.device_name

    @device_name.setter
    def device_name(self, name: str) -> None:
        self.link.device_name = name

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        return self.link.run(argv, stdin=stdin, timeout=timeout)

    def send(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float = 60.0) -> Completed:
        return self.link.send(argv, self._worn(chunks), timeout=timeout)

    def _worn(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self.flip_at is not None:
                chunk, self.flip_at = flip(chunk, self.flip_at)
            if self.bytes_left is not None:
                if len(chunk) > self.bytes_left:
                    yield chunk[: self.bytes_left]
                    raise LinkLost(f"{self.device_name}: the link broke")
                self.bytes_left -= len(chunk)
            yield chunk

    def stream(self, argv: Sequence[str], *, idle_timeout: float) -> Generator[bytes, None, int]:
        lines = self.link.stream(argv, idle_timeout=idle_timeout)
        while True:
            try:
                line = next(lines)
            except StopIteration as end:
                return int(end.value)
            if self.lines_left is not None:
                if self.lines_left == 0:
                    raise LinkLost(f"{self.device_name}: the link broke")
                self.lines_left -= 1
            yield from self.tell(line)

    def tell(self, line: bytes) -> Iterable[bytes]:
        """What arrives of a line."""
        return [line]


def flip(chunk: bytes, at: int) -> tuple[bytes, int | None]:
    """The chunk with one bit of byte `at` changed, or how far on that byte is."""
    if at >= len(chunk):
        return chunk, at - len(chunk)
    changed = bytearray(chunk)
    changed[at] ^= 1
    return bytes(changed), None
