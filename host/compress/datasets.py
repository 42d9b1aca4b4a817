"""Data sets as they lie on the disk: pixels, labels and the names of the classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from host.compress.image_folders import read_image_folder
from host.compress.labelled_images import Data, Part, split_indices
from host.compress.npz_archives import read_archive
from host.compress.origins import find_cifar10_archive, find_data
from host.errors import BuildError
from host.specs.recipe import DataSet, Input

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read_data_set(data: DataSet, seen: Input) -> Data:
    """The data set of a recipe whose input is `seen`; training and test images are shuffled by its seed.

    Raises BuildError naming the file that is missing or wrong.
    """
    found = READERS[data.name](data, seen)
    if len(found.classes) < 2:
        raise BuildError(
            f"{data.path}: all images are of one class, {found.classes[0]}",
            "A classifier needs two at least.",
        )
    return found


def read_digits(data: DataSet, _seen: Input) -> Data:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey pixels, split with the same share of each digit."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    parts = split_indices(labels, data.effective_test_fraction, data.seed, "data.test_fraction")
    training, test = (Part(pixels[part], labels[part]) for part in parts)
    return Data(training, test, tuple(str(digit) for digit in range(10)))


def read_cifar10(data: DataSet, _seen: Input) -> Data:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 images of 32×32 pixels.

    From torchvision's folder, which torchvision fills where it is not there yet, or from an .npz.
    """
    path = find_data(data)
    archive = find_cifar10_archive(path)
    if archive is not None:
        return read_archive(archive, CIFAR10).shuffle(data.seed)
    from host.compress.vision_ops import load_cifar10

    training, test = (Part(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y) for x, y in load_cifar10(path))
    return Data(training, test, CIFAR10).shuffle(data.seed)


def read_npz(data: DataSet, _seen: Input) -> Data:
    """An .npz of `x_train`, `y_train`, `x_test`, `y_test`: images (N, h, w) or (N, h, w, c), classes (N,)."""
    return read_archive(find_data(data)).shuffle(data.seed)


def read_imagefolder(data: DataSet, seen: Input) -> Data:
    """Image files in `train/CLASS/*` and `test/CLASS/*`, at the size of the input."""
    return read_image_folder(find_data(data), seen, data.seed)


READERS: dict[str, Callable[[DataSet, Input], Data]] = {
    "digits": read_digits,
    "cifar10": read_cifar10,
    "npz": read_npz,
    "imagefolder": read_imagefolder,
}
