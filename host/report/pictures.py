"""Arrays of pixels and of weights as PNG pictures inside a page."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

SHOWN = 96
"""About how many pixels of a page the longer side of an image takes."""

LARGEST = 192
"""Pixels of the longer side beyond which an image is shrunk: its details would not be seen."""

MOST_FILTERS = 256
FILTER_SIDE = 28
"""About how many pixels of a page the longer side of a filter takes."""

GAP = 3


class Picture(NamedTuple):
    """A PNG as a data URI, and the width and height that a page shows it in."""

    uri: str
    width: int
    height: int


def draw_image(pixels: Pixels) -> Picture:
    """An image (c, h, w) of bytes, or of floats in [0, 1], at its own resolution; three channels are colours.

    Other than one or three channels are shown as their mean.
    """
    values = pixels.astype(np.float32) * (1 if pixels.dtype == np.uint8 else 255)
    picture = Image.fromarray(_to_bytes(_as_colours(values)))
    picture.thumbnail((LARGEST, LARGEST))
    scale = SHOWN / max(picture.size)
    scale = max(round(scale), 1) if scale > 0.75 else scale
    width, height = (max(round(side * scale), 1) for side in picture.size)
    return Picture(_encode(picture), width, height)


def draw_filters(filters: Floats) -> Picture:
    """Filters (filters, inputs, h, w) side by side, each stretched from its least weight to its largest.

    Three inputs are colours, any other number of them is shown as their mean. A filter whose weights are
    all equal is medium grey. Gaps are transparent.
    """
    tiles = np.stack([_stretch(_as_colours(item)) for item in filters[:MOST_FILTERS]])
    tiles = tiles if tiles.ndim == 4 else np.repeat(tiles[..., None], 3, axis=-1)
    factor = max(round(FILTER_SIDE / max(tiles.shape[1:3])), 1)
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = tiles.shape
    columns = min(count, 8 if count <= 64 else 16)
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width, :3] = tile
        sheet[top : top + height, left : left + width, 3] = 255
    return Picture(_encode(Image.fromarray(sheet)), sheet.shape[1], sheet.shape[0])


def _as_colours(values: Floats) -> Floats:
    """Channels first, (c, h, w), as (h, w, 3) where they are three, else as their mean (h, w)."""
    return values.transpose(1, 2, 0) if len(values) == 3 else np.asarray(values.mean(axis=0))


def _stretch(values: Floats) -> Bytes:
    finite = np.nan_to_num(values)
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return np.full(values.shape, 128, dtype=np.uint8)
    return _to_bytes((finite - low) * (255 / (high - low)))


def _to_bytes(values: Floats) -> Bytes:
    return np.nan_to_num(values).round().clip(0, 255).astype(np.uint8)


def _encode(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
