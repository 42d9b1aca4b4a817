"""torchvision's classifiers, also where its compiled operators do not load.

torchvision's wheel on the package index is built against the CUDA build of torch. Beside the CPU build its
`_C` library does not load, and the import of torchvision itself then fails with `operator
torchvision::nms does not exist`, because it registers shape functions for operators that nobody defined.
Classifiers need none of them: defining the two schemas beforehand is enough. This is the only module that
imports torchvision.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from host.errors import BuildError
from host.workspace import unknown_name

MISSING_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def define_missing_ops() -> torch.library.Library | None:
    """Make torchvision importable. The library of the defined schemas, which must stay alive, or None.

    None means that there was nothing to do: its operators load, or it is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or _loads_compiled_ops([Path(place) for place in spec.submodule_search_locations or ()]):
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in MISSING_SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _loads_compiled_ops(places: list[Path]) -> bool:
    for path in (path for place in places for path in sorted(place.glob("_C*.so"))):
        try:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
        except OSError:
            continue  # built against another torch: the case this module is for
        return True
    return False


def load_torchvision() -> ModuleType:
    """The torchvision package, imported. Raises BuildError where it is not installed."""
    define_missing_ops()
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise BuildError(
            f"torchvision cannot be imported: {error}", "Install it with `pip install torchvision`."
        ) from error


def build_classifier(name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """One of torchvision's classifiers. Raises UsageError with the nearest names if there is none such."""
    models = load_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("torchvision classifier", name, known, "torchvision's manual lists them all.")
    model: torch.nn.Module = models.get_model(name, **arguments)
    return model
