"""Data sets in .npz archives, checked before they are believed. Nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from host.compress.labelled_images import Data, Labels, Part, Pixels, check_labels
from host.errors import BuildError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
CLASSES = "classes"
HINT = "`np.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)` writes one."
CHANNELS_FIRST = "x.transpose(0, 2, 3, 1) puts them last."
FEW_CHANNELS = (1, 3, 4)

Array = npt.NDArray[Any]


def read_archive(path: Path, classes: tuple[str, ...] | None = None) -> Data:
    """The data set in an .npz of `x_train`, `y_train`, `x_test` and `y_test`.

    Images are (N, h, w) or (N, h, w, c), uint8 or floats from 0 to 1; labels (N,) or (N, 1), whole numbers
    from 0. `classes` are the names of the classes; else the archive's array `classes` holds them, or they
    are their numbers. Raises BuildError naming the file and the array that is wrong.
    """
    arrays = _read_arrays(path)
    training, test = (_check_part(arrays, part, path) for part in ("train", "test"))
    if training.pixels.shape[1:] != test.pixels.shape[1:]:
        raise BuildError(f"{path}: the images of x_train and x_test differ in shape: {_tell_shapes(arrays)}")
    names = classes or _name_classes(arrays, training.labels, path)
    check_labels(training.labels, names, f"{path}: y_train")
    check_labels(test.labels, names, f"{path}: y_test")
    return Data(training, test, names)


def _read_arrays(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise BuildError(f"{path}: is a folder, not an .npz", "Name the file in the recipe's `data.path`.")
    try:
        with zipfile.ZipFile(path) as whole:
            damaged = whole.testzip()
        if damaged is not None:
            raise BuildError(f"{path}: {damaged} in it is damaged", "Write or copy the file anew.")
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive]
            if missing:
                raise BuildError(f"{path}: there is no {' and no '.join(missing)} in it", HINT)
            wanted = (*ARRAYS, *([CLASSES] if CLASSES in archive else []))
            return {name: np.asarray(archive[name]) for name in wanted}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BuildError(f"{path}: cannot be read as an .npz of arrays: {reason}", HINT) from error


def _tell_shapes(arrays: dict[str, Array]) -> str:
    return " and ".join(str(arrays[name].shape) for name in ("x_train", "x_test"))


def _check_part(arrays: dict[str, Array], part: str, path: Path) -> Part:
    pixels = _check_pixels(arrays[f"x_{part}"], f"{path}: x_{part}")
    labels = _check_numbers(arrays[f"y_{part}"], f"{path}: y_{part}")
    if len(pixels) != len(labels):
        raise BuildError(
            f"{path}: x_{part} has {len(pixels):,} images, and y_{part} {len(labels):,} labels",
            "Every image has one label.",
        )
    return Part(pixels, labels)


def _check_pixels(pixels: Array, source: str) -> Pixels:
    """The images as (N, c, h, w)."""
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise BuildError(f"{source}: has the shape {pixels.shape}", "Expected (N, h, w) or (N, h, w, c).")
    if pixels.ndim == 4 and pixels.shape[1] in FEW_CHANNELS and pixels.shape[3] not in FEW_CHANNELS:
        raise BuildError(f"{source}: has its channels first, {pixels.shape}", CHANNELS_FIRST)
    if pixels.dtype != np.uint8:
        pixels = _check_floats(pixels, source)
    return np.ascontiguousarray((pixels[..., None] if pixels.ndim == 3 else pixels).transpose(0, 3, 1, 2))


def _check_floats(pixels: Array, source: str) -> npt.NDArray[np.float32]:
    if not np.issubdtype(pixels.dtype, np.floating):
        raise BuildError(f"{source}: has the element type {pixels.dtype}", "Expected uint8, or floats.")
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (lowest >= 0 and highest <= 1):  # in this form it is true of NaN
        raise BuildError(
            f"{source}: has floats from {lowest:g} to {highest:g}",
            "Expected them from 0 to 1: divide by 255, and leave mean and std to the recipe's input.",
        )
    return pixels.astype(np.float32, copy=False)


def _check_numbers(labels: Array, source: str) -> Labels:
    """The labels as (N,)."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise BuildError(f"{source}: has the element type {labels.dtype}", "Expected whole numbers.")
    if labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)):
        raise BuildError(
            f"{source}: has the shape {labels.shape}", "Expected (N,), one class for each image."
        )
    if labels.max(initial=0) > np.iinfo(np.int64).max:
        raise BuildError(f"{source}: there is a label {labels.max()}")
    return labels.reshape(-1).astype(np.int64)


def _name_classes(arrays: dict[str, Array], labels: Labels, path: Path) -> tuple[str, ...]:
    names = arrays.get(CLASSES)
    if names is None:
        # A number that no label has is a class without images, and not worth a list of millions of names.
        count = min(int(labels.max()) + 1, len(labels) + 1)
        return tuple(str(label) for label in range(max(count, 1)))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise BuildError(
            f"{path}: {CLASSES} has the element type {names.dtype} and the shape {names.shape}",
            "Expected the names of the classes, in the order of the labels.",
        )
    if len(set(names.tolist())) < len(names):
        raise BuildError(f"{path}: two of its {CLASSES} have the same name")
    return tuple(str(name) for name in names)
