"""One sweep over many emulated boards at once, and what it costs the host to follow one of them.

Each board is an SSH server of its own with a work folder, keys and one core; boards on the same core take
turns. What they measure is next to nothing, so that all there is to see is what the fleet costs. The ideal is
what the boards' own processes (their servers, agents and workers) take of the cores' time, as the kernel
counts it for them in the same sweep, spread evenly over all cores. So the rest is the host: its own
computing, and cores that wait for it. Boards are started beforehand, and use this interpreter's runtimes
instead of a layer each.

Then boards whose runs have nothing to say are followed: their cores rest, so what the host's process takes is
the following alone. Of its memory counts what each board adds to the first.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from figures import Figure, at_most, build_parser, fact, tell
from lab import children_s
from workers import make_model

from host.fleet import emulator
from host.fleet.registry import load_devices, save_device
from host.workspace import Workspace

COUNTS, QUICK_COUNTS = (1, 10, 50, 100), (1, 4, 10)
RATIO = 1.3
JUDGED_FROM = 10
"""A sweep over a few boards is over before its own start has been made up for: such are told, not judged."""

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

FOLLOWED, QUICK_FOLLOWED = 40, 10
FOLLOWED_S, QUICK_FOLLOWED_S = 60.0, 10.0
CPU_PERCENT, MEMORY_MB = 1.0, 5.0


def main() -> int:
    options = build_parser(__doc__).parse_args()
    adopt_orphans()
    counts = QUICK_COUNTS if options.quick else COUNTS
    followed = QUICK_FOLLOWED if options.quick else FOLLOWED
    with tempfile.TemporaryDirectory() as folder, run_boards(Path(folder), max(*counts, followed)) as names:
        workspace = Workspace(Path(folder))
        (workspace.root / "tiny.onnx").write_bytes(make_model(1, 4, 4))
        figures = [fact("an idle board's server, resident", find_server_mb(workspace, names), "MB")]
        for count in counts:
            figures += sweep(workspace, names[:count])
        seconds = QUICK_FOLLOWED_S if options.quick else FOLLOWED_S
        figures += follow(workspace, names[:followed], seconds)
    return tell(figures, options.format)


@contextmanager
def run_boards(root: Path, count: int) -> Iterator[list[str]]:
    """So many emulated boards of one core each, which bring their runtimes."""
    workspace, names = Workspace(root), [f"board-{number:03}" for number in range(count)]
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: emulator.up(workspace, name, 1), names))
        for device in load_devices(workspace).values():
            save_device(workspace, device.model_copy(update={"python": sys.executable}))
        yield names
    finally:
        for name in names:
            emulator.down(workspace, name)


def find_server_mb(workspace: Workspace, names: Sequence[str]) -> float:
    """What a server holds that has nothing to do, on average."""
    pages = 0
    for name in names:
        pid = emulator.status(workspace, name).pid
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 / len(names)


def run_host(workspace: Workspace, *words: str) -> dict[str, Any]:
    """What the host's process says of itself, and all that it took of a core (`process_s`)."""
    command = [sys.executable, str(Path(__file__).with_name("bare_fleet.py")), str(workspace.root), *words]
    before = children_s()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words[:2])}: {done.stderr}")
    return {**json.loads(done.stdout), "process_s": children_s() - before}


def adopt_orphans() -> None:
    """Become the parent of what loses its own: runs detach themselves, and the kernel accounts to parents."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        sys.exit("this kernel does not let a process adopt orphans")


def read_boards_s(workspace: Workspace, names: Sequence[str]) -> float:
    """CPU seconds so far of the boards' servers and what they started, and of the runs, which we adopted."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    ticks = 0
    for name in names:
        fields = Path(f"/proc/{emulator.status(workspace, name).pid}/stat").read_text().rpartition(")")[2]
        ticks += sum(int(field) for field in fields.split()[11:15])  # proc(5): utime to cstime
    return ticks / os.sysconf("SC_CLK_TCK") + children_s()


def sweep(workspace: Workspace, names: Sequence[str]) -> list[Figure]:
    """One sweep over these boards, beside what the cores allow."""
    cores = len(os.sched_getaffinity(0))
    before = read_boards_s(workspace, names)
    told = run_host(workspace, "sweep", *names)
    boards_s = read_boards_s(workspace, names) - before - told["process_s"]
    if told["errors"]:
        sys.exit("\n".join(told["errors"].values()))
    count, ideal_s = len(names), boards_s / cores
    label = "1 board" if count == 1 else f"{count} boards"
    ratio = told["wall_s"] / ideal_s
    wrong = count - told["ok"] + count_wrong_journals(workspace, names, told["run"])
    return [
        fact(f"{label}: wall time", told["wall_s"], "s"),
        fact(f"{label}: their own processes, spread over {cores} cores", ideal_s, "s"),
        fact(f"{label}: the host's process", told["cpu_s"], "s"),
        at_most(f"{label}: wall / ideal", ratio, RATIO)
        if count >= JUDGED_FROM
        else fact(f"{label}: wall / ideal", ratio),
        at_most(f"{label}: not measured, or measured twice", wrong, 0),
    ]


def count_wrong_journals(workspace: Workspace, names: Sequence[str], run: str) -> int:
    """Boards whose journals do not hold their one round and their one result exactly once."""
    wrong = 0
    for name in names:
        paths = (workspace.emulators / name / "home").glob(f".boardbench/runs/{run}.*/journal.jsonl")
        events = [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines()]
        wrong += (events.count("round"), events.count("result")) != (1, 1)
    return wrong


def follow(workspace: Workspace, names: Sequence[str], seconds: float) -> list[Figure]:
    told = run_host(workspace, "follow", str(seconds), *names)
    return [
        at_most(
            f"following {len(names)} boards: a core's time for each",
            100 * told["cpu_share"],
            CPU_PERCENT,
            "%",
        ),
        at_most(f"following {len(names)} boards: memory for each", told["mb"], MEMORY_MB, "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main())
