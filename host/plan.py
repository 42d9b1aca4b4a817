"""A profile and its devices become tasks. Nothing here touches a file, a board or a clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from host.specs.device import Device
from host.specs.measure import Measure
from host.specs.profile import Profile, RuntimeSettings
from host.specs.recipe import Recipe
from host.specs.record import Record
from host.specs.variant import Variant

FORMAT = 1
"""Raised when the builder changes what it writes, so that cached variants are built anew."""


class PlannedVariant(Record):
    """One file to build. Equal ids have equal bytes; `prefix` names the trained model that it starts from."""

    id: str
    prefix: str
    label: str
    recipe: Recipe
    variant: Variant


class Task(Record):
    """One measurement to make: a variant, a runtime's settings, a device. The id is unique in its run."""

    id: str
    device: str
    model: str
    variant_id: str
    label: str
    runtime: RuntimeSettings


class Plan(Record):
    """All that a sweep will build and measure."""

    profile: str
    measure: Measure
    seed: int
    variants: tuple[PlannedVariant, ...]
    tasks: tuple[Task, ...]

    def tasks_of(self, device: str) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.device == device)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_sweep(
    profile: Profile,
    recipes: Iterable[Recipe],
    devices: Iterable[Device],
    origins: Mapping[str, Any],
) -> Plan:
    """The plan of a sweep.

    `origins` holds, for each recipe's name, what decides its bytes beside its text: versions of the
    libraries that build it, hashes of its own source, checkpoint and data.
    """
    variants = tuple(
        _plan_variant(recipe, variant, origins[recipe.name])
        for recipe in recipes
        for variant in profile.variants
    )
    labels = unique_labels(variants)
    variants = tuple(item.model_copy(update={"label": labels[item.id]}) for item in variants)
    tasks = (
        _plan_task(device, planned, runtime)
        for device in devices
        for planned in variants
        for runtime in profile.runtimes
    )
    return Plan(
        profile=profile.name,
        measure=profile.measure,
        seed=profile.seed,
        variants=variants,
        tasks=tuple({task.id: task for task in tasks}.values()),
    )


def _plan_variant(recipe: Recipe, variant: Variant, origin: Any) -> PlannedVariant:
    told = recipe.model_dump(mode="json", exclude={"name", "description"})
    prefix = digest({"format": FORMAT, "recipe": told, "origin": origin})
    own = digest({"prefix": prefix, "variant": variant.model_dump(mode="json")})
    return PlannedVariant(id=own, prefix=prefix, label=variant.label, recipe=recipe, variant=variant)


def unique_labels(variants: Iterable[PlannedVariant]) -> dict[str, str]:
    """Variant id to label; variants of one model that share a label get a piece of their id."""
    listed = list(variants)
    shared: dict[tuple[str, str], set[str]] = {}
    for item in listed:
        shared.setdefault((item.recipe.name, item.label), set()).add(item.id)
    return {
        item.id: item.label
        if len(shared[item.recipe.name, item.label]) == 1
        else f"{item.label}#{item.id[:4]}"
        for item in listed
    }


def _plan_task(device: Device, planned: PlannedVariant, runtime: RuntimeSettings) -> Task:
    settings = runtime.model_dump(mode="json")
    return Task(
        id=digest({"device": device.name, "variant": planned.id, "runtime": settings}),
        device=device.name,
        model=planned.recipe.name,
        variant_id=planned.id,
        label=planned.label,
        runtime=runtime,
    )


def estimate_device_seconds(plan: Plan, device: str) -> float:
    """About how long one board measures: rounds, warm-up, opening, and passes for memory and accuracy.

    The last three are a guess of five seconds a task; the rounds and the warm-up are the protocol's floor.
    """
    rounds = plan.measure.rounds * plan.measure.round_s
    return len(plan.tasks_of(device)) * (rounds + plan.measure.warmup_s + 5.0)
