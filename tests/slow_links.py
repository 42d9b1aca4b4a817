"""A network of its own behind a slow link: a namespace, two virtual cards, and netem on both of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE, THERE = "198.18.51.1", "198.18.51.2"  # of the range for measuring networks (RFC 2544): nobody's address


class Network(NamedTuple):
    """The words that start a program inside, and the address that it has there."""

    within: tuple[str, ...]
    address: str


@contextlib.contextmanager
def slow_network(shape: str) -> Iterator[Network]:
    """A network that is reached over a link of this shape; this machine's own stay as they are."""
    for program in ("ip", "tc", "unshare", "nsenter"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed: apt-get install iproute2 util-linux")
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    card = f"bb{os.getpid()}"
    within = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
    try:
        _wait_until_apart(keeper.pid)
        _try(
            "ip",
            "link",
            "add",
            f"{card}a",
            "type",
            "veth",
            "peer",
            "name",
            f"{card}b",
            "netns",
            str(keeper.pid),
        )
        for words, own, address in (((), f"{card}a", HERE), (within, f"{card}b", THERE)):
            _try(*words, "ip", "address", "add", f"{address}/30", "dev", own)
            _try(*words, "ip", "link", "set", own, "up")
            _try(*words, "tc", "qdisc", "add", "dev", own, "root", "netem", *shape.split())
        yield Network(within, THERE)
    finally:
        keeper.kill()
        keeper.wait()
        subprocess.run(["ip", "link", "delete", f"{card}a"], capture_output=True, check=False)


def _wait_until_apart(pid: int) -> None:
    """Wait until the process has left this machine's network."""
    ours = Path("/proc/self/ns/net").stat().st_ino
    for _ in range(500):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino != ours:
                return
        subprocess.run(["sleep", "0.01"], check=True)
    pytest.skip("no network namespace can be made here")


def _try(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no slow link can be made here: {' '.join(words)}: {done.stderr.strip()}")
