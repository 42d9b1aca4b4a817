"""Raw samples as they are stored: every nanosecond, in a third of the bytes.

Samples are little-endian int64. The bytes of one significance resemble each other far more than those of one
sample, so the first byte of every sample is written, then the second of every one, and so on. zlib makes 2.2
to 2.7 bytes of a sample of that, and 2.9 to 3.5 of the plain ones, in three times the time. Differences from
sample to sample make it worse instead: what varies is noise.
"""

from __future__ import annotations

import zlib

import numpy as np

from host.ledger.statistics import Samples

TRANSPOSED = b"\x01"
"""The first byte of what was packed in this way. Rounds of older releases begin with that of zlib, x8."""
WIDTH = 8


def pack_samples(held: Samples) -> bytes:
    plain = np.ascontiguousarray(held, dtype="<i8").view(np.uint8).reshape(-1, WIDTH)
    return TRANSPOSED + zlib.compress(plain.T.tobytes(), level=6)


def unpack_samples(count: int, data: bytes) -> Samples:
    """The samples of one round in ns. Raises ValueError where they are not what was packed.

    Never more than `count` samples are unpacked, whatever the data would become.
    """
    is_transposed = data.startswith(TRANSPOSED)
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(data[is_transposed:], WIDTH * count + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != WIDTH * count or not unpacking.eof or unpacking.unused_data:
        raise ValueError(f"{count} samples were packed, and not they are there")
    if is_transposed:
        raw = np.frombuffer(raw, dtype=np.uint8).reshape(WIDTH, -1).T.tobytes()
    return np.frombuffer(raw, dtype="<i8").astype(np.int64)
