"""How much longer than its measuring windows a sweep with everything cached takes, and where that goes.

The sweep is one of ten variants in `standard`, or that of another profile.
Runs `bench build` for the profile (it finds all variants built, or builds them), then a whole sweep unless an
earlier one has left its files on the board, and then the sweep that counts, as a process of its own. The
measuring windows are what the protocol asks for: the warm-ups and the rounds of every task, as the board's
journal has their seconds, and the windows of the power pass where the board has a source; each is told apart,
since a warm-up yields no figure. The rest of the wall time is told by what the board and the host were doing:
the time between two events of the journal belongs to the earlier one, and the lines that the command prints
on standard error are timed as they come.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench_command import call_bench, find_bench
from figures import Figure, at_most, build_parser, fact, tell

from host.specs.library import load_profile
from host.workspace import Workspace, find_root

LIMIT = 10.0
TEN_VARIANTS = str(Path(__file__).with_name("ten-variants.yaml"))
Seconds = defaultdict[str, float]
WINDOWS = ("warm-up", "rounds", "power windows")


@dataclass(frozen=True)
class Sweep:
    """One finished `bench sweep`: its run, when it began and ended, and what it said when (epoch seconds)."""

    run: str
    began: float
    ended: float
    said: tuple[tuple[float, str], ...]


def main() -> int:
    parser = build_parser(__doc__)
    parser.add_argument("--profile", default=TEN_VARIANTS, help="one whose only device is emulated")
    parser.add_argument("--workspace", type=Path, default=find_root(Path.cwd()))
    options = parser.parse_args()
    workspace = Workspace(options.workspace.resolve())
    prepare(options, workspace)
    sweep = run_sweep(options.profile, workspace.root)
    return tell(explain(sweep, read_journal(sweep, options.profile, workspace)), options.format)


def prepare(options: Namespace, workspace: Workspace) -> None:
    """Have everything built and on the board."""
    call_bench("build", "--profile", options.profile, workspace=workspace.root)
    if not any(find_home(options.profile, workspace).glob("runs/*/journal.jsonl")):
        run_sweep(options.profile, workspace.root)


def run_sweep(profile: str, root: Path) -> Sweep:
    """Run the command and note when each line of its standard error comes."""
    began = time.time()
    command = [find_bench(), "sweep", "--profile", profile, "--format", "json"]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = tuple((time.time(), line.rstrip("\n")) for line in process.stderr)
        rows = process.stdout.read()  # it is printed at the end, and a pipe holds it until then
        code = process.wait()
    if code != 0:
        sys.exit("\n".join([f"`bench sweep` ended with exit code {code}:", *(line for _, line in said)]))
    return Sweep(json.loads(rows)[0]["run"], began, time.time(), said)


def find_home(profile: str, workspace: Workspace) -> Path:
    """The work folder of the profile's emulated board."""
    names = [choice.emulate for choice in load_profile(workspace, profile).devices if choice.emulate]
    if len(names) != 1:
        sys.exit(f"{profile}: a profile with one emulated device is needed, and nothing beside it")
    return workspace.emulators / str(names[0]) / "home" / ".boardbench"


def read_journal(sweep: Sweep, profile: str, workspace: Workspace) -> list[dict[str, Any]]:
    (path,) = find_home(profile, workspace).glob(f"runs/{sweep.run}.*/journal.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def explain(sweep: Sweep, events: list[dict[str, Any]]) -> list[Figure]:
    """The overhead over the windows, and each part of the wall time."""
    board, host = split_board_time(events), split_host_time(sweep, events)
    wall = sweep.ended - sweep.began
    windows = sum(board[name] for name in WINDOWS)
    parts = [
        pair for place in (board, host) for pair in sorted(place.items(), key=itemgetter(1), reverse=True)
    ]
    return [
        fact("wall time", wall, "s"),
        fact("measuring windows", windows, "s"),
        *(fact(f"  {name}", board[name], "s") for name in WINDOWS),
        at_most("overhead over the windows", 100 * (wall / windows - 1), LIMIT, "%"),
        fact("overhead, in seconds", wall - windows, "s"),
        *(fact(f"  {name}", seconds, "s") for name, seconds in parts if name not in WINDOWS),
    ]


def split_board_time(events: list[dict[str, Any]]) -> Seconds:
    """Seconds of the run on the board by what it was doing; the windows apart from what surrounds them."""
    parts: Seconds = defaultdict(float)
    for event, following in itertools.pairwise(events):
        parts[f"board: {name_phase(event)}"] += following["wall"] - event["wall"]
        if following["event"] == "round":
            parts["warm-up"] += following["warmup"]["seconds"]
            parts["rounds"] += following["seconds"]
            around = following["warmup"]["seconds"] + following["seconds"]
            parts[f"board: {name_phase(event)}"] -= around
    parts["power windows"] = parts.pop("board: power", 0.0)
    return parts


def name_phase(event: dict[str, Any]) -> str:
    """What goes on after an event: the phase that it announces, or the step to the next one."""
    phase = event.get("phase")
    if phase in ("warming", "round"):
        return "around the rounds (environment, packing, journal)"
    return str(phase) if phase else f"after {event['event']}"


def split_host_time(sweep: Sweep, events: list[dict[str, Any]]) -> Seconds:
    """Seconds before the run began on the board and after it ended, by the lines that the host printed."""
    started, ended = events[0]["wall"], events[-1]["wall"]
    parts: Seconds = defaultdict(float)
    last, doing = sweep.began, "starting the command, and planning"
    for at, line in sweep.said:
        if at >= started:
            break
        parts[f"host: {doing}"] += at - last
        last, doing = at, f"after “{line[:60]}”"
    parts[f"host: {doing}, to the start of the run"] += started - last
    parts["host: the last measurement, comparing and printing"] += sweep.ended - ended
    return parts


if __name__ == "__main__":
    sys.exit(main())
