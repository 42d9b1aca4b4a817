"""Planned variants of tiny recipes, and progress that the tests can look at and break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host.compress.origins import describe_origin
from host.plan import PlannedVariant, plan_sweep
from host.progress import Tick
from host.specs.profile import parse_profile
from host.specs.recipe import Recipe

DENSE: dict[str, Any] = {}
INT8 = {"quantize": {"scheme": "static-int8"}}
CHANNEL = {"granularity": "channel", "criterion": "l2", "sparsity": 0.5, "round_to": 4}
WEIGHT = {"granularity": "weight", "sparsity": 0.5}


def make_recipe(**changes: Any) -> Recipe:
    """A recipe that trains in seconds. The tests' folder must be the current one: its factory is there."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "architecture": "tiny_models:make_tiny",
            "data": {"name": "digits"},
            "input": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.5]},
            "training": {"epochs": 3, "batch_size": 32, "learning_rate": 0.1},
            **changes,
        }
    )


def plan_variants(recipe: Recipe, *variants: dict[str, Any]) -> tuple[PlannedVariant, ...]:
    """The variants as a sweep of one profile would plan them."""
    profile = parse_profile({"name": "tiny", "model": recipe.name, "variants": list(variants)})
    return plan_sweep(profile, [recipe], ["board"], {recipe.name: describe_origin(recipe)}).variants


class Watched:
    """Progress that remembers what was tracked, and how far; at the start of `broken` it is interrupted."""

    def __init__(self, broken: str | None = None) -> None:
        self.tracked: list[str] = []
        self.totals: list[float | None] = []
        self.done: list[float] = []
        self.said: list[str] = []
        self._broken = broken

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        if self._broken is not None and description.startswith(self._broken):
            raise KeyboardInterrupt
        self.tracked.append(description)
        self.totals.append(total)
        self.done.append(0)

        def tick(advance: float = 1, note: str = "") -> None:
            self.done[-1] += advance

        yield tick

    def say(self, message: str) -> None:
        self.said.append(message)
