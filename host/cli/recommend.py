"""`bench recommend`: which variant to take, on which board, within limits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from host.cli.ledgers import open_to_read
from host.cli.limits import ACCURACY, ENERGY, POWER, SIZE, TIME, limit_option
from host.cli.options import (
    current_workspace,
    device_option,
    expand_labels,
    format_option,
    ledger_option,
    print_json,
    show_and_judge,
)

if TYPE_CHECKING:
    from host.ledger.advising import Advice

COSTS = ("latency", "energy", "size", "memory", "power")


@click.command()
@device_option()
@click.option("--run", "run_texts", metavar="R", multiple=True, help="A run to choose from; may be repeated.")
@limit_option("--max-latency", TIME, "The longest latency, by --percentile.")
@limit_option("--min-accuracy", ACCURACY, "The lowest accuracy, on the device where measured there.")
@limit_option("--max-power", POWER, "The highest mean power under load.")
@limit_option("--max-energy", ENERGY, "The highest energy of one inference.")
@limit_option("--max-memory", SIZE, "The highest peak memory of the process.")
@limit_option("--max-size", SIZE, "The largest file.")
@click.option("--minimize", type=click.Choice(COSTS), help="What to rank by. Default: latency.")
@click.option("--maximize", type=click.Choice(["accuracy"]), help="Rank by accuracy instead.")
@click.option(
    "--percentile",
    type=click.Choice(["p50", "p90", "p95", "p99", "p999"]),
    default="p50",
    show_default=True,
    help="The latency that counts; one that the samples do not support keeps no limit.",
)
@format_option("table", "json", "markdown")
@ledger_option
def recommend(
    device_names: tuple[str, ...],
    run_texts: tuple[str, ...],
    max_latency: float | None,
    min_accuracy: float | None,
    max_power: float | None,
    max_energy: float | None,
    max_memory: float | None,
    max_size: float | None,
    minimize: str | None,
    maximize: str | None,
    percentile: str,
    output: str,
    ledger_url: str | None,
) -> None:
    """Choose the best variant within limits, for one device or many.

    Exit code 1 where nothing keeps the limits; then the nearest miss is told.
    """
    from host.errors import UsageError
    from host.fleet.registry import load_devices
    from host.ledger.advising import recommend as find_advice
    from host.ledger.wishes import Wishes
    from host.report.advice import print_advice

    if minimize is not None and maximize is not None:
        raise UsageError(
            f"--minimize {minimize} and --maximize {maximize} contradict each other",
            "Rank by one of them, and make a limit of the other, such as --min-accuracy 0.9.",
        )
    wishes = Wishes.model_validate(
        {
            "max_latency_ms": max_latency,
            "min_accuracy": min_accuracy,
            "max_power_w": max_power,
            "max_energy_mj": max_energy,
            "max_memory_bytes": max_memory,
            "max_size_bytes": max_size,
            "goal": maximize or minimize or "latency",
            "percentile": percentile,
        }
    )
    workspace = current_workspace()
    named = expand_labels(device_names, workspace)
    prices = {name: one.price for name, one in load_devices(workspace).items() if one.price is not None}
    with open_to_read(ledger_url) as ledger:
        advice = find_advice(ledger, wishes, run_texts, named, prices)
    told = advice.model_dump(mode="json")
    show = partial(print_json, told) if output == "json" else partial(print_advice, advice, output)
    show_and_judge(show, partial(judge_advice, advice))


def judge_advice(advice: Advice) -> None:
    """Raise GateFailed where nothing keeps the limits on any device."""
    from host.errors import GateFailed

    if not advice.has_winner:
        raise GateFailed(
            "nothing keeps the limits", "Loosen the limit that is missed by least, or add variants."
        )
