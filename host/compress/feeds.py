"""What a model is fed while it is timed: real images where there are some, else seeded random values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from host.compress.build_store import store_blob
from host.compress.packing import pack_arrays
from host.errors import ModelError
from host.specs.artifact import Artifact, Blob, Tensor

MOST_FEEDS = 8
MOST_BYTES = 64 * 2**20
"""A board cycles through a few different feeds; large inputs get fewer of them."""
LARGEST_FEED = 2**30

RANDOM = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}


def write_feeds(artifact: Artifact, batch: int, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Blob:
    """An .npz with one array for each input, (feeds, *shape of the input), at most eight feeds.

    `batch` fills an open first extent, `shapes` settles others by input name. Equal inputs give equal
    bytes. Raises ModelError where an extent stays open, or an input's type cannot be made up.
    """
    settled = {tensor.name: _settle(tensor, batch, shapes.get(tensor.name)) for tensor in artifact.inputs}
    if artifact.evaluation is not None and len(artifact.inputs) == 1:
        name, shape = next(iter(settled.items()))
        return store_blob(folder, pack_arrays({name: _cut_images(artifact.evaluation.path, shape)}), ".npz")
    random = np.random.default_rng(0)
    arrays = {tensor.name: _make_random(tensor, settled[tensor.name], random) for tensor in artifact.inputs}
    return store_blob(folder, pack_arrays(arrays), ".npz")


def _settle(tensor: Tensor, batch: int, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    open_ones = (batch, *(extent or 0 for extent in tensor.shape[1:]))[
        : len(tensor.shape)
    ]  # a scalar has none
    asked = shape if shape is not None else open_ones
    settled = tuple(own or other for own, other in zip(tensor.shape, asked, strict=True))
    if 0 in settled:
        words = ",".join(str(extent or "?") for extent in settled)
        raise ModelError(
            f"{tensor.name!r} leaves extents open: {words}", f"Settle them with --shape {tensor.name}={words}"
        )
    return settled


def _count_feeds(size: int) -> int:
    return max(1, min(MOST_FEEDS, MOST_BYTES // max(1, size)))


def _cut_images(evaluation: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Different images for every feed, starting over where there are fewer than the feeds hold."""
    with np.load(evaluation, allow_pickle=False) as stored:
        images: npt.NDArray[np.float32] = stored["x"]
    feeds = _count_feeds(4 * int(np.prod(shape)))
    chosen = np.arange(feeds * shape[0]) % len(images)
    return images[chosen].reshape(feeds, *shape)


def _make_random(
    tensor: Tensor, shape: tuple[int, ...], random: np.random.Generator
) -> npt.NDArray[np.generic]:
    """Floats around zero; bytes over their whole range; other whole numbers 0 or 1.

    Whole numbers are mostly indices, masks and lengths, and 0 and 1 are the ones that nearly all models take.
    """
    kind = _find_kind(tensor, shape)
    full = (_count_feeds(kind.itemsize * int(np.prod(shape))), *shape)
    if kind.kind == "f":
        return random.standard_normal(full).astype(kind)
    if kind == np.uint8:
        return random.integers(0, 256, full, dtype=np.uint8)
    return random.integers(0, 2, full).astype(kind)


def check_inputs(inputs: Iterable[Tensor]) -> None:
    """Raises ModelError where values for one of the inputs, whose extents are settled, cannot be made up."""
    for tensor in inputs:
        _find_kind(tensor, tuple(extent or 1 for extent in tensor.shape))


def _find_kind(tensor: Tensor, shape: tuple[int, ...]) -> np.dtype[np.generic]:
    if tensor.dtype not in RANDOM:
        raise ModelError(f"{tensor.name!r} takes {tensor.dtype} values, which cannot be made up")
    kind: np.dtype[np.generic] = np.dtype(RANDOM[tensor.dtype])
    size = kind.itemsize * math.prod(shape)
    if size > LARGEST_FEED:
        raise ModelError(f"{tensor.name!r} would take {size / 2**30:,.1f} GiB; at most 1 GiB can be fed")
    return kind
