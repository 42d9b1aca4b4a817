"""An ONNX file as a packed one, which the board turns back into the same file, byte for byte.

Sparse tensors of few bits become values and indices, scales and biases become planes of bytes, and all of it
goes through an entropy coder, after Deep Compression (Han et al., 2016). docs/packing.md has the format.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from device_agent import protocol
from host.compress.raw_tensors import RawTensor, find_raw_tensors
from host.compress.scale_pool import pool_scales
from host.compress.stream_coding import encode_stream, estimate_bits
from host.errors import BuildError
from host.specs.artifact import PackedParts

SMALLEST_BYTES = 32
"""Smaller tensors stay in the graph: to say where they lie would cost as much as coding them saves."""

LEAST_FILL = 0.125
"""The share of zeros from which on a tensor may be sparse."""

GAP_BITS = range(3, 9)
"""How wide a relative index may be; for each tensor that width is taken which comes out smallest.

Under an entropy coder wide ones cost little, and need no fillers: MobileNetV2 with nine tenths of its weights
zero and the others in 4 bits comes to 240 kB, and to 262 kB where only indices of three bits are allowed.
"""

EXPAND_SECONDS = 600.0

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.unsignedinteger[Any]]
Streams = Mapping[int, Bytes]

_KINDS: Mapping[int, int] = {
    TensorProto.INT32: protocol.VALUES_INTEGERS,
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.UINT32), protocol.VALUES_WORDS),
    **dict.fromkeys(
        (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16),
        protocol.VALUES_HALVES,
    ),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), protocol.VALUES_LONGS),
}


@dataclass(frozen=True)
class Packed:
    """A packed file, and where its bytes go."""

    data: bytes
    parts: PackedParts


@dataclass(frozen=True)
class _Written:
    """One way to write a tensor: numbers of the layout, and what is added to the streams."""

    numbers: tuple[int, ...]
    streams: Streams

    @property
    def bits(self) -> float:
        return sum(estimate_bits(symbols) for symbols in self.streams.values())


def pack_model(data: bytes) -> Packed:
    """The packed form of an ONNX file (of any file: what is not understood is only compressed).

    Equal files give equal bytes. The board's own decoder has restored the file before this returns; raises
    BuildError where it did not, which would be a fault of boardbench.
    """
    packed = write_packed(data)
    if unpack_model(packed.data) != data:
        raise BuildError("a packed model is not restored", "This is a fault of boardbench: please report it.")
    return packed


def unpack_model(packed: bytes) -> bytes:
    """The ONNX file that was packed, restored by what runs on boards. Raises BuildError for any other file.

    The host knows only the agent's protocol, so the agent runs as it does on a board: as a process without
    site-packages, in a work folder.
    """
    sha256 = hashlib.sha256(packed).hexdigest()
    root = Path(protocol.__file__).parent.parent
    with tempfile.TemporaryDirectory(prefix="boardbench-") as work:
        blobs = Path(work, "blobs")
        blobs.mkdir()
        (blobs / sha256).write_bytes(packed)
        done = subprocess.run(
            [sys.executable, "-S", "-P", "-m", "device_agent.entry", "--work", work, "expand", sha256],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            timeout=EXPAND_SECONDS,
            check=False,
        )
        restored = [path for path in blobs.iterdir() if path.suffix != ".part"]
        if done.returncode != protocol.EXIT_OK or len(restored) != 1:
            said = (done.stdout or done.stderr).decode(errors="replace").strip()
            raise BuildError(f"the packed model cannot be expanded: {said[-500:]}")
        return restored[0].read_bytes()


def write_packed(data: bytes) -> Packed:
    """The packed form, not tried out yet."""
    streams: dict[int, list[bytes]] = defaultdict(list)
    numbers = _cut(data, find_raw_tensors(data), streams)
    streams[protocol.STREAM_LAYOUT] = [b"".join(map(_encode_number, numbers))]
    table = b""
    coded: dict[int, bytes] = {}
    for name in sorted(streams):
        coder, coded[name] = encode_stream(b"".join(streams[name]))
        table += struct.pack(protocol.PACKED_STREAM, name, coder, len(coded[name]))
    head = struct.pack(protocol.PACKED_HEAD, hashlib.sha256(data).digest(), len(data), len(coded))
    content = b"".join([head, table, *coded.values()])
    start = struct.pack(
        protocol.PACKED_START, protocol.PACKED_MAGIC, protocol.PACKED_VERSION, zlib.crc32(content)
    )
    whole = start + content
    return Packed(whole, _count_parts(coded, len(whole)))


def _count_parts(coded: Mapping[int, bytes], total: int) -> PackedParts:
    scales = range(protocol.VALUES_SCALES, protocol.VALUES_SCALES + 4)
    parts = dict.fromkeys(("values", "indices", "scales"), 0)
    for name, stream in coded.items():
        if name in (protocol.STREAM_MASKS, protocol.STREAM_GAPS):
            parts["indices"] += len(stream)
        elif name in scales:
            parts["scales"] += len(stream)
        elif name >= min(protocol.VALUE_BYTES):
            parts["values"] += len(stream)
    return PackedParts(**parts, rest=total - sum(parts.values()))


def _cut(data: bytes, tensors: list[RawTensor], streams: dict[int, list[bytes]]) -> list[int]:
    """Take the tensors out of the file into the streams; the numbers of the layout."""
    scalars = [_floats(data, tensor) for tensor in tensors if tensor.is_scale and _size(tensor) == 4]
    tensors = [tensor for tensor in tensors if _size(tensor) >= SMALLEST_BYTES]
    pooled = [tensor for tensor in tensors if _is_pooled(tensor)]
    pool, found = pool_scales(
        [_floats(data, tensor) for tensor in pooled], np.concatenate([*scalars, np.empty(0, np.float32)])
    )
    _add(streams, _to_planes(protocol.VALUES_SCALES, pool.view(np.uint32)))
    places = dict(zip(pooled, found, strict=True))
    numbers = [pool.size, len(tensors)]
    at = 0
    for tensor in tensors:
        streams[protocol.STREAM_GRAPH].append(data[at : tensor.begin])
        numbers.append(tensor.begin - at)
        if tensor in places:
            numbers += [protocol.VALUES_SCALES, _size(tensor) // 4, *places[tensor]]
        else:
            written = _write_tensor(tensor.type, data[tensor.begin : tensor.end])
            numbers += written.numbers
            _add(streams, written.streams)
        at = tensor.end
    streams[protocol.STREAM_GRAPH].append(data[at:])
    return numbers


def _is_pooled(tensor: RawTensor) -> bool:
    return tensor.is_scale and tensor.type == TensorProto.FLOAT and _size(tensor) % 4 == 0


def _size(tensor: RawTensor) -> int:
    return tensor.end - tensor.begin


def _floats(data: bytes, tensor: RawTensor) -> npt.NDArray[np.float32]:
    return np.frombuffer(data[tensor.begin : tensor.end], np.float32)


def _add(streams: dict[int, list[bytes]], more: Streams) -> None:
    for name, symbols in more.items():
        if symbols.size:
            streams[name].append(symbols.tobytes())


def _write_tensor(type_number: int, raw: bytes) -> _Written:
    """The way to write a tensor that comes out smallest."""
    kind = _KINDS.get(type_number, protocol.VALUES_BYTES)
    if len(raw) % protocol.VALUE_BYTES[kind]:
        kind = protocol.VALUES_BYTES
    cells: Cells = np.frombuffer(raw, f"<u{protocol.VALUE_BYTES[kind]}")
    fill = 0
    if kind == protocol.VALUES_BYTES:
        # Weights of uint8 are zero in the middle of their range.
        fill = max(protocol.FILLS, key=lambda value: int((cells == value).sum()))
        away = (cells - np.uint8(fill)).astype(np.uint8).view(np.int8)
        if away.min() >= -8 and away.max() <= 7:
            kind = protocol.VALUES_NIBBLES
    return min(_ways_to_write(kind, cells, fill), key=lambda written: written.bits)


def _ways_to_write(kind: int, cells: Cells, fill: int) -> Iterator[_Written]:
    start, shift = (kind, cells.size), 4 * protocol.FILLS.index(fill)
    yield _Written((*start, shift + protocol.INDEX_DENSE), _to_planes(kind, cells, fill))
    places = np.flatnonzero(cells != fill)
    if cells.size - places.size < LEAST_FILL * cells.size:
        return
    mask = np.packbits(cells != fill, bitorder="little")
    values = _to_planes(kind, cells[places], fill)
    yield _Written((*start, shift + protocol.INDEX_MASK), {protocol.STREAM_MASKS: mask, **values})
    for bits in GAP_BITS:
        gaps, entries = _to_gaps(places, 1 << bits)
        values = _to_planes(kind, cells[entries], fill)
        numbers = (*start, shift + protocol.INDEX_GAPS, entries.size)
        yield _Written(numbers, {protocol.STREAM_GAPS: gaps, **values})


def _to_gaps(places: npt.NDArray[np.intp], reach: int) -> tuple[Bytes, npt.NDArray[np.intp]]:
    """Relative indices below `reach`, and the elements that they lead to.

    The index is how many elements lie between one entry and the next. Where that is too many, an element on
    the way becomes an entry too, as far off as one index reaches (Han et al., 2016, figure 2).
    """
    steps = np.diff(places, prepend=-1)
    fillers = (steps - 1) // reach
    last = np.cumsum(fillers + 1) - 1
    gaps = np.full(places.size + int(fillers.sum()), reach - 1)
    gaps[last] = (steps - 1) % reach
    return gaps.astype(np.uint8), np.cumsum(gaps + 1) - 1


def _to_planes(kind: int, cells: Cells, fill: int = 0) -> dict[int, Bytes]:
    """The elements as bytes, by stream: the lowest byte of each, the next of each, and so on."""
    if kind == protocol.VALUES_NIBBLES:
        halves = (cells - np.uint8(fill)) & np.uint8(15)
        halves = np.append(halves, np.zeros(halves.size % 2, np.uint8)).astype(np.uint8)
        return {kind: halves[0::2] | halves[1::2] << np.uint8(4)}
    if kind == protocol.VALUES_INTEGERS:
        signed = cells.view(np.int32)
        cells = ((signed << 1) ^ (signed >> 31)).view(np.uint32)
    width = protocol.VALUE_BYTES[kind]
    whole = np.ascontiguousarray(cells).view(np.uint8)
    return {kind + plane: np.ascontiguousarray(whole[plane::width]) for plane in range(width)}


def _encode_number(number: int) -> bytes:
    """Seven bits in a byte, the lowest first; the last byte is below 128."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
