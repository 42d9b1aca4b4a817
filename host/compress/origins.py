"""What decides a variant's bytes beside its text: library versions, the user's own source, the checkpoint.

Nothing here imports torch, or the user's code: a plan must be cheap to make.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from host.errors import BuildError
from host.specs.recipe import Recipe
from host.workspace import find_root

TORCHVISION = "torchvision"
"""`torchvision:NAME` builds one of torchvision's classifiers by its name."""

LIBRARIES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "scikit-learn",
    "torch",
    "torch-pruning",
    "torchvision",
)


def describe_origin(recipe: Recipe) -> dict[str, Any]:
    """Library versions, and the SHA-256 of the factory's source and of the checkpoint where there are any.

    Raises BuildError where one of them is missing.
    """
    module = recipe.architecture.partition(":")[0]
    return {
        "libraries": {name: _find_version(name) for name in LIBRARIES},
        "source": None if module == TORCHVISION else hash_sources(module),
        "checkpoint": None if recipe.checkpoint is None else hash_file(find_checkpoint(recipe.checkpoint)),
    }


def _find_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise BuildError(
            f"the library {name} is not installed", "Install boardbench anew with pip."
        ) from error


def search_folders() -> tuple[Path, ...]:
    """Where the user's own modules and checkpoints are looked for: here, then the workspace's root."""
    here = Path.cwd()
    return tuple(dict.fromkeys((here, find_root(here))))


def hash_sources(module: str) -> str:
    """SHA-256 over the Python files of the module's whole top-level package, or of the one file it is.

    A package counts as a whole because its modules use each other. Raises BuildError where it is missing.
    """
    top = module.partition(".")[0]
    # Installed packages are searched too; PathFinder looks without running anything.
    folders = [str(folder) for folder in search_folders()]
    spec = PathFinder.find_spec(top, folders) or PathFinder.find_spec(top)
    if spec is None:
        looked = " and ".join(folders)
        raise BuildError(
            f"there is no Python module {top!r} for the architecture",
            f"Looked in {looked}, and among the installed packages.",
        )
    sources = sorted(
        path for location in spec.submodule_search_locations or () for path in Path(location).rglob("*.py")
    )
    if not sources and spec.origin is not None:
        sources = [Path(spec.origin)]
    told = hashlib.sha256()
    for path in sources:
        told.update(f"{path.parent.name}/{path.name} {hash_file(path)}\n".encode())
    return told.hexdigest()


def find_checkpoint(checkpoint: str) -> Path:
    """The file of a checkpoint, relative to the current folder or the workspace's root."""
    for folder in search_folders():
        path = folder / Path(checkpoint).expanduser()
        if path.is_file():
            return path
    looked = " and ".join(str(folder) for folder in search_folders())
    raise BuildError(f"there is no checkpoint {checkpoint!r}", f"Looked in {looked}.")


def hash_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
