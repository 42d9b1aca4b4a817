"""How long `bench compare` and `bench check` take on 1,000 pairs, and how often their verdicts are right.

The pairs lie in a real ledger, each with the samples of five rounds, and the commands are timed as processes
of their own. A check without changes must keep its limits.

The verdicts are counted on simulated measurements: samples depend on their neighbours, a round shares its
conditions with the rounds next to it, and each process is a little faster or slower than another of the
same program, as real ones are. Rounds of one run share most of their conditions; those of two runs share
nothing. False alarms are verdicts on equal programs; a limit of 5 % must be broken by a slowdown of 10 %. A
measurement that breaks its limit is measured again, as `bench check` does, and fails where it breaks it
once more.
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench_command import call_bench
from figures import Figure, at_least, at_most, build_parser, fact, tell
from numpy.typing import NDArray

from host.ledger.checking import Scale, judge_once_more, judge_rows
from host.ledger.contrast import contrast_rows
from host.ledger.guarding import Guards
from host.ledger.matching import Matched
from host.ledger.records import Entry, RunRecord
from host.ledger.rows import Row, join_rows
from host.ledger.statistics import LatencySummary, Samples
from host.ledger.store import Ledger
from host.specs.measurement import Measurement, Memory
from host.workspace import Workspace

PAIRS = 1000
LIMIT_S = 5.0
FALSE_ALARMS = 0.05
FOUND = 0.95
LIMIT = 0.05
START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

PROTOCOLS = ((3, 64), (5, 200), (9, 112))
"""Rounds and samples in each: the least that the presets ask for."""
WEATHERS = (0.0, 0.003, 0.008)
"""By what share rounds of one process differ; neighbouring ones are alike."""
PROCESSES = (0.0, 0.002, 0.004)
"""By what share processes of one program differ, over all their rounds."""
NOISE, NEIGHBOURS = 0.03, 0.8
ROUNDS_ALIKE = 0.5
SHARED = 0.9
"""What part of the weather's variance two measurements of one run have in common."""


@dataclass(frozen=True)
class Setting:
    """What simulated measurements suffer from."""

    rounds: int
    count: int
    weather: float
    process: float

    def __str__(self) -> str:
        told = f"{self.rounds} x {self.count}, rounds {100 * self.weather:g} %"
        return f"{told}, processes {100 * self.process:g} %"


@cache
def chain(count: int, alike: float) -> NDArray[np.float64]:
    """What makes of independent numbers ones that resemble the one before (first-order autoregression)."""
    steps = np.arange(count)[None, :] - np.arange(count)[:, None]
    weights = np.where(steps >= 0, alike ** np.maximum(steps, 0), 0.0)
    weights[1:] *= math.sqrt(1 - alike**2)
    shaped: NDArray[np.float64] = weights
    return shaped


@dataclass
class Laboratory:
    """Simulated measurements of one setting; their samples are kept until they are read."""

    setting: Setting
    random: np.random.Generator
    template: Row
    held: dict[tuple[str, str], list[Samples]] = field(default_factory=dict)

    def measure(self, run: str, task: str, weather: NDArray[np.float64], slowdown: float = 0.0) -> Row:
        """A row whose rounds suffer from this weather."""
        own = self.setting.process * self.random.standard_normal()
        self.held[run, task] = list(self._draw_samples(math.log(1 + slowdown) + own + weather))
        return {**self.template, "run": run, "task": task}

    def _draw_samples(self, levels: NDArray[np.float64]) -> Samples:
        fresh = self.random.standard_normal((self.setting.rounds, self.setting.count))
        noise = fresh @ chain(self.setting.count, NEIGHBOURS)
        whole: Samples = np.rint(5e6 * np.exp(NOISE * noise + levels[:, None])).astype(np.int64)
        return whole

    def draw_weather(self) -> NDArray[np.float64]:
        """What slows each round: neighbouring rounds alike, so that it drifts."""
        fresh = self.random.standard_normal(self.setting.rounds)
        weather: NDArray[np.float64] = self.setting.weather * (fresh @ chain(len(fresh), ROUNDS_ALIKE))
        return weather

    def read(self, row: Mapping[str, Any]) -> Sequence[Samples]:
        return self.held[row["run"], row["task"]]

    def compare_within_run(self, slowdown: float) -> str:
        """The verdict on two measurements of one run, whose rounds are interleaved."""
        common = math.sqrt(SHARED) * self.draw_weather()
        first, second = (
            self.measure("r1", task, common + math.sqrt(1 - SHARED) * self.draw_weather(), change)
            for task, change in (("a", 0.0), ("b", slowdown))
        )
        return contrast_rows(first, second, "variant", self.read, {}).verdict

    def compare_runs(self, slowdown: float) -> str:
        first = self.measure("r1", "a", self.draw_weather())
        second = self.measure("r2", "a", self.draw_weather(), slowdown)
        return contrast_rows(first, second, "run", self.read, {}).verdict

    def check(self, slowdown: float) -> tuple[str, str]:
        """The verdict of the first measurement, and the last word: a second one speaks where it fails."""
        rows = (
            self.measure("r1", "a", self.draw_weather()),
            self.measure("r2", "a", self.draw_weather(), slowdown),
        )
        matched = Matched((rows,), (), ())
        scale = Scale(Guards(max_slowdown=LIMIT), self.read, {})
        (first,) = once = judge_rows(matched, scale)
        if not first.is_worth_repeating:
            return first.verdict, first.verdict
        again = self.measure("r3", "a", self.draw_weather(), slowdown)
        (last,) = judge_once_more(once, matched, [again], scale)
        return first.verdict, last.verdict


def main() -> int:
    options = build_parser(__doc__).parse_args()
    trials = 50 if options.quick else 300
    figures = [*time_commands(100 if options.quick else PAIRS, 1 if options.quick else 3)]
    return tell([*figures, *judge_verdicts(trials)], options.format)


def judge_verdicts(trials: int) -> list[Figure]:
    """The worst share over all settings, and the mean, of each kind of verdict."""
    settings = [Setting(*one, *rest) for one, *rest in itertools.product(PROTOCOLS, WEATHERS, PROCESSES)]
    counted = {
        (name, slowdown): count_all(settings, trials, trial, slowdown)
        for name, trial in TRIALS.items()
        for slowdown in ((0.0, LIMIT, 2 * LIMIT) if name == "check" else (0.0, 2 * LIMIT))
    }
    quick = PROTOCOLS[0][0]
    short = {setting for setting in settings if setting.rounds == quick}
    long = {setting for setting in settings if setting.rounds > quick}
    return [
        *tell_highest("compare in a run, no change: called different", counted["within", 0.0], is_different),
        *tell_highest("compare two runs, no change: called different", counted["runs", 0.0], is_different),
        *tell_lowest("compare in a run, 10 % slower: found", counted["within", 0.1], is_slower),
        *tell_lowest("compare two runs, 10 % slower: found", counted["runs", 0.1], is_slower),
        *tell_highest("check at 5 %, no change: first measurement fails", counted["check", 0.0], fails_once),
        *tell_highest("check at 5 %, no change: check fails", counted["check", 0.0], fails),
        *tell_around("5 % slower, which is the limit: check fails", counted["check", LIMIT], fails, max),
        *tell_lowest("check at 5 %, 10 % slower: check fails", narrow(counted["check", 0.1], long), fails),
        *tell_around("with 3 rounds", narrow(counted["check", 0.1], short), fails, min),
        *tell_around("with 3 rounds, kept", narrow(counted["check", 0.1], short), is_missed, max),
        fact("settings", len(settings)),
        fact("trials of each", trials),
    ]


TRIALS: dict[str, Callable[[Laboratory, float], tuple[str, ...]]] = {
    "within": lambda lab, slowdown: (lab.compare_within_run(slowdown),),
    "runs": lambda lab, slowdown: (lab.compare_runs(slowdown),),
    "check": lambda lab, slowdown: lab.check(slowdown),
}
Counted = dict[Setting, list[tuple[str, ...]]]
Is = Callable[[tuple[str, ...]], bool]


def is_different(found: tuple[str, ...]) -> bool:
    return found[0] in ("faster", "slower")


def is_slower(found: tuple[str, ...]) -> bool:
    return found[0] == "slower"


def fails_once(found: tuple[str, ...]) -> bool:
    return found[0] == "broken"


def fails(found: tuple[str, ...]) -> bool:
    return found[-1] == "broken"


def is_missed(found: tuple[str, ...]) -> bool:
    """Nobody would know: neither an error nor a warning."""
    return found[-1] == "kept"


def count_all(
    settings: Sequence[Setting],
    trials: int,
    trial: Callable[[Laboratory, float], tuple[str, ...]],
    slowdown: float,
) -> Counted:
    """The verdicts of all trials of each setting; equal settings draw equal trials."""
    measurement = make_measurement("r", "t", "dense").as_json()
    template = join_rows([Entry(measurement, LatencySummary().model_dump(mode="json"))])[0]
    found = {}
    for setting in settings:
        random = np.random.default_rng(list(str(setting).encode()))
        found[setting] = [trial(Laboratory(setting, random, template), slowdown) for _ in range(trials)]
    return found


def narrow(counted: Counted, wanted: set[Setting]) -> Counted:
    return {setting: found for setting, found in counted.items() if setting in wanted}


def find_shares(counted: Counted, is_so: Is) -> dict[Setting, float]:
    """In what share of the trials it was so."""
    return {setting: statistics.mean(map(is_so, found)) for setting, found in counted.items()}


def tell_highest(name: str, counted: Counted, is_so: Is) -> list[Figure]:
    shares = find_shares(counted, is_so)
    return [at_most(name, max(shares.values()), FALSE_ALARMS), *tell_around("", counted, is_so, max)]


def tell_lowest(name: str, counted: Counted, is_so: Is) -> list[Figure]:
    shares = find_shares(counted, is_so)
    return [at_least(name, min(shares.values()), FOUND), *tell_around("", counted, is_so, min)]


def tell_around(
    name: str, counted: Counted, is_so: Is, pick: Callable[[Iterable[float]], float]
) -> list[Figure]:
    """Where the worst share is, and what it is on average; with a name, that share too."""
    shares = find_shares(counted, is_so)
    worst = next(setting for setting, share in shares.items() if share == pick(shares.values()))
    told = [fact(f"  {name}", shares[worst])] if name else []
    return [*told, fact(f"  ({worst}); the mean is", statistics.mean(shares.values()))]


def time_commands(pairs: int, repeats: int) -> list[Figure]:
    """The median of `bench compare` and `bench check` as processes, over two runs of so many measurements."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        fill_ledger(workspace, pairs)
        check = ("check", "--baseline", "r1", "--run", "r2", "--max-slowdown", "5%", "--no-remeasure")
        commands = {
            f"bench compare, {pairs} pairs": ("compare", "r1", "r2"),
            f"bench compare --format json, {pairs} pairs": ("compare", "r1", "r2", "--format", "json"),
            f"bench check, {pairs} pairs": (*check, "--junit", "j.xml", "--markdown", "s.md"),
        }
        return [
            at_most(
                label,
                statistics.median(call_bench(*words, workspace=workspace).seconds for _ in range(repeats)),
                LIMIT_S,
                "s",
            )
            for label, words in commands.items()
        ]


def fill_ledger(root: Path, pairs: int) -> None:
    """A workspace whose ledger holds two runs of the same measurements."""
    (root / "devices.yaml").write_text("devices: {}\n")
    random = np.random.default_rng(0)
    with Ledger.open(Workspace(root).ledger_url) as ledger:
        for number, run in enumerate(("r1", "r2")):
            began = START + timedelta(hours=number)
            ledger.start_run(RunRecord(id=run, profile="p", devices={"pi4": None}, started_at=began))
            for at in range(pairs):
                scatter = np.exp(0.01 * random.standard_normal((5, 600)))
                rounds = [np.rint(5e6 * line).astype(np.int64) for line in scatter]
                ledger.save(make_measurement(run, f"{at:016x}", f"variant-{at}"), rounds)
            ledger.finish_run(run, "completed", began + timedelta(minutes=9))


def make_measurement(run: str, task: str, variant: str) -> Measurement:
    versions = {"agent": "1", "python": "3.11.2", "numpy": "2.1.0", "runtime": "1.20.1", "kernel": "6.6.31"}
    return Measurement(
        run=run,
        task=task,
        device="pi4",
        board="Raspberry Pi 4 Model B Rev 1.4",
        is_emulated=False,
        model="net",
        variant=variant,
        variant_id=variant,
        is_baseline=False,
        model_sha256="0" * 64,
        runtime="onnxruntime",
        provider="CPUExecutionProvider",
        precision="fp32",
        threads=4,
        batch=1,
        sparsity=None,
        sparsity_target=None,
        params=2_236_682,
        params_nonzero=2_236_682,
        macs=6_500_000,
        file_bytes=8_900_000,
        accuracy_host=0.97,
        accuracy_device=0.97,
        scenario="single-stream",
        memory_mb=Memory(baseline=40.0, loaded=60.0, peak=80.5, pss=70.0),
        environment={"before": {"governor": "performance", "temperature_c": 41.5}, "versions": versions},
        status="ok",
        started_at=START,
    )


if __name__ == "__main__":
    sys.exit(main())
