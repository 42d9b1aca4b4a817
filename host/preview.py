"""What a sweep would do, told without doing it."""

from __future__ import annotations

from collections.abc import Sequence

from host.compress.building import is_built, load_artifact
from host.fleet.boards import choose_devices
from host.fleet.registry import load_devices
from host.plan import PlannedVariant, estimate_device_seconds, tell_left_out
from host.preparing import plan_profile
from host.specs.profile import Profile
from host.specs.record import Record
from host.workspace import Workspace


class VariantPreview(Record):
    """One variant; its size is known only once it is built."""

    model: str
    variant: str
    variant_id: str
    is_cached: bool
    file_bytes: int | None
    epochs: int


class DevicePreview(Record):
    """What one device would measure: tasks, about how long, and bytes of the models that are known."""

    device: str
    is_registered: bool
    is_emulated: bool
    tasks: int
    seconds: float
    model_bytes: int | None


class Preview(Record):
    """What a sweep would build, send and measure. `epochs_to_train` counts shared training once.

    `left_out` are sentences on what no board could run with some runtime.
    """

    profile: str
    variants: tuple[VariantPreview, ...]
    devices: tuple[DevicePreview, ...]
    epochs_to_train: int
    left_out: tuple[str, ...] = ()


def preview_sweep(
    profile: Profile, device_names: Sequence[str], workspace: Workspace, labels: Sequence[str] = ()
) -> Preview:
    """The preview of a sweep; no board is asked, nothing is built, started or written."""
    registered = load_devices(workspace)
    chosen = choose_devices(profile.devices, device_names, registered)
    plan = plan_profile(profile, [device.name for device in chosen], workspace, labels)
    measured = {task.variant_id for task in plan.tasks}
    planned = [item for item in plan.variants if item.id in measured]
    variants = tuple(_preview_variant(item, workspace) for item in planned)
    sizes = [variant.file_bytes for variant in variants]
    known = sum(size for size in sizes if size is not None) if None not in sizes else None
    devices = tuple(
        DevicePreview(
            device=device.name,
            is_registered=device.name in registered,
            is_emulated=device.cpus is not None,
            tasks=len(plan.tasks_of(device.name)),
            seconds=estimate_device_seconds(plan, device.name),
            model_bytes=known,
        )
        for device in chosen
    )
    missing = [item for item, variant in zip(planned, variants, strict=True) if not variant.is_cached]
    return Preview(
        profile=profile.name,
        variants=variants,
        devices=devices,
        epochs_to_train=_count_epochs(missing),
        left_out=tuple(tell_left_out(plan.left_out)),
    )


def _preview_variant(planned: PlannedVariant, workspace: Workspace) -> VariantPreview:
    cached = is_built(planned, workspace.cache)
    return VariantPreview(
        model=planned.recipe.name,
        variant=planned.label,
        variant_id=planned.id,
        is_cached=cached,
        file_bytes=load_artifact(planned, workspace.cache).blob.size if cached else None,
        epochs=_epochs_of(planned),
    )


def _epochs_of(planned: PlannedVariant) -> int:
    return _pruning_epochs(planned) + _quantizing_epochs(planned)


def _pruning_epochs(planned: PlannedVariant) -> int:
    """Every step of pruning is followed by its fine-tuning; one that is rolled back ends them early."""
    prune = planned.variant.prune
    return (
        prune.finetune.epochs * (prune.steps or 1) if prune is not None and prune.finetune is not None else 0
    )


def _quantizing_epochs(planned: PlannedVariant) -> int:
    quantize = planned.variant.quantize
    return quantize.finetune.epochs if quantize is not None and quantize.finetune is not None else 0


def _count_epochs(missing: Sequence[PlannedVariant]) -> int:
    """Epochs to train: those of each recipe once, of each pruning once, and of each quantization."""
    trained = {item.prefix: item.recipe.training.epochs if item.recipe.training else 0 for item in missing}
    pruned = {(item.prefix, item.variant.prune): _pruning_epochs(item) for item in missing}
    return sum(trained.values()) + sum(pruned.values()) + sum(_quantizing_epochs(item) for item in missing)
