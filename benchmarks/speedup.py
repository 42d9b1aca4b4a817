"""What pruning half of the channels brings on the emulated board: speed at p50, and accuracy lost.

Reads a run that is there already (the newest one, or `--run`) through `bench results --format json`; `make
demo`, which sweeps the profile `x86-emulated`, makes one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench_command import call_bench
from figures import Figure, at_least, at_most, build_parser, fact, tell

from host.workspace import find_root

VARIANT = "channel-l2-50"
SPEEDUP = 1.8
POINTS = 2.0


def main() -> int:
    parser = build_parser(__doc__)
    parser.add_argument("--run", default="latest", help="a run's id, its beginning, or latest")
    parser.add_argument("--workspace", type=Path, default=find_root(Path.cwd()))
    parser.add_argument("--variant", default=VARIANT)
    options = parser.parse_args()
    call = call_bench("results", "--run", options.run, "--format", "json", workspace=options.workspace)
    rows = {row["variant"]: row for row in json.loads(call.stdout) if row["status"] == "ok"}
    if options.variant not in rows:
        sys.exit(f"the run holds no {options.variant}; it has {', '.join(rows) or 'nothing'}")
    row = rows[options.variant]
    change = row["accuracy_change"]
    figures: list[Figure] = [
        fact(f"{options.variant}: p50", row["latency_ms"]["p50"], "ms"),
        at_least(f"{options.variant}: speed-up against dense at p50", row["speedup"], SPEEDUP, "×"),
        fact(f"{options.variant}: accuracy on the board", row["accuracy_device"]),
        at_most(f"{options.variant}: accuracy lost", None if change is None else -change, POINTS, "points"),
    ]
    return tell(figures, options.format)


if __name__ == "__main__":
    sys.exit(main())
