"""Images and labels as a model sees them, and their fixed split into training and test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from host.errors import BuildError
from host.specs.recipe import DataSet, Input, Recipe

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """`x` (N, C, H, W) float32, normalised; `y` (N,) int64 class numbers."""

    x: Floats
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    def take(self, count: int) -> Images:
        """The first `count` images; the split has shuffled them."""
        return Images(self.x[:count], self.y[:count])


@dataclass(frozen=True)
class Split:
    """Images to train and calibrate on, and images that only ever test."""

    training: Images
    test: Images


def load_split(recipe: Recipe) -> Split:
    """The recipe's images, split by its seed with the same share of every class on both sides."""
    pixels, labels = _load_digits()
    training, test = split_indices(labels, recipe.data)
    return Split(
        Images(prepare_pixels(pixels[training], recipe.input), labels[training]),
        Images(prepare_pixels(pixels[test], recipe.input), labels[test]),
    )


def _load_digits() -> tuple[Floats, Labels]:
    """scikit-learn's 1,797 handwritten digits: 8×8 grey pixels in [0, 1], and the digit."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


def split_indices(labels: Labels, data: DataSet) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The indices of training and of test images, shuffled; a function of the labels and the seed."""
    from sklearn.model_selection import train_test_split

    try:
        training, test = train_test_split(
            np.arange(len(labels)), test_size=data.test_fraction, random_state=data.seed, stratify=labels
        )
    except ValueError as error:
        raise BuildError(
            f"data.test_fraction {data.test_fraction:g} leaves no valid split: {error}"
        ) from error
    return training, test


def prepare_pixels(pixels: Floats, seen: Input) -> Floats:
    """Grey pixels (N, h, w) in [0, 1] as the model's input (N, C, H, W): resized, repeated, normalised."""
    channels, height, width = seen.shape
    rows = interpolation_matrix(pixels.shape[1], height)
    columns = interpolation_matrix(pixels.shape[2], width)
    resized = np.repeat((rows @ pixels @ columns.T)[:, None], channels, axis=1)
    mean, std = (np.array(value, dtype=np.float32).reshape(-1, 1, 1) for value in (seen.mean, seen.std))
    return np.ascontiguousarray((resized - mean) / std, dtype=np.float32)


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
