"""A profile and its devices become tasks. Nothing here touches a file, a board or a clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from host.errors import UsageError
from host.specs.artifact import Artifact
from host.specs.compatibility import describe_mismatch
from host.specs.measure import Measure
from host.specs.profile import Profile, RuntimeSettings
from host.specs.recipe import Recipe
from host.specs.record import Record
from host.specs.variant import Variant
from host.workspace import unknown_name

FORMAT = 2
"""Raised when the builder changes what it writes, so that cached variants are built anew."""


class PlannedVariant(Record):
    """One file to build. Equal ids have equal bytes; `prefix` names the trained model that it starts from."""

    id: str
    prefix: str
    label: str
    recipe: Recipe
    variant: Variant


class PlannedFile(Record):
    """An ONNX file to measure as it is; `shapes` settles the extents that the file leaves open."""

    id: str
    path: Path
    sha256: str
    opset: int
    shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)


class Task(Record):
    """One measurement to make: a variant, a runtime's settings, a device. The id is unique in its run."""

    id: str
    device: str
    model: str
    variant_id: str
    label: str
    is_baseline: bool
    runtime: RuntimeSettings


class LeftOut(Record):
    """A variant that no board can run with some settings, which is known before anything is built."""

    variant_id: str
    label: str
    runtime: RuntimeSettings
    reason: str


class Plan(Record):
    """All that a sweep will build and measure, and what it leaves out of the product of its axes."""

    profile: str
    measure: Measure
    seed: int
    variants: tuple[PlannedVariant, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    tasks: tuple[Task, ...]
    left_out: tuple[LeftOut, ...] = ()

    def tasks_of(self, device: str) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.device == device)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_sweep(
    profile: Profile,
    recipes: Iterable[Recipe],
    devices: Iterable[str],
    origins: Mapping[str, Any],
) -> Plan:
    """The plan of a sweep over devices, named here, that need not be there yet.

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
    left_out = tuple(find_left_out(variants, profile.runtimes))
    impossible = {(one.variant_id, one.runtime) for one in left_out}
    tasks = [
        plan_task(device, item.recipe.name, item.id, item.label, item.variant.is_dense, runtime)
        for device in devices
        for item in variants
        for runtime in profile.runtimes
        if (item.id, runtime) not in impossible
    ]
    return Plan(
        profile=profile.name,
        measure=profile.measure,
        seed=profile.seed,
        variants=variants,
        tasks=tuple({task.id: task for task in tasks}.values()),
        left_out=left_out,
    )


def find_left_out(
    variants: Iterable[PlannedVariant], runtimes: Sequence[RuntimeSettings]
) -> Iterator[LeftOut]:
    """Every variant that a runtime cannot run on any board."""
    for item in variants:
        for runtime in runtimes:
            reason = describe_mismatch(item.variant, runtime)
            if reason is not None:
                yield LeftOut(variant_id=item.id, label=item.label, runtime=runtime, reason=reason)


def tell_left_out(left_out: Iterable[LeftOut]) -> list[str]:
    """A sentence for each runtime and reason, with the variants that it holds for."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for one in left_out:
        labels.setdefault((one.runtime.name, one.reason), {})[one.label] = None
    return [f"{runtime} leaves out {', '.join(found)}: {why}" for (runtime, why), found in labels.items()]


def narrow_plan(plan: Plan, labels: Iterable[str]) -> Plan:
    """The plan with only the variants of these labels; all of them where none is given.

    Raises UsageError that offers the nearest labels for one that no variant has.
    """
    wanted = set(labels)
    known = dict.fromkeys(item.label for item in plan.variants)
    for label in sorted(wanted - known.keys()):
        raise unknown_name("variant", label, known, f"The profile has {', '.join(known)}.")
    if not wanted:
        return plan
    kept = tuple(item for item in plan.variants if item.label in wanted)
    ids = {item.id for item in kept}
    tasks = tuple(task for task in plan.tasks if task.variant_id in ids)
    left_out = tuple(one for one in plan.left_out if one.variant_id in ids)
    return plan.model_copy(update={"variants": kept, "tasks": tasks, "left_out": left_out})


def plan_file(
    artifact: Artifact,
    shapes: Mapping[str, tuple[int, ...]],
    devices: Iterable[str],
    runtimes: Iterable[RuntimeSettings],
    measure: Measure,
) -> Plan:
    """The plan to measure one ONNX file as it is, on devices named here.

    Raises UsageError for a batch that is not the one that the file, or a shape, fixes.
    """
    settings = list(runtimes)
    for runtime in settings:
        _check_batch(artifact, runtime.batch)
    file = PlannedFile(
        id=artifact.variant_id,
        path=artifact.blob.path,
        sha256=artifact.blob.sha256,
        opset=artifact.opset,
        shapes=dict(shapes),
    )
    return Plan(
        profile="",
        measure=measure,
        seed=0,
        files=(file,),
        tasks=tuple(
            plan_task(device, artifact.model, file.id, artifact.variant, True, runtime)
            for device in devices
            for runtime in settings
        ),
    )


def _check_batch(artifact: Artifact, batch: int) -> None:
    fixed = artifact.fixed_batch
    if batch != 1 and fixed not in (None, batch):
        raise UsageError(
            f"{artifact.blob.path} is measured at batch {fixed}, not {batch}: its first extent is fixed",
            "Give the batch by --shape where the file leaves it open, and leave --batch out.",
        )


def _plan_variant(recipe: Recipe, variant: Variant, origin: Any) -> PlannedVariant:
    # Without defaults, so that a setting that is new in a later version leaves old builds their names.
    told = recipe.model_dump(mode="json", exclude={"name", "description"}, exclude_defaults=True)
    prefix = digest({"format": FORMAT, "recipe": told, "origin": origin})
    own = digest({"prefix": prefix, "variant": variant.model_dump(mode="json", exclude_defaults=True)})
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


def plan_task(
    device: str, model: str, variant_id: str, label: str, is_baseline: bool, runtime: RuntimeSettings
) -> Task:
    """The task of one variant, runtime and device; equal settings give an equal id."""
    identity = {"device": device, "variant": variant_id, "runtime": runtime.identity}
    return Task(
        id=digest(identity),
        device=device,
        model=model,
        variant_id=variant_id,
        label=label,
        is_baseline=is_baseline,
        runtime=runtime,
    )


def runtimes_of(tasks: Iterable[Task], device: str) -> tuple[RuntimeSettings, ...]:
    """Every way in which one device is asked to run a model, each once."""
    return tuple(dict.fromkeys(task.runtime for task in tasks if task.device == device))


def estimate_device_seconds(plan: Plan, device: str) -> float:
    """About how long one board measures: rounds, warm-up, opening, and passes for memory and accuracy.

    The last three are a guess of five seconds a task; the rounds and the warm-up are the protocol's floor.
    """
    rounds = plan.measure.rounds * plan.measure.round_s
    return len(plan.tasks_of(device)) * (rounds + plan.measure.warmup_s + 5.0)
