"""Planned variants become artifacts: built once, then read from the cache without importing torch."""

from __future__ import annotations

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
    planned: Sequence[PlannedVariant], cache: Path, evaluation_images: int, progress: Progress
) -> tuple[Artifact, ...]:
    """The artifacts of planned variants, in their order; what is in the cache is not built again.

    `evaluation_images` is how many test images a board gets at most. Variants of one recipe share its
    training, and int8 shares the export that it is quantized from. A build that was interrupted goes on
    after the last stage that was finished. Raises BuildError naming the variant that cannot be built.
    """
    store = _open_store(cache)
    with store.hold(lambda: progress.say("waiting for another build in this workspace")):
        return tuple(_build(item, store, evaluation_images, progress) for item in planned)


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


def _build(
    planned: PlannedVariant, store: BuildStore, evaluation_images: int, progress: Progress
) -> Artifact:
    known = read_manifest(store, planned)
    if known is not None and known.evaluated == min(evaluation_images, known.test_images):
        return known.artifact
    stages = _load_stages(progress)
    with _naming(planned):
        manifest = _evaluate(planned, stages(planned, store, progress), store, evaluation_images)
    write_manifest(store, manifest)
    return manifest.artifact


@contextmanager
def _naming(planned: PlannedVariant) -> Iterator[None]:
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


def _load_stages(progress: Progress) -> type[Stages]:
    """The stages, and torch with them: seconds that a cached build does without."""
    what = progress.track("loading torch") if "torch" not in sys.modules else nullcontext()
    with what:
        from host.compress.stages import Stages
    return Stages


def _evaluate(planned: PlannedVariant, stages: Stages, store: BuildStore, evaluation_images: int) -> Manifest:
    """Finish the variant's file, and score it over the whole test set."""
    from host.compress.evaluation import pack_evaluation, pack_reference, run_images, score_accuracy

    path, exported = stages.finish()
    test = stages.split.test
    outputs = run_images(path, test.x)
    kept = test.take(evaluation_images)
    model = load_onnx(path)
    prune = planned.variant.prune
    artifact = Artifact(
        model=planned.recipe.name,
        variant=planned.label,
        variant_id=planned.id,
        blob=describe_blob(path),
        inputs=read_inputs(model, path),
        opset=read_opset(model, path),
        precision=planned.variant.precision,
        params=exported.params,
        params_nonzero=exported.params_nonzero,
        macs=exported.macs,
        sparsity=exported.sparsity,
        sparsity_target=None if prune is None else prune.sparsity,
        accuracy=score_accuracy(outputs, test.y),
        evaluation=store_blob(store.blobs, pack_evaluation(kept), ".npz"),
        reference=store_blob(store.blobs, pack_reference(outputs[: len(kept)]), ".npz"),
    )
    return Manifest(artifact=artifact, evaluated=len(kept), test_images=len(test))
