"""Labelled images as arrays, before any model sees them: what every reader of a data set returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from host.errors import BuildError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """`pixels` (N, c, h, w) uint8, or float32 in [0, 1]; `labels` (N,) int64."""

    pixels: Pixels
    labels: Labels

    def shuffle(self, seed: int) -> Part:
        """The same images in another order, so that the first few are a fair sample of all."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        return Part(self.pixels[order], self.labels[order])


@dataclass(frozen=True)
class Data:
    """A data set; `classes` are their names in the order of the labels."""

    training: Part
    test: Part
    classes: tuple[str, ...]

    def shuffle(self, seed: int) -> Data:
        """Training and test images, each in another order."""
        return Data(self.training.shuffle(seed), self.test.shuffle(seed), self.classes)


def split_indices(
    labels: Labels, fraction: float, seed: int, setting: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The indices of the larger and of the smaller part, shuffled, with the same share of every class.

    A function of the labels and the seed. Raises BuildError naming the `setting` of the fraction where
    that leaves a class out.
    """
    from sklearn.model_selection import train_test_split

    try:
        larger, smaller = train_test_split(
            np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels
        )
    except ValueError as error:
        raise BuildError(f"{setting} {fraction:g} leaves no valid split: {error}") from error
    return larger, smaller


def check_labels(labels: npt.NDArray[np.int64], classes: Sequence[str], source: str) -> None:
    """Raises BuildError where a label names no class, or a class has no image; `source` is named."""
    if labels.min() < 0 or labels.max() >= len(classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise BuildError(
            f"{source}: there is a label {wrong}, and the classes are 0 to {len(classes) - 1}",
            "Training and test images have the same classes, and their labels count from 0.",
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(missing):
        named = ", ".join(classes[label] for label in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise BuildError(
            f"{source}: no image has the class {named}",
            "Training and test images have the same classes, and their labels count from 0 without a gap.",
        )
