"""Several builds at once; what they share is built before, and once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from host.compress.build_store import BuildStore
from host.compress.building import build_variant, naming
from host.compress.stages import Stages
from host.compress.weights import Weights
from host.compress.workers import open_workers
from host.plan import PlannedVariant
from host.progress import Progress, Silent

Work = Callable[[PlannedVariant, BuildStore, int], tuple[str, ...]]


def build_parallel(
    planned: Sequence[PlannedVariant],
    store: BuildStore,
    evaluation_images: int,
    progress: Progress,
    jobs: int,
    scheduler: str | None,
) -> None:
    """Leave the variants in the store, `jobs` at a time; what chains share is built once, before them.

    Training comes first, then pruning and export, then the rest: so no two processes make one stage.
    """
    stages = {item.id: Stages(item, store, progress) for item in planned}
    rounds: tuple[tuple[str, Work, dict[str, PlannedVariant]], ...] = (
        ("training", _train, {item.prefix: item for item in planned}),
        ("pruning and exporting", _export, {stages[item.id].exported_key: item for item in planned}),
        ("finishing", _finish, {item.id: item for item in planned}),
    )
    with open_workers(jobs, scheduler) as run:
        for what, work, wanted in rounds:
            with progress.track(f"{what}, {jobs} at a time", len(wanted)) as tick:
                arguments = ((item, store, evaluation_images) for item in wanted.values())
                for notes in run(work, arguments):
                    tick()
                    for note in notes:
                        progress.say(note)


def _train(planned: PlannedVariant, store: BuildStore, _evaluation_images: int) -> tuple[str, ...]:
    with naming(planned):
        Weights(planned, store, Silent()).train()
    return ()


def _export(planned: PlannedVariant, store: BuildStore, _evaluation_images: int) -> tuple[str, ...]:
    heard = _Heard()
    with naming(planned):
        Stages(planned, store, heard).export()
    return tuple(heard.said)


def _finish(planned: PlannedVariant, store: BuildStore, evaluation_images: int) -> tuple[str, ...]:
    heard = _Heard()
    build_variant(planned, store, evaluation_images, heard)
    return tuple(heard.said)


class _Heard(Silent):
    """Keeps what a worker says, to be said again where somebody listens."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)
