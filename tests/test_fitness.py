"""Which variants are worth a board's time, as the accuracy on the host and the limits tell."""

from __future__ import annotations

import pytest

from host.fitness import find_unfit
from host.plan import Task
from host.specs.artifact import Artifact
from host.specs.profile import Limits, RuntimeSettings
from tests.test_report_artifacts import make_artifact


def make_task(variant: str, *, is_baseline: bool = False, device: str = "pi4") -> Task:
    return Task(
        id=f"{device}-{variant}",
        device=device,
        model="net",
        variant_id=variant,
        label=variant,
        is_baseline=is_baseline,
        runtime=RuntimeSettings(),
    )


def judge(least: float | None, *, is_baseline: bool = False, **accuracies: float | None) -> dict[str, str]:
    artifacts: dict[str, Artifact] = {
        name: make_artifact(name, accuracy=accuracy) for name, accuracy in accuracies.items()
    }
    tasks = [make_task(name, is_baseline=is_baseline, device=at) for name in accuracies for at in ("a", "b")]
    return find_unfit(tasks, artifacts, Limits(min_accuracy=least))


def test_what_is_less_accurate_than_the_limit_is_unfit_and_says_by_how_much() -> None:
    assert judge(0.9, good=0.95, bad=0.831) == {"bad": "83.1 % on the host is below min_accuracy 90 %"}


def test_a_limit_that_is_just_reached_is_kept() -> None:
    assert judge(0.9, edge=0.9) == {}
    assert judge(0.9, edge=0.89999) == {"edge": "89.999 % on the host is below min_accuracy 90 %"}


def test_a_baseline_is_always_fit() -> None:
    assert judge(0.9, is_baseline=True, dense=0.1) == {}


def test_what_has_no_accuracy_cannot_be_judged() -> None:
    assert judge(0.9, unknown=None) == {}


@pytest.mark.parametrize("limits", [None, Limits(), Limits(max_latency_ms=1)])
def test_without_a_least_accuracy_everything_is_fit(limits: Limits | None) -> None:
    assert find_unfit([make_task("bad")], {"bad": make_artifact("bad", accuracy=0.0)}, limits) == {}
