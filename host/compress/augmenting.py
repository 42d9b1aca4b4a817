"""What training does to images, so that a model learns the thing and not its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from host.specs.recipe import Augment


def augment_pixels(pixels: npt.NDArray[Any], augment: Augment) -> npt.NDArray[Any]:
    """Images (N, c, h, w), each shifted, mirrored and partly hidden by chance, or as they are."""
    if augment.crop:
        pixels = _shift(pixels, augment.crop)
    if augment.flip:
        mirrored = torch.rand(len(pixels)).numpy() < 0.5
        pixels = np.where(mirrored[:, None, None, None], pixels[..., ::-1], pixels)
    if augment.cutout:
        pixels = _hide_square(pixels, augment.cutout)
    return pixels


def _shift(pixels: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Each image cut from itself with mirrored edges, at an offset of its own."""
    count, _, height, width = pixels.shape
    most = min(most, height - 1, width - 1)  # a mirror has no more to show
    padded = np.pad(pixels, ((0, 0), (0, 0), (most, most), (most, most)), mode="reflect")
    offsets = torch.randint(0, 2 * most + 1, (2, count)).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return windows[np.arange(count), :, offsets[0], offsets[1]]


def _hide_square(pixels: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Each image with a square of its own, cut off at the edges, hidden behind its mean colour."""
    count, _, height, width = pixels.shape
    rows, columns = (_cover(count, length, side) for length in (height, width))
    is_hidden = rows[:, None, :, None] & columns[:, None, None, :]
    colour = pixels.mean(axis=(2, 3), keepdims=True).astype(pixels.dtype)
    return np.where(is_hidden, colour, pixels)


def _cover(count: int, length: int, side: int) -> npt.NDArray[np.bool_]:
    """(count, length): along one edge, the pixels of a stretch around a pixel drawn for each image."""
    starts = torch.randint(0, length, (count, 1)).numpy() - side // 2
    places = np.arange(length)
    return (starts <= places) & (places < starts + side)
