"""How long `bench --help` and `bench results` take, each as a process of its own.

`bench --help` is started ten times and more, and the median counts. `bench results` reads a ledger of 10,000
measurements (each saved through the ledger, with samples of five rounds) in every format, once with all of
them in one run and once spread over a hundred runs; each is started three times, and the median counts.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from bench_command import call_bench
from figures import Figure, at_most, build_parser, fact, tell

from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.specs.measurement import Measurement, Memory, Power
from host.workspace import Workspace

MEASUREMENTS = 10_000
FORMATS = ("table", "json", "csv", "markdown", "parquet")
HELP_LIMIT_MS = 300.0
RESULTS_LIMIT_S = 2.0
START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
DEVICES = 20

STATE = {"governor": "performance", "temperature_c": 41.5, "mhz": [1500.0] * 4, "load": [0.2, 0.3, 0.3]}
VERSIONS = {"python": "3.11.2", "numpy": "2.1.0", "runtime": "1.20.1", "kernel": "6.6.31+rpt-rpi-v8"}


def main() -> int:
    options = build_parser(__doc__).parse_args()
    figures = [*time_help(10 if options.quick else 20)]
    count = 1000 if options.quick else MEASUREMENTS
    for runs in (1, 100):
        figures += time_results(count, runs, 1 if options.quick else 3)
    return tell(figures, options.format)


def time_help(repeats: int) -> list[Figure]:
    """The median of `bench --help`, and what its imports cost."""
    seconds = [call_bench("--help", workspace=Path.cwd()).seconds for _ in range(repeats)]
    return [
        at_most("bench --help", 1e3 * statistics.median(seconds), HELP_LIMIT_MS, "ms"),
        fact("  the slowest of them", 1e3 * max(seconds), "ms"),
        *list_imports(5),
    ]


def list_imports(most: int) -> list[Figure]:
    """The modules whose own code takes longest when the command is imported."""
    command = [sys.executable, "-X", "importtime", "-c", "import host.cli.main"]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    found = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", said, re.MULTILINE)
    heaviest = sorted(((int(own), name) for own, name in found), reverse=True)[:most]
    return [fact(f"  import {name}", own / 1e3, "ms") for own, name in heaviest]


def time_results(count: int, runs: int, repeats: int) -> list[Figure]:
    """The median of `bench results` for every format, over `count` measurements in so many runs."""
    words = ("results",) if runs == 1 else ("results", "--all")
    spread = "one run" if runs == 1 else f"{runs} runs, --all"
    figures = []
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        fill_ledger(workspace, count, runs)
        for form in FORMATS:
            asked = (*words, "--format", form)
            seconds = [call_bench(*asked, workspace=workspace).seconds for _ in range(repeats)]
            label = f"bench results --format {form}, {count} in {spread}"
            figures.append(at_most(label, statistics.median(seconds), RESULTS_LIMIT_S, "s"))
    return figures


def fill_ledger(root: Path, count: int, runs: int) -> None:
    """A workspace whose ledger holds `count` measurements, each variant beside its dense baseline."""
    (root / "devices.yaml").write_text("devices: {}\n")
    random = np.random.default_rng(0)
    with Ledger.open(Workspace(root).ledger_url) as ledger:
        for run in range(runs):
            tasks = [f"{at:016x}" for at in range(count // runs)]
            ledger.start_run(
                RunRecord(
                    id=f"run-{run:03}",
                    profile="p",
                    plan={"tasks": [{"id": task} for task in tasks]},
                    started_at=START + timedelta(hours=run),
                )
            )
            for at, task in enumerate(tasks):
                scatter = np.exp(0.01 * random.standard_normal((5, 200)))
                rounds = [np.rint(5e6 / (1 + at // DEVICES % 5) * line).astype(np.int64) for line in scatter]
                ledger.save(make_measurement(f"run-{run:03}", task, at), rounds)
            ledger.finish_run(f"run-{run:03}", "completed", START + timedelta(hours=run, minutes=9))


def make_measurement(run: str, task: str, at: int) -> Measurement:
    """The `at`th measurement of a run: each variant of a model on twenty devices, then the next."""
    variant, device = at // DEVICES, at % DEVICES
    return Measurement(
        run=run,
        task=task,
        device=f"board-{device:04}",
        board="Raspberry Pi 4 Model B Rev 1.4",
        is_emulated=False,
        model="net",
        variant=f"variant-{variant}" if variant else "dense",
        variant_id=f"{variant:016x}",
        is_baseline=variant == 0,
        model_sha256=f"{variant:064x}",
        runtime="onnxruntime",
        provider="CPUExecutionProvider",
        precision="fp32",
        threads=4,
        batch=1,
        sparsity=0.1 * variant,
        sparsity_target=0.1 * variant,
        params=2_236_682,
        params_nonzero=2_236_682,
        macs=6_500_000,
        file_bytes=8_900_000,
        accuracy_host=0.98,
        accuracy_device=0.98,
        agreement=1.0,
        max_abs_diff=1e-5,
        load_ms=31.0,
        first_inference_ms=5.5,
        memory_mb=Memory(baseline=40.0, loaded=60.0, peak=80.5, pss=61.0),
        power=Power(),
        environment={"before": STATE, "after": STATE, "versions": VERSIONS},
        status="ok",
        started_at=START,
    )


if __name__ == "__main__":
    sys.exit(main())
