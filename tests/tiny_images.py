"""Images without a data set, for tests of what only looks at a few of them."""

from __future__ import annotations

import numpy as np

from host.compress.data import Images
from host.specs.recipe import Input


def make_images(shape: tuple[int, int, int] = (1, 8, 8), count: int = 8, classes: int = 10) -> Images:
    """Images of noise, of every class in turn; always the same."""
    pixels = np.random.default_rng(0).random((count, *shape), dtype=np.float32)
    return Images(pixels, np.arange(count) % classes, Input(shape=shape))


def make_dots(rows: list[list[float]], classes: list[int]) -> Images:
    """Images of one row of pixels each, as they are given."""
    pixels = np.array(rows, dtype=np.float32).reshape(len(rows), 1, 1, -1)
    return Images(pixels, np.array(classes), Input(shape=(1, 1, pixels.shape[-1])))
