"""Bytes through the coder that makes them smallest; what the board decodes them with is in the protocol."""

from __future__ import annotations

import lzma
import math
import zlib

import numpy as np
import numpy.typing as npt

from device_agent import protocol

WORTH_TRYING = 0.98
"""Where deflate cannot take off so much, as from the low bytes of floats, LZMA is not tried: it is slow."""

REPETITIVE = 0.9
"""Where matches take so much off what Huffman's code alone comes to, the bytes repeat themselves."""

_MATCHING = {"mf": lzma.MF_BT4, "nice_len": 273}
_HARDLY_MATCHING = {"mf": lzma.MF_BT2, "nice_len": 8, "depth": 1}
"""Matches in what is random cost more than they save, and the search for them takes most of the time.

With hardly any of them LZMA is an adaptive arithmetic coder (lc, lp and pb are 0): 2.2 million values of
4 bits came to 468 kB in 0.2 s, with its usual settings to 488 kB in 1.2 s, by Huffman's code to 533 kB.
"""


def encode_stream(data: bytes) -> tuple[int, bytes]:
    """The coder and what it makes of the bytes; equal bytes give equal answers."""
    alone, matched = _deflate(data, zlib.Z_HUFFMAN_ONLY), _deflate(data, zlib.Z_DEFAULT_STRATEGY)
    coded = [(protocol.CODER_STORED, data), (protocol.CODER_DEFLATE, min(alone, matched, key=len))]
    if len(coded[1][1]) < WORTH_TRYING * len(data):
        is_repetitive = len(matched) < REPETITIVE * len(alone)
        coded.append(
            (protocol.CODER_LZMA, _code_lzma(data, _MATCHING if is_repetitive else _HARDLY_MATCHING))
        )
    return min(coded, key=lambda one: len(one[1]))


def _deflate(data: bytes, strategy: int) -> bytes:
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, strategy)
    return coder.compress(data) + coder.flush()


def _code_lzma(data: bytes, matching: dict[str, int]) -> bytes:
    options = {"id": lzma.FILTER_LZMA1, "mode": lzma.MODE_NORMAL, **protocol.LZMA1, **matching}
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[options])


def estimate_bits(symbols: npt.NDArray[np.uint8]) -> float:
    """What an adaptive coder needs for symbols that do not depend on each other.

    That is their entropy; for each value that occurs half the logarithm of their number, to learn how often
    it does (Rissanen, 1984, Universal coding, information, prediction, and estimation); and for each symbol
    what LZMA takes at least: nine decisions at a probability of no more than 2017/2048.
    """
    counts = np.bincount(symbols, minlength=256)
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    entropy = float(-(counts * np.log2(counts / symbols.size)).sum())
    learning = (len(counts) - 1) / 2 * math.log2(symbols.size)
    return entropy + learning + 9 * math.log2(2048 / 2017) * symbols.size
