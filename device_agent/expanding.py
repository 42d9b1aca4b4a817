"""A packed model becomes the ONNX file that it was made from, byte for byte (docs/packing.md)."""

import io
import struct
import zlib
from array import array
from binascii import hexlify
from itertools import accumulate, compress, count
from operator import add
from typing import Any, Callable, Dict, Iterator, List

from device_agent import protocol
from device_agent.faults import AgentFault

_CELLS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # elements of so many bytes: moved about, never read as numbers
_DAMAGE = (ValueError, ArithmeticError, IndexError, KeyError, EOFError, MemoryError, struct.error, zlib.error)
_BITS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
_LOW_HALF = bytes((half ^ 8) - 8 & 0xFF for half in range(16)) * 16
_HIGH_HALF = bytes((half ^ 8) - 8 & 0xFF for half in range(16) for _ in range(16))


def corrupt(why: str) -> AgentFault:
    return AgentFault(protocol.ERROR_CORRUPT, "the packed model is damaged: {}".format(why))


class PackedModel:
    """The pieces of the model in their order; `sha256` and `size` are the model's, `missing` what is to come.

    Nothing larger than one tensor is held beside the packed file, and no stream gives more than is asked of
    it, so that a small file cannot fill the memory. Raises AgentFault for what is not a whole packed model.
    Whether the pieces are the model, its SHA-256 tells.
    """

    def __init__(self, packed: bytes) -> None:
        try:
            magic, version, checksum = struct.unpack_from(protocol.PACKED_START, packed)
            if magic != protocol.PACKED_MAGIC:
                raise corrupt("it does not begin as one")
            if version != protocol.PACKED_VERSION:
                raise AgentFault(
                    protocol.ERROR_OTHER,
                    "the packed model is of version {}, this agent expands version {}".format(
                        version, protocol.PACKED_VERSION
                    ),
                )
            start = struct.calcsize(protocol.PACKED_START)
            if zlib.crc32(memoryview(packed)[start:]) != checksum:
                raise corrupt("its checksum is another")
            self._read_head(packed, start)
        except _DAMAGE as error:
            raise corrupt(repr(error)) from error

    def _read_head(self, packed: bytes, at: int) -> None:
        sha256, self.size, streams = struct.unpack_from(protocol.PACKED_HEAD, packed, at)
        self.sha256 = hexlify(sha256).decode()
        self.missing = self.size
        if self.size > protocol.MAX_MODEL_BYTES:
            raise corrupt("a model of {} bytes".format(self.size))
        at += struct.calcsize(protocol.PACKED_HEAD)
        entry = struct.Struct(protocol.PACKED_STREAM)
        table = [entry.unpack_from(packed, at + entry.size * each) for each in range(streams)]
        at += entry.size * streams
        self._streams: Dict[int, _Stream] = {}
        for name, coder, size in table:
            self._streams[name] = _Stream(_CODERS[coder](packed[at : at + size]))
            at += size
        if at != len(packed):
            raise corrupt("its streams do not fill it")

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._restore():
                self.missing -= len(piece)
                yield piece
        except _DAMAGE as error:
            raise corrupt(repr(error)) from error

    def _restore(self) -> Iterator[bytes]:
        scales = self._read_values(protocol.VALUES_SCALES, self._bounded(self._number(), 4))
        for _ in range(self._number()):
            yield self._read(protocol.STREAM_GRAPH, self._bounded(self._number(), 1))
            kind = self._number()
            elements = self._bounded(self._number(), protocol.VALUE_BYTES[kind])
            if kind == protocol.VALUES_SCALES:
                yield self._restore_scales(scales, elements)
            else:
                yield self._restore_tensor(kind, elements)
        yield self._read(protocol.STREAM_GRAPH, self.missing)

    def _restore_scales(self, scales: bytes, elements: int) -> bytes:
        """A run of the scales, times a factor where there is one."""
        begin, factor = 4 * self._number(), self._number()
        own = scales[begin : begin + 4 * elements]
        if len(own) != 4 * elements:
            raise corrupt("it has fewer scales than it asks for")
        if not factor:
            return own
        layout = "<{}f".format(elements)
        # The product of two float32 is exact in a double: it is rounded once, as in float32 arithmetic.
        by = struct.unpack("<f", struct.pack("<I", factor))[0]
        return struct.pack(layout, *[scale * by for scale in struct.unpack(layout, own)])

    def _restore_tensor(self, kind: int, elements: int) -> bytes:
        fill, index = divmod(self._number(), 4)
        if index == protocol.INDEX_DENSE:
            return self._read_values(kind, elements, protocol.FILLS[fill])
        if index == protocol.INDEX_MASK:
            bits = self._read_mask(elements)
            entries = bits.count(1)
            places: Iterator[int] = compress(range(elements), bits)
        else:
            entries = self._bounded(self._number(), 1)
            gaps = self._read(protocol.STREAM_GAPS, entries)
            if sum(gaps) + entries > elements:
                raise corrupt("an index lies outside of its tensor")
            places = map(add, accumulate(gaps), count())
        width = protocol.VALUE_BYTES[kind]
        values = array(_CELLS[width], self._read_values(kind, entries, protocol.FILLS[fill]))
        cells = array(_CELLS[width], bytes([protocol.FILLS[fill]]) * (elements * width))
        for place, value in zip(places, values):  # noqa: B905 (strict is of Python 3.10; their numbers agree)
            cells[place] = value
        return cells.tobytes()

    def _read_mask(self, elements: int) -> bytes:
        """One byte, 0 or 1, for each element."""
        packed = self._read(protocol.STREAM_MASKS, (elements + 7) // 8)
        return b"".join(map(_BITS.__getitem__, packed))[:elements]

    def _read_values(self, kind: int, entries: int, fill: int = 0) -> bytes:
        """Elements as they stand in the model."""
        if kind == protocol.VALUES_NIBBLES:
            pairs = self._read(kind, (entries + 1) // 2)
            both = bytearray(2 * len(pairs))
            both[0::2] = pairs.translate(_beside(_LOW_HALF, fill))
            both[1::2] = pairs.translate(_beside(_HIGH_HALF, fill))
            return bytes(both[:entries])
        width = protocol.VALUE_BYTES[kind]
        if width == 1:
            return self._read(kind, entries)
        values = bytearray(entries * width)
        for plane in range(width):
            values[plane::width] = self._read(kind + plane, entries)
        if kind == protocol.VALUES_INTEGERS:
            folded = array("I", bytes(values))
            return array("i", (value >> 1 ^ -(value & 1) for value in folded)).tobytes()
        return bytes(values)

    def _read(self, stream: int, size: int) -> bytes:
        return self._streams[stream].read(size) if size else b""

    def _bounded(self, elements: int, width: int) -> int:
        """A number of elements that still fit into the model."""
        if elements * width > self.missing:
            raise corrupt("it holds more than its model")
        return elements

    def _number(self) -> int:
        """The next number of the layout: seven bits in a byte, the lowest first, the last byte below 128."""
        number = 0
        for shift in range(0, 63, 7):
            byte = self._read(protocol.STREAM_LAYOUT, 1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise corrupt("a number of its layout does not end")


def _beside(halves: bytes, fill: int) -> bytes:
    return bytes(half + fill & 0xFF for half in halves)


class _Stream:
    """Bytes that are decoded when they are asked for."""

    def __init__(self, decode: Callable[[int], bytes]) -> None:
        self._decode = decode

    def read(self, size: int) -> bytes:
        pieces: List[bytes] = []
        while size:
            piece = self._decode(size)
            if not piece:
                raise corrupt("a stream ends early")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _decode_stored(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


def _decode_deflate(data: bytes) -> Callable[[int], bytes]:
    decoder = zlib.decompressobj(-15)
    left = [data]

    def decode(most: int) -> bytes:
        piece = decoder.decompress(left[0], most)
        left[0] = decoder.unconsumed_tail
        return piece

    return decode


def _decode_lzma(data: bytes) -> Callable[[int], bytes]:
    try:
        import lzma
    except ImportError as error:  # a Python that was built without liblzma
        raise AgentFault(protocol.ERROR_MISSING, "this Python has no module lzma") from error
    options: Dict[str, Any] = dict(protocol.LZMA1, id=lzma.FILTER_LZMA1)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])
    left = [data]

    def decode(most: int) -> bytes:
        try:
            return decoder.decompress(left.pop() if left else b"", most)
        except lzma.LZMAError as error:
            raise corrupt(str(error)) from error

    return decode


_CODERS: Dict[int, Callable[[bytes], Callable[[int], bytes]]] = {
    protocol.CODER_STORED: _decode_stored,
    protocol.CODER_DEFLATE: _decode_deflate,
    protocol.CODER_LZMA: _decode_lzma,
}
