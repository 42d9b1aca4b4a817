"""Variants in the form that a runtime opens: as ONNX, or converted on the host where it wants another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from host.errors import BenchError, ModelError
from host.plan import Plan, Task
from host.progress import Progress
from host.specs.artifact import Artifact, Blob

CONVERTERS = ("pnnx", "ncnn")
"""Packages of this machine that bring models into ncnn's form, and check them there."""

HOW_TO_INSTALL = "pip install 'boardbench[ncnn]'"


def provide_model(task: Task, artifact: Artifact, shapes: Mapping[str, tuple[int, ...]], cache: Path) -> Blob:
    """The file that the task's runtime opens. Raises BenchError where the variant cannot be converted."""
    if task.runtime.name != "ncnn":
        return artifact.blob
    from host.compress.ncnn_files import provide_ncnn

    return provide_ncnn(artifact, shapes, cache)


def find_unconvertible(
    plan: Plan, tasks: Sequence[Task], artifacts: Mapping[str, Artifact], cache: Path
) -> dict[str, BenchError]:
    """Task id to the reason, for every task whose variant cannot be brought into the form of its runtime."""
    shapes = {file.id: file.shapes for file in plan.files}
    errors: dict[str, BenchError] = {}
    for task in tasks:
        try:
            provide_model(task, artifacts[task.variant_id], shapes.get(task.variant_id, {}), cache)
        except BenchError as error:
            errors[task.id] = error
    return errors


def keep_convertible(tasks: Sequence[Task], progress: Progress) -> list[Task]:
    """The tasks whose runtimes can be served from this machine; of optional ones it is said why they cannot.

    Raises ModelError where a task must be served, or none is left.
    """
    missing = [name for name in CONVERTERS if find_spec(name) is None]
    kept = [task for task in tasks if task.runtime.name != "ncnn"] if missing else list(tasks)
    if len(kept) == len(tasks):
        return kept
    what = f"models for ncnn are converted on this machine, and {' and '.join(missing)} cannot be imported"
    if not kept or any(not task.runtime.optional for task in tasks if task.runtime.name == "ncnn"):
        raise ModelError(what, HOW_TO_INSTALL)
    progress.say(f"{what}; ncnn is left out ({HOW_TO_INSTALL})")
    return kept
