"""Data sets as folders of image files, one folder for each class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image, ImageOps, UnidentifiedImageError

from host.compress.labelled_images import Data, Part
from host.compress.origins import is_hidden, list_files
from host.errors import BuildError
from host.specs.recipe import Input

MODES = {1: "L", 3: "RGB"}
"""Pillow's modes by the number of channels."""

FAULTS_TOLD = 5


def read_image_folder(path: Path, seen: Input, seed: int) -> Data:
    """The data set in `train/CLASS/*` and `test/CLASS/*`, or `val/CLASS/*` where there is no `test`.

    Every image is turned upright, made grey or RGB as the input says, cropped at its centre to the input's
    aspect ratio, resized to it bilinearly with antialiasing, and kept as uint8. Classes are sorted by name,
    images are shuffled. Raises BuildError naming every folder without images, or the first images that
    cannot be read.
    """
    if seen.shape[0] not in MODES:
        raise BuildError(
            f"{path}: image files have 1 or 3 channels, the recipe's input has {seen.shape[0]}",
            "Write 1 (grey) or 3 (RGB) as the first extent of `input.shape`.",
        )
    folders = _find_splits(path)
    files = {folder: _list_classes(folder) for folder in folders}
    _check_classes(*folders, files)
    classes = tuple(files[folders[0]])
    _check_memory(path, sum(len(found) for part in files.values() for found in part.values()), seen)
    training, test = (_read_part(list(files[folder].values()), seen, seed) for folder in folders)
    return Data(training, test, classes)


def _find_splits(path: Path) -> tuple[Path, Path]:
    train = path / "train"
    test = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if not train.is_dir() or test is None:
        lacking = "train" if not train.is_dir() else "test"
        raise BuildError(
            f"{path}: there is no folder {lacking!r} in it",
            "Expected train/CLASS/* and test/CLASS/* (or val/CLASS/*), a folder for each class.",
        )
    return train, test


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class, both by name."""
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not is_hidden(place.name))
    files = {place.name: list_files(place) for place in places}
    empty = [str(folder / name) for name, found in files.items() if not found]
    if empty or not files:
        raise BuildError(
            f"there are no images in {', '.join(empty) or folder}",
            "Every class is a folder that holds its images; remove the folder of a class that has none.",
        )
    return files


def _check_classes(train: Path, test: Path, files: dict[Path, dict[str, list[Path]]]) -> None:
    differing = [
        f"only in {here}: {', '.join(sorted(only))}"
        for here, there in ((train, test), (test, train))
        if (only := files[here].keys() - files[there].keys())
    ]
    if differing:
        raise BuildError(
            f"training and test images are of different classes: {'; '.join(differing)}",
            "Both have a folder for every class, with the same names.",
        )


def _check_memory(path: Path, count: int, seen: Input) -> None:
    needed, free = count * int(np.prod(seen.shape)), psutil.virtual_memory().available
    if needed > free:
        raise BuildError(
            f"{path}: {count:,} images of {seen.shape} take {needed / 1e9:.1f} GB; {free / 1e9:.1f} are free",
            "Take a smaller `input.shape`, or fewer images.",
        )


def _read_part(classes: Sequence[list[Path]], seen: Input, seed: int) -> Part:
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes])
    order = np.random.default_rng(seed).permutation(len(labels))
    listed = [path for files in classes for path in files]
    return Part(_read_images([listed[index] for index in order], seen), labels[order])


def _read_images(paths: Sequence[Path], seen: Input) -> npt.NDArray[np.uint8]:
    pixels = np.empty((len(paths), *seen.shape), dtype=np.uint8)
    # Threads, because Pillow's decoders release the lock of the interpreter.
    readers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that is odd; we want the pixels alone
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            told = readers.map(partial(_read_into, seen=seen), paths, pixels)
            faults = [fault for fault in told if fault is not None]
        finally:
            readers.shutdown(cancel_futures=True)  # Ctrl-C must not wait for thousands of images
    if faults:
        more = f"\n… and {len(faults) - FAULTS_TOLD:,} more" if len(faults) > FAULTS_TOLD else ""
        raise BuildError(
            f"{len(faults):,} of {len(paths):,} images cannot be read:\n"
            + "\n".join(faults[:FAULTS_TOLD])
            + more,
            "Replace them, or take them out of the data set.",
        )
    return pixels


def _read_into(path: Path, pixels: npt.NDArray[np.uint8], seen: Input) -> str | None:
    """Fill `pixels` (c, h, w) with the image; or what is wrong with it."""
    try:
        image = read_image(path, seen)
    except UnidentifiedImageError:
        return f"{path}: is no image, or of a kind that Pillow does not read"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"{path}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except Exception as error:  # noqa: BLE001 - Pillow's many decoders raise anything at damaged files
        return f"{path}: {next(iter(str(error).splitlines()), '') or type(error).__name__}"
    pixels[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return None


def read_image(path: Path, seen: Input) -> npt.NDArray[np.uint8]:
    """One image at the size of the input, (h, w) grey or (h, w, 3) RGB; transparency is dropped."""
    channels, height, width = seen.shape
    with Image.open(path) as image:
        # A JPEG of a big photo is decoded at the smallest scale that is still twice as large as needed.
        image.draft(None, (2 * max(height, width),) * 2)
        upright = _convert(ImageOps.exif_transpose(image), MODES[channels])
        return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("F"):
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow would cut them off at 255
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert(mode)
