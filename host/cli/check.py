"""`bench check`: whether a run keeps the limits that a baseline sets it. For continuous integration."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.cli.ledgers import open_ledger
from host.cli.limits import PERCENT, POINTS, SIZE, TIME, limit_option
from host.cli.options import format_option, ledger_option, print_json, show_and_judge, tell

if TYPE_CHECKING:
    from host.ledger.checking import Repeat
    from host.ledger.guarding import Check
    from host.ledger.records import RunRecord
    from host.ledger.store import Ledger


@click.command()
@click.option(
    "--baseline", "baseline_text", metavar="NAME", required=True, help="A baseline's name, or a run."
)
@click.option("--run", "run_text", metavar="R", help="The run to check. Default: the newest that measured.")
@limit_option("--max-slowdown", PERCENT, "How much longer than before; the whole interval must lie beyond.")
@limit_option("--max-latency", TIME, "The longest p50; its whole interval must lie beyond.")
@limit_option("--max-accuracy-drop", POINTS, "In percentage points: 0.5 is from 90.0 % to 89.5 %.")
@limit_option("--max-memory", SIZE, "The highest peak memory.")
@limit_option("--max-memory-growth", PERCENT, "Of peak memory.")
@limit_option("--max-energy-growth", PERCENT, "Of the energy of one inference.")
@limit_option("--max-size", SIZE, "The largest file.")
@click.option("--no-remeasure", is_flag=True, help="Do not measure again what fails.")
@click.option("--strict", is_flag=True, help="Fail, too, where nobody can tell.")
@click.option(
    "--markdown",
    "summary",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a summary for a pull request.",
)
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report in JUnit's XML.",
)
@format_option()
@ledger_option
def check(
    baseline_text: str,
    run_text: str | None,
    max_slowdown: float | None,
    max_latency: float | None,
    max_accuracy_drop: float | None,
    max_memory: float | None,
    max_memory_growth: float | None,
    max_energy_growth: float | None,
    max_size: float | None,
    no_remeasure: bool,
    strict: bool,
    summary: Path | None,
    junit: Path | None,
    output: str,
    ledger_url: str | None,
) -> None:
    """Check a run against a baseline; exit 1 where it is worse.

    Without any limit: --max-slowdown 5% --max-accuracy-drop 0.5. What fails and may be chance is measured
    once more, and fails only if it fails again.
    """
    from host.ledger.checking import check_run
    from host.ledger.guarding import Guards
    from host.report.junit import write_junit
    from host.report.verdicts import print_check, write_summary

    check_folders(summary, junit)
    guards = Guards(
        max_slowdown=max_slowdown,
        max_latency_ms=max_latency,
        max_accuracy_drop=max_accuracy_drop,
        max_memory_bytes=max_memory,
        max_memory_growth=max_memory_growth,
        max_energy_growth=max_energy_growth,
        max_size_bytes=max_size,
    )
    with open_ledger(ledger_url) as ledger:
        repeat = None if no_remeasure else make_repeat(ledger)
        found = check_run(ledger, baseline_text, run_text, guards, repeat)
    if summary is not None:
        write_summary(found, summary)
    if junit is not None:
        write_junit(found, junit, is_strict=strict)
    show = (
        partial(print_json, found.model_dump(mode="json"))
        if output == "json"
        else partial(print_check, found)
    )
    show_and_judge(show, partial(judge_check, found, strict))


def check_folders(*files: Path | None) -> None:
    """Raise UsageError for a file that could not be written when all is measured."""
    from host.errors import UsageError

    for file in files:
        if file is not None and not file.parent.is_dir():
            raise UsageError(f"{file} cannot be written: there is no folder {file.parent}", "Make it first.")


def make_repeat(ledger: Ledger) -> Repeat:
    """Measures failing tasks again, on their devices."""

    def repeat(run: RunRecord, tasks: Collection[str]) -> str:
        from host.cli.sweep import open_place
        from host.repeating import measure_again

        with open_place(ledger) as place:
            return measure_again(run, tasks, place)

    return repeat


def judge_check(found: Check, strict: bool) -> None:
    """Raise GateFailed where a limit is broken, or, if `strict`, where nobody can tell; else warn of that."""
    from host.errors import GateFailed

    broken, doubtful = (
        [one for one in found.checked if one.verdict == verdict] for verdict in ("broken", "cannot tell")
    )
    total = len(found.checked)
    if broken:
        raise GateFailed(
            f"{len(broken)} of {total} measurements break a limit that {found.baseline} sets",
            f"bench compare {found.baseline_run} {found.run}",
        )
    if doubtful and strict:
        raise GateFailed(
            f"of {len(doubtful)} of {total} measurements nobody can tell whether they keep the limits",
            "More rounds narrow the intervals: `measure: rigorous` in the profile.",
        )
    if doubtful:
        tell(f"warning: of {len(doubtful)} of {total} measurements nobody can tell; --strict fails for it")
