"""How long `bench report` builds its page, how large that is, and when a browser first draws it.

A ledger of 50 variants on 5 devices, each with the samples of five rounds; the command runs as a process of
its own. The page is opened from the disk by a headless Chromium, several times in fresh processes, and the
slowest counts: `first-contentful-paint` of the browser's own clock, from the start of the navigation.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bench_command import call_bench
from figures import Figure, at_most, build_parser, fact, tell

from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.specs.measurement import Measurement, Memory, Power
from host.workspace import Workspace

VARIANTS, DEVICES, ROUNDS, SAMPLES = 50, 5, 5, 1000
START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
)
PAINTED = """() => new Promise((tell) => {
  const look = () => {
    const found = performance.getEntriesByName("first-contentful-paint")[0];
    if (found) tell(found.startTime); else requestAnimationFrame(look);
  };
  look();
})"""
DRAWN = """() => new Promise((tell) => {
  const isDrawn = () => document.querySelector(".facet svg");
  const look = () => {
    scrollTo(0, document.getElementById("tradeoffs")?.offsetTop ?? 0);
    if (isDrawn()) tell(performance.now()); else requestAnimationFrame(look);
  };
  look();
})"""


def main() -> int:
    options = build_parser(__doc__).parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("needs Debian's chromium: apt-get install chromium")
    repeats = 1 if options.quick else 5
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        fill_ledger(workspace)
        page = workspace / "report.html"
        seconds = [
            call_bench("report", "-o", str(page), workspace=workspace).seconds
            for _ in range(1 if options.quick else 3)
        ]
        painted = [time_painting(chromium, page) for _ in range(repeats)]
        size = page.stat().st_size
    return tell(list_figures(seconds, size, painted), options.format)


def list_figures(seconds: list[float], size: int, painted: list[tuple[float, float]]) -> list[Figure]:
    return [
        at_most(
            f"bench report, {VARIANTS} variants on {DEVICES} devices", statistics.median(seconds), 10, "s"
        ),
        at_most("size of the page", size / 1e6, 8, "MB"),
        at_most("first drawn, the slowest", max(first for first, _ in painted), 2, "s"),
        fact("first drawn, the median", statistics.median(first for first, _ in painted), "s"),
        fact("first plots drawn, from the start, scrolling included", max(all_ for _, all_ in painted), "s"),
    ]


def time_painting(chromium: str, page: Path) -> tuple[float, float]:
    """Seconds until something is drawn, and until the first plots are, in a fresh browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        window = browser.new_page(viewport={"width": 1280, "height": 900})
        window.goto(page.as_uri(), wait_until="commit")
        painted = window.evaluate(PAINTED)
        drawn = window.evaluate(DRAWN)
        browser.close()
    return painted / 1000, drawn / 1000


def fill_ledger(workspace: Path) -> None:
    """A run as a sweep leaves it, with everything that a board can tell."""
    generator = np.random.default_rng(0)
    with Ledger.open(Workspace(workspace).ledger_url) as ledger:
        ledger.start_run(RunRecord(id="made", profile="made", started_at=START))
        for device in range(DEVICES):
            for variant in range(VARIANTS):
                p50_ms = (2 + device) * (10 - 9 * variant / VARIANTS)
                spread = np.exp(0.05 * generator.standard_normal((ROUNDS, SAMPLES)))
                rounds = [np.rint(1e6 * p50_ms * line).astype(np.int64) for line in spread]
                ledger.save(describe(device, variant), rounds)
        ledger.finish_run("made", "completed", START + timedelta(hours=1))


def describe(device: int, variant: int) -> Measurement:
    share = variant / VARIANTS
    moment = START.timestamp() + 60 * variant
    state = {
        "governor": "performance",
        "freq_mhz": [1500.0] * 4,
        "measured_mhz": [1499.7] * 4,
        "load_1m": 0.31,
    }
    told: dict[str, Any] = {
        "run": "made",
        "task": f"{device}-{variant}",
        "device": f"board-{device}",
        "board": "a made board",
        "is_emulated": device == DEVICES - 1,
        "model": "net",
        "variant": "dense" if variant == 0 else f"channel-l2-{100 * share:.0f}+int8",
        "variant_id": re.sub(r"\W", "", f"{variant:016x}"),
        "is_baseline": variant == 0,
        "model_sha256": f"{variant:064x}",
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "precision": "fp32" if variant == 0 else "int8",
        "threads": 4,
        "batch": 1,
        "sparsity": share,
        "sparsity_target": share,
        "params": 2_236_682,
        "params_nonzero": 2_000_000,
        "macs": int(6_500_000 * (1 - share / 2)),
        "file_bytes": int(8_900_000 * (1 - share / 2)),
        "gzip_bytes": int(8_000_000 * (1 - share / 2)),
        "packed_bytes": int(6_000_000 * (1 - share / 2)),
        "accuracy_host": 0.98 - 0.1 * share**2,
        "accuracy_device": 0.98 - 0.1 * share**2,
        "agreement": 0.998,
        "runtime_version": "1.20.1",
        "nodes": {"CPUExecutionProvider": 112},
        "load_ms": 80.0,
        "first_inference_ms": 20.0,
        "memory_mb": Memory(baseline=40.0, loaded=60.0, peak=80.5 - 10 * share, pss=70.0),
        "power": Power(source="ina VDD_IN", idle_w=2.0, load_w=6.0, energy_mj=30.0, energy_net_mj=20.0),
        "flags": ("throttled",) if variant % 9 == 5 else (),
        "environment": {
            "rest": {"temperature_c": 41.0, "idle_c": 40.0, "cooled_s": 1.0},
            "before": {**state, "time": moment, "temperature_c": 42.5},
            "during": {"samples": 40, "lowest_mhz": 1500.0, "highest_mhz": 1500.0, "temperature_c_max": 55.0},
            "after": {**state, "time": moment + 50, "temperature_c": 52.0},
            "versions": {"agent": "1", "python": "3.11.2", "kernel": "6.6.31+rpt-rpi-v8", "numpy": "2.1.0"},
        },
        "status": "ok",
        "started_at": START + timedelta(minutes=variant),
    }
    return Measurement.model_validate(told)


if __name__ == "__main__":
    sys.exit(main())
