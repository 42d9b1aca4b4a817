"""What decides a variant's bytes beside its text: library versions, the user's own source, the checkpoint.

Nothing here imports torch, or the user's code: a plan must be cheap to make.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from host.errors import BuildError
from host.specs.recipe import DataSet, Recipe
from host.workspace import Workspace, find_root

TORCHVISION = "torchvision"
"""`torchvision:NAME` builds one of torchvision's classifiers by its name."""

LIBRARIES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "safetensors",
    "scikit-learn",
    "torch",
    "torch-pruning",
    "torchvision",
)


def describe_origin(recipe: Recipe) -> dict[str, Any]:
    """Library versions, and the SHA-256 of the factory's source, of the data and of the checkpoint.

    Raises BuildError where one of them is missing.
    """
    module = recipe.architecture.partition(":")[0]
    start = recipe.checkpoint or (None if recipe.pretrained == TORCHVISION else recipe.pretrained)
    return {
        "libraries": {name: _find_version(name) for name in LIBRARIES},
        "source": None if module == TORCHVISION else hash_sources(module),
        "data": identify_data(recipe.data),
        "checkpoint": None if start is None else hash_file(find_checkpoint(start)),
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
    sources = [
        (path.relative_to(location), path)
        for location in spec.submodule_search_locations or ()
        for path in Path(location).rglob("*.py")
    ]
    if not sources and spec.origin is not None:
        sources = [(Path(Path(spec.origin).name), Path(spec.origin))]
    told = hashlib.sha256()
    for name, path in sorted(sources):
        told.update(f"{name.as_posix()} {hash_file(path)}\n".encode())
    return told.hexdigest()


DATA_FOLDER = "BOARDBENCH_DATA"
"""The environment variable that names one more folder in which data sets are looked for."""

OFFICIAL_CIFAR10 = "md5:c58f30108f718f92721af3b95e74349a"
"""Identity of torchvision's CIFAR-10: every file of it is checked, so it is the same before the download."""

CIFAR10_FILES = ("cifar-10-batches-py", "cifar-10-python.tar.gz")


def find_data(data: DataSet) -> Path:
    """The file or folder of a data set; where CIFAR-10 is nowhere, the folder that it will be in.

    Raises BuildError where any other is missing.
    """
    own = os.environ.get(DATA_FOLDER)
    folders = (*search_folders(), *([Path(own)] if own else []))
    places = [folder / Path(str(data.path)).expanduser() for folder in folders]
    found = next((place for place in places if place.exists()), None)
    if found is not None:
        return found
    if data.name == "cifar10" and places[-1].suffix != ".npz":
        return places[-1]
    looked = " and ".join(str(folder) for folder in folders)
    raise BuildError(
        f"there is no data set {data.path!r}",
        f"Looked in {looked}; set {DATA_FOLDER} to the folder that holds it.",
    )


def find_cifar10_archive(path: Path) -> Path | None:
    """The .npz that CIFAR-10 is in; None where it is, or will be, in torchvision's folder.

    Raises BuildError where there are several.
    """
    if path.is_file():
        return path
    if path.name in CIFAR10_FILES or any((path / name).exists() for name in CIFAR10_FILES):
        return None
    archives = sorted(path.glob("*.npz"))
    if len(archives) > 1:
        raise BuildError(
            f"{path}: there are several .npz files in it", "Name one of them in the recipe's `data.path`."
        )
    return archives[0] if archives else None


def identify_data(data: DataSet) -> str | None:
    """What names the content of a data set; None for the one that comes with a library.

    Raises BuildError where it is missing or cannot be read.
    """
    if data.name == "digits":
        return None
    path = find_data(data)
    if data.name == "cifar10":
        archive = find_cifar10_archive(path)
        return OFFICIAL_CIFAR10 if archive is None else hash_data(archive)
    return hash_data(path)


REMEMBERED_BYTES = 256 << 20
"""Data of so many bytes takes a second or so to hash; the hash is remembered."""

SETTLED_S = 2
"""A file that changed so short a time ago may change once more within one tick of the clock."""


def hash_data(path: Path) -> str:
    """SHA-256 of a data set's file, or of the names and contents of all files in its folder.

    The hash of much data is remembered in the workspace's cache, where there is one, for as long as no file
    changes its name, size or times. Raises BuildError naming the file that cannot be read.
    """
    try:
        if path.is_file():
            return _remember([path], lambda: hash_file(path))
        files = list_files(path)
        return _remember(files, lambda: _hash_files(path, files))
    except OSError as error:
        raise BuildError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _hash_files(folder: Path, files: Iterable[Path]) -> str:
    told = hashlib.sha256()
    for file in files:
        told.update(os.fsencode(file.relative_to(folder)) + b" " + hash_file(file).encode() + b"\n")
    return told.hexdigest()


def _remember(files: Iterable[Path], hash_them: Callable[[], str]) -> str:
    states = {file.absolute(): file.stat() for file in files}
    cache = Workspace(find_root(Path.cwd())).cache
    newest = max((max(state.st_mtime, state.st_ctime) for state in states.values()), default=0)
    is_worth_it = sum(state.st_size for state in states.values()) >= REMEMBERED_BYTES
    if not is_worth_it or not cache.is_dir() or newest > time.time() - SETTLED_S:
        return hash_them()
    told = hashlib.sha256()
    for file, state in states.items():
        told.update(
            os.fsencode(file) + f" {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode()
        )
    known = cache / "data-hashes" / told.hexdigest()
    if known.is_file() and len(text := known.read_text(errors="replace")) == 64:
        return text
    found = hash_them()
    known.parent.mkdir(exist_ok=True)
    part = known.with_name(f"{known.name}.{os.getpid()}.part")
    part.write_text(found)
    part.replace(known)
    return found


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, also behind links, sorted; without those that are hidden."""
    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        place = Path(here)
        folders[:] = [name for name in folders if not is_hidden(name) and not _leads_back(place / name)]
        found += [place / name for name in files if not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data: hidden, or left there by a file manager."""
    return name.startswith(".") or name.casefold() in ("thumbs.db", "desktop.ini")


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it is in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _raise(error: OSError) -> None:
    raise error


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
