"""Planned variants become artifacts: built once, then read from the cache without importing torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from host.compress.build_store import BuildStore, describe_blob, store_blob
from host.compress.manifest import Manifest, read_manifest, write_manifest
from host.compress.onnx_files import load_onnx, read_inputs, read_opset
from host.errors import BuildError
from host.plan import PlannedVariant
from host.progress import Progress
from host.specs.artifact import Artifact

if TYPE_CHECKING:
    from host.compress.stages import Stages


def build_variants(
    planned: Sequence[PlannedVariant],
    cache: Path,
    evaluation_images: int,
    progress: Progress,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
) -> tuple[Artifact, ...]:
    """The artifacts of planned variants, in their order; what is in the cache is not built again.

    `evaluation_images` is how many test images a board gets at most. Variants of one recipe share its
    training, and those of one chain its pruning. A build that was interrupted goes on after the last epoch
    that was finished. `jobs` build at once, here or on the workers of the cluster whose `scheduler`
    has this address; their cache must be the same folder. Raises BuildError naming the variant that cannot
    be built; what was built before stays.
    """
    store = _open_store(cache)
    with store.hold(lambda: progress.say("waiting for another build in this workspace")):
        if jobs > 1 or scheduler is not None:
            missing = [item for item in planned if find_built(item, store, evaluation_images) is None]
            if missing:
                _let_threads_sleep()
                from host.compress.parallel import build_parallel

                build_parallel(missing, store, evaluation_images, progress, jobs, scheduler)
        return tuple(build_variant(item, store, evaluation_images, progress) for item in planned)


def is_built(planned: PlannedVariant, cache: Path) -> bool:
    """Whether a variant is in the cache, with every file whole."""
    return read_manifest(_open_store(cache), planned) is not None


def load_artifact(planned: PlannedVariant, cache: Path) -> Artifact:
    """A variant from the cache. Raises BuildError if it is not there, or not whole."""
    manifest = read_manifest(_open_store(cache), planned)
    if manifest is None:
        raise BuildError(
            f"{planned.recipe.name} {planned.label} is not built", "Build it with `bench build`."
        )
    return manifest.artifact


def _open_store(cache: Path) -> BuildStore:
    return BuildStore(cache.absolute() / "builds")


def find_built(planned: PlannedVariant, store: BuildStore, evaluation_images: int) -> Artifact | None:
    """The variant as it is in the store, if it is whole and has the evaluation set that is asked for."""
    known = read_manifest(store, planned)
    if known is None or known.evaluated != min(evaluation_images, known.test_images):
        return None
    return known.artifact


def build_variant(
    planned: PlannedVariant, store: BuildStore, evaluation_images: int, progress: Progress
) -> Artifact:
    """One variant, from whatever stage of it is in the store."""
    known = find_built(planned, store, evaluation_images)
    if known is not None:
        return known
    stages = _load_stages(progress)
    with naming(planned):
        manifest = _evaluate(planned, stages(planned, store, progress), store, evaluation_images, progress)
    write_manifest(store, manifest)
    return manifest.artifact


@contextmanager
def naming(planned: PlannedVariant) -> Iterator[None]:
    """Whichever stage fails, its error names the variant."""
    name = f"{planned.recipe.name} {planned.label}"
    try:
        yield
    except BuildError as error:
        if name in error.message:
            raise
        raise BuildError(f"{name}: {error.message}", error.hint) from error
    except MemoryError as error:
        hint = "A smaller input in the recipe takes less."
        raise BuildError(f"{name}: this machine's memory does not hold it: {error}", hint) from error


def _let_threads_sleep() -> None:
    """Have the threads of torch's OpenMP sleep where they wait for each other; see `training.py`.

    OpenMP reads this once, when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _load_stages(progress: Progress) -> type[Stages]:
    """The stages, and torch with them: seconds that a cached build does without."""
    _let_threads_sleep()
    what = progress.track("loading torch") if "torch" not in sys.modules else nullcontext()
    with what:
        from host.compress.stages import Stages
    return Stages


def _evaluate(
    planned: PlannedVariant,
    stages: Stages,
    store: BuildStore,
    evaluation_images: int,
    progress: Progress,
) -> Manifest:
    """Finish the variant's file, and score it over the whole test set."""
    from host.compress.evaluation import pack_evaluation, pack_reference, run_images, score_accuracy

    finished = stages.finish()
    test = stages.split.test
    with progress.track(f"evaluating {stages.name}"):
        outputs = run_images(finished.path, test.x)
    kept = test.take(evaluation_images)
    model = load_onnx(finished.path)
    prune = planned.variant.prune
    artifact = Artifact(
        model=planned.recipe.name,
        variant=planned.label,
        variant_id=planned.id,
        blob=describe_blob(finished.path),
        inputs=read_inputs(model, finished.path),
        opset=read_opset(model, finished.path),
        precision=planned.variant.precision,
        params=finished.exported.params,
        params_nonzero=finished.exported.params_nonzero,
        macs=finished.exported.macs,
        sparsity=finished.exported.pruned.sparsity,
        sparsity_target=None if prune is None else prune.target,
        accuracy=score_accuracy(outputs, test.y),
        gzip_bytes=finished.packing.gzip_bytes,
        packed=describe_blob(finished.packed),
        packed_parts=finished.packing.parts,
        steps=finished.exported.pruned.steps,
        notes=finished.notes,
        evaluation=store_blob(store.blobs, pack_evaluation(kept), ".npz"),
        reference=store_blob(store.blobs, pack_reference(outputs[: len(kept)]), ".npz"),
    )
    return Manifest(artifact=artifact, evaluated=len(kept), test_images=len(test))
