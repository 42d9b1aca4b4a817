"""torchvision's classifiers and data sets, also where its compiled operators do not load.

torchvision's wheel on the package index is built against the CUDA build of torch. Beside the CPU build its
`_C` library does not load, and the import of torchvision itself then fails with `operator
torchvision::nms does not exist`, because it registers shape functions for operators that nobody defined.
What is used here needs none of them: defining the two schemas beforehand is enough. This is the only module
that imports torchvision.
"""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
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


def load_classifier_weights(name: str) -> dict[str, torch.Tensor]:
    """torchvision's own weights of one of its classifiers, downloaded by torchvision the first time."""
    models = load_torchvision().models
    known = models.get_model_weights(name)
    if not list(known):
        raise BuildError(f"torchvision has no weights of {name}", "Name a file: `pretrained: FILE`.")
    try:
        with _limiting_silence(DOWNLOAD_TIMEOUT_S), redirect_stdout(sys.stderr):
            state: dict[str, torch.Tensor] = known.DEFAULT.get_state_dict(check_hash=True)
    except (OSError, RuntimeError, EOFError, ValueError, HTTPException) as error:
        raise BuildError(
            f"torchvision's weights of {name} cannot be loaded: {error}",
            "They are downloaded the first time. Without internet, name a file: `pretrained: FILE`.",
        ) from error
    return state


CIFAR10_FOLDER = "cifar-10-batches-py"
DOWNLOAD_TIMEOUT_S = 30


def load_cifar10(folder: Path) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """CIFAR-10's training and test images (N, 32, 32, 3) and labels (N,), from the folder.

    torchvision downloads it into the folder where it is not there yet. Its files are pickles: not one is
    opened whose MD5 is not the official one. Raises BuildError that says where to put which file.
    """
    kind = load_torchvision().datasets.CIFAR10
    root = folder.parent if folder.name == CIFAR10_FOLDER else folder
    place = root / CIFAR10_FOLDER
    if not place.is_dir():
        _download_cifar10(kind, root)
    check = importlib.import_module("torchvision.datasets.utils").check_integrity
    official = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    wrong = [name for name, md5 in official if not check(place / name, md5)]
    if wrong:
        raise BuildError(
            f"{place}: {', '.join(wrong)} missing or not the official files",
            "Remove the folder, and it is unpacked or downloaded anew.",
        )
    parts = [kind(root, train=is_training) for is_training in (True, False)]
    return [(part.data, np.array(part.targets, dtype=np.int64)) for part in parts]


def _download_cifar10(kind: Any, root: Path) -> None:
    """Unpack torchvision's archive in the folder, downloaded where it is not there."""
    try:
        with _limiting_silence(DOWNLOAD_TIMEOUT_S), redirect_stdout(sys.stderr):
            kind(root, download=True)
    except (OSError, RuntimeError, EOFError, ValueError, HTTPException) as error:
        raise BuildError(
            f"CIFAR-10 is not in {root}, and cannot be downloaded: {error}",
            f"Download {kind.url} elsewhere, and put {kind.filename} into {root}.",
        ) from error


@contextmanager
def _limiting_silence(seconds: float) -> Iterator[None]:
    """How long a server may be silent; torchvision would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
