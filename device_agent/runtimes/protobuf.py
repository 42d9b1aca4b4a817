"""Fields of a Protocol Buffers message, read where they lie: boards have no package for it.

What is not asked for is stepped over, so that the weights of a model are never copied. The encoding is that
of protobuf.dev/programming-guides/encoding.
"""

import mmap
from contextlib import contextmanager
from typing import Any, Iterator, List, Tuple

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_SIZES = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}

Span = Tuple[int, int]


@contextmanager
def map_message(path: str) -> Iterator[Any]:
    """The bytes of a file. Reading what is no whole message raises ValueError, with the path."""
    with open(path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError("{} is not a whole ONNX model: {}".format(path, error)) from error


def find_values(data: Any, span: Span, *path: int) -> Iterator[Any]:
    """The values at a path of nested fields: numbers, or the spans of texts and messages."""
    for field, value in read_fields(data, span):
        if field != path[0]:
            continue
        if len(path) == 1:
            yield value
        else:
            yield from find_values(data, value, *path[1:])


def find_texts(data: Any, span: Span, *path: int) -> List[bytes]:
    """The bytes at a path of nested fields."""
    return [bytes(data[start:end]) for start, end in find_values(data, span, *path)]


def read_fields(data: Any, span: Span) -> Iterator[Tuple[int, Any]]:
    """Number and value of each field: a number, or from where to where its bytes lie. Raises ValueError."""
    place, end = span
    while place < end:
        tag, place = _read_varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            number, place = _read_varint(data, place)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            length, place = _read_varint(data, place)
        elif kind in _SIZES:
            length = _SIZES[kind]
        else:
            raise ValueError("no field begins at byte {}".format(place))
        if place + length > end:
            raise ValueError("the field at byte {} ends behind what holds it".format(place))
        yield tag >> 3, (place, place + length)
        place += length


def _read_varint(data: Any, place: int) -> Tuple[int, int]:
    """Seven bits a byte, the lowest first; the number and the place behind it."""
    number = shift = 0
    while shift < 70:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
    raise ValueError("the number at byte {} has no end".format(place))
