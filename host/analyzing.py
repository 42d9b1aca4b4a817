"""What `bench analyze` does: find a built variant and its dense model, run both, judge and compare them."""

from __future__ import annotations

import gzip
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from host.compress.analysis import compare_outputs, judge_outputs
from host.compress.building import is_built, load_artifact
from host.compress.data import Floats, Images, Split, load_split
from host.compress.evaluation import run_images
from host.compress.first_layer import read_first_filters
from host.compress.labelled_images import Pixels
from host.compress.onnx_files import load_onnx
from host.compress.origins import describe_origin
from host.errors import BenchError, BuildError, UsageError
from host.plan import Plan, PlannedVariant, narrow_plan, plan_sweep
from host.preparing import plan_profile
from host.progress import Progress
from host.specs.analysis import Analysis, AnalyzedFile, Filters, Sizes
from host.specs.artifact import Artifact
from host.specs.library import load_profile
from host.specs.profile import Profile
from host.specs.recipe import Recipe
from host.specs.variant import Variant
from host.workspace import Workspace, unknown_name


@dataclass(frozen=True)
class Pictures:
    """What a page shows beside the numbers.

    `misclassified` are the pixels (c, h, w) of the images that `Quality` lists so, in that order; the
    filters of the first convolutions are (filters, inputs, height, width).
    """

    misclassified: tuple[Pixels, ...]
    filters: Floats | None
    dense_filters: Floats | None


@dataclass(frozen=True)
class Findings:
    """An analysis and its pictures."""

    analysis: Analysis
    pictures: Pictures


def find_profile(label: str, model: str | None, workspace: Workspace) -> str:
    """The profile whose variant `label` is built, of those in the workspace and those shipped.

    Raises UsageError where there is none, or where several have different variants of that name.
    """
    found: dict[str, str] = {}
    for name in workspace.find_files("profiles"):
        try:
            plan = plan_profile(load_profile(workspace, name), (), workspace)
        except BenchError:
            continue  # its data or its models are not here: nothing of it can be built either
        for item in plan.variants:
            is_meant = item.label == label and model in (None, item.recipe.name)
            if is_meant and is_built(item, workspace.cache):
                found.setdefault(item.id, name)
    if not found:
        raise UsageError(
            f"no built variant is called {label!r}", "Name its profile: --profile P; `bench profiles list`."
        )
    if len(found) > 1:
        names = ", ".join(found.values())
        raise UsageError(f"several built variants are called {label}", f"Name one's --profile: {names}")
    return next(iter(found.values()))


def analyze(
    label: str,
    profile_name: str | None,
    model: str | None,
    workspace: Workspace,
    progress: Progress,
) -> Findings:
    """Analyse the variant of a profile that is called `label`, of the one model that has it or of `model`.

    Without a profile, the one is taken whose variant of that name is built. Raises UsageError for a name
    that is not there or not clear, BuildError for a variant that is not built.
    """
    profile_name = profile_name or find_profile(label, model, workspace)
    plan = plan_profile(load_profile(workspace, profile_name), (), workspace)
    planned = choose_variant(plan, label, model)
    if not is_built(planned, workspace.cache):
        words = ["bench", "build", "--profile", profile_name, "--variant", label]
        raise BuildError(
            f"{planned.recipe.name} {label} is not built", f"Build it first: {shlex.join(words)}"
        )
    artifact = load_artifact(planned, workspace.cache)
    dense = find_dense(planned, plan, workspace)
    if dense is None and not planned.variant.is_dense:
        progress.say("the dense model is not built, and so there is nothing to compare with")
    with progress.track(f"reading {planned.recipe.data.name}"):
        split = load_split(planned.recipe)
    return analyze_files(planned, artifact, dense, split, progress)


def choose_variant(plan: Plan, label: str, model: str | None) -> PlannedVariant:
    """The one variant with this label. Raises UsageError where there is none, or one of several models."""
    models = dict.fromkeys(item.recipe.name for item in plan.variants)
    if model is not None and model not in models:
        raise unknown_name("model", model, models, f"The profile has {', '.join(models)}.")
    mine = tuple(item for item in plan.variants if model in (None, item.recipe.name))
    found = narrow_plan(plan.model_copy(update={"variants": mine}), [label]).variants
    if len({item.recipe.name for item in found}) > 1:
        names = ", ".join(item.recipe.name for item in found)
        raise UsageError(f"several models of the profile have a {label}: {names}", "Name one with --model.")
    return found[0]


def find_dense(planned: PlannedVariant, plan: Plan, workspace: Workspace) -> Artifact | None:
    """The dense model that a variant came from, if it is built; None for the dense model itself.

    It need not be in the profile. One with the same export is preferred to others that the profile has.
    """
    if planned.variant.is_dense:
        return None
    same = _plan_dense(planned.recipe, Variant(export=planned.variant.export))
    others = [
        item for item in plan.variants if item.variant.is_dense and item.recipe.name == planned.recipe.name
    ]
    built = (item for item in (*same, *others) if is_built(item, workspace.cache))
    return next((load_artifact(item, workspace.cache) for item in built), None)


def _plan_dense(recipe: Recipe, variant: Variant) -> Sequence[PlannedVariant]:
    alone = Profile(name="dense", model=(recipe.name,), variants=(variant,))
    return plan_sweep(alone, [recipe], (), {recipe.name: describe_origin(recipe)}).variants


def analyze_files(
    planned: PlannedVariant, artifact: Artifact, dense: Artifact | None, split: Split, progress: Progress
) -> Findings:
    """Run a variant, and the dense model where there is one, on every test image of the recipe."""
    recipe = planned.recipe
    outputs = _run(artifact, split.test, progress)
    filters = read_first_filters(load_onnx(artifact.blob.path))
    variant = describe_file(artifact, outputs, filters, split)
    before, changes, dense_filters = None, None, None
    if dense is not None:
        answers = _run(dense, split.test, progress)
        dense_filters = read_first_filters(load_onnx(dense.blob.path))
        before = describe_file(dense, answers, dense_filters, split)
        changes = compare_outputs(outputs, answers, split.test.y, len(variant.quality.classes))
    analysis = Analysis(
        model=recipe.name,
        architecture=recipe.architecture,
        data=recipe.data.name,
        is_dense=planned.variant.is_dense,
        variant=variant,
        dense=before,
        changes=changes,
        steps=artifact.steps,
        notes=artifact.notes,
    )
    wrong = tuple(split.test.pixels[item.image] for item in variant.quality.misclassified)
    return Findings(analysis, Pictures(wrong, filters, dense_filters))


def _run(artifact: Artifact, images: Images, progress: Progress) -> Floats:
    with progress.track(f"running {artifact.model} {artifact.variant} on {len(images):,} images"):
        return run_images(artifact.blob.path, images.x)


def describe_file(artifact: Artifact, outputs: Floats, filters: Floats | None, split: Split) -> AnalyzedFile:
    """What an artifact says of itself, with what its outputs for the test images are worth."""
    packed = artifact.gzip_bytes
    sizes = Sizes(
        file=artifact.blob.size,
        gzip=len(gzip.compress(artifact.blob.path.read_bytes(), mtime=0)) if packed is None else packed,
        packed=None if artifact.packed is None else artifact.packed.size,
        packed_parts=artifact.packed_parts,
    )
    return AnalyzedFile(
        variant=artifact.variant,
        variant_id=artifact.variant_id,
        sha256=artifact.blob.sha256,
        precision=artifact.precision,
        params=artifact.params,
        params_nonzero=artifact.params_nonzero,
        macs=artifact.macs,
        sparsity=artifact.sparsity,
        sparsity_target=artifact.sparsity_target,
        sizes=sizes,
        first_filters=None if filters is None else describe_filters(filters),
        quality=judge_outputs(outputs, split.test.y, split.classes),
    )


def describe_filters(filters: Floats) -> Filters:
    count, inputs, height, width = filters.shape
    return Filters(count=count, inputs=inputs, height=height, width=width)
