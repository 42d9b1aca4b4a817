"""Images and labels as a model sees them, and their fixed split into training and test images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from host.compress.datasets import read_data_set
from host.compress.labelled_images import Labels, Pixels, split_indices
from host.errors import BuildError
from host.specs.recipe import Input, Recipe

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Images:
    """Images as they were read, `pixels` (N, c, h, w) uint8 or float32 in [0, 1]; `y` (N,) int64 classes."""

    pixels: Pixels
    y: Labels
    seen: Input

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def x(self) -> Floats:
        """All of them as the model sees them, (N, C, H, W) float32, normalised."""
        return prepare_pixels(self.pixels, self.seen)

    def take(self, count: int) -> Images:
        """The first `count` images; their order is a shuffled one."""
        return self.pick(np.arange(min(count, len(self))))

    def pick(self, chosen: npt.NDArray[np.intp]) -> Images:
        """The images with these numbers, in this order."""
        return Images(self.pixels[chosen], self.y[chosen], self.seen)


@dataclass(frozen=True)
class Split:
    """Images to train and calibrate on, and images that only ever test.

    `validation` are those that decide during a build: kept out of training, or the test images where the
    recipe keeps none. `classes` are their names, in the order of the labels.
    """

    training: Images
    test: Images
    validation: Images
    classes: tuple[str, ...]


def load_split(recipe: Recipe) -> Split:
    """The recipe's images. Raises BuildError naming the file that is missing or wrong."""
    data = read_data_set(recipe.data, recipe.input)
    training, test = (Images(part.pixels, part.labels, recipe.input) for part in (data.training, data.test))
    _check_channels(training, recipe.data.path or recipe.data.name)
    fraction = recipe.data.validation_fraction
    if not fraction:
        return Split(training, test, validation=test, classes=data.classes)
    kept, held = split_indices(training.y, fraction, recipe.data.seed, "data.validation_fraction")
    return Split(training.pick(kept), test, validation=training.pick(held), classes=data.classes)


def _check_channels(images: Images, source: str) -> None:
    found, wanted = images.pixels.shape[1], images.seen.shape[0]
    if found not in (1, wanted):
        raise BuildError(
            f"{source}: the images have {found} channels, the recipe's input has {wanted}",
            f"Write `shape: [{found}, {images.seen.shape[1]}, {images.seen.shape[2]}]` under `input:`.",
        )


CHUNK = 16
"""Images prepared at once: so few that what is between the steps stays in the processor's cache."""


def prepare_pixels(pixels: npt.NDArray[Any], seen: Input) -> Floats:
    """Pixels (N, c, h, w) as the model's input (N, C, H, W): resized, grey ones repeated, normalised.

    Bytes count from 0 to 255, floats from 0 to 1.
    """
    mean, std = (np.array(value, dtype=np.float32).reshape(-1, 1, 1) for value in (seen.mean, seen.std))
    gain = np.float32(1 / 255 if pixels.dtype == np.uint8 else 1) / std
    prepared = np.empty((len(pixels), *seen.shape), dtype=np.float32)
    for start in range(0, len(pixels), CHUNK):
        part = prepared[start : start + CHUNK]
        np.multiply(_resize(pixels[start : start + CHUNK], *seen.shape[1:]), gain, out=part)
        part -= mean / std
    return prepared


def _resize(pixels: npt.NDArray[Any], height: int, width: int) -> Floats:
    """Images (N, c, h, w) at another size, bilinear."""
    resized = pixels.astype(np.float32, copy=False)
    if pixels.shape[3] != width:
        resized = resized @ interpolation_matrix(pixels.shape[3], width).T.copy()
    if pixels.shape[2] != height:
        resized = interpolation_matrix(pixels.shape[2], height) @ resized
    return resized


def interpolation_matrix(size: int, target: int) -> Floats:
    """Weights (target, size) of bilinear resizing along one axis, pixel centres at halves.

    The same as torch's `interpolate(mode="bilinear", align_corners=False)`.
    """
    centres = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
    lower = np.minimum(centres.astype(np.intp), size - 1)
    share = centres - lower
    matrix = np.zeros((target, size))
    rows = np.arange(target)
    matrix[rows, lower] += 1 - share
    matrix[rows, np.minimum(lower + 1, size - 1)] += share
    return matrix.astype(np.float32)
