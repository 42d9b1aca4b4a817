"""What an ONNX file says of its types and shapes, read without any package: boards need not have onnx.

The field numbers are those of onnx/onnx.proto, the encoding is that of Protocol Buffers. Weights are skipped.
"""

import mmap
from typing import Any, Iterator, List, NamedTuple, Tuple, Union

_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_OPERATOR, _ATTRIBUTE = 4, 5
_ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 3, 5, 6
_TENSOR_DATA_TYPE, _TENSOR_NAME = 2, 8
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR = 1, 2, 1
_TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_DIMENSION = 1, 2, 1
_EXTENT, _EXTENT_NAME = 1, 2

_FLOAT16 = 10
_QUANTIZERS = {b"QuantizeLinear", b"DequantizeLinear"}
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

Span = Tuple[int, int]
Extent = Union[int, str, None]


class OnnxTypes(NamedTuple):
    """Whether tensors are in float16 and nodes quantize, and the inputs that must be fed.

    `inputs` are names and shapes; an extent that the file leaves open is its name or None.
    """

    has_half: bool
    is_quantized: bool
    inputs: List[Tuple[str, List[Extent]]]


def read_onnx_types(path: str) -> OnnxTypes:
    """The types of a file. Raises ValueError where it is not a whole ONNX model."""
    with open(path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_onnx_types(data)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError("{} is not a whole ONNX model: {}".format(path, error)) from error


def parse_onnx_types(data: Any) -> OnnxTypes:
    """The types of a model in bytes, or in what reads like bytes."""
    graphs = list(_find(data, (0, len(data)), _GRAPH))
    if not graphs:
        raise ValueError("it has no graph")
    every = [inner for graph in graphs for inner in _walk_graphs(data, graph)]
    operators = {data[start:end] for graph in every for start, end in _find(data, graph, _NODE, _OPERATOR)}
    has_half = any(_has_half(data, graph) for graph in every)
    return OnnxTypes(has_half, bool(operators & _QUANTIZERS), _read_inputs(data, graphs[0]))


def _walk_graphs(data: Any, graph: Span) -> Iterator[Span]:
    """A graph and those inside its nodes: branches and bodies of loops."""
    yield graph
    for inner in _find(data, graph, _NODE, _ATTRIBUTE, _ATTRIBUTE_GRAPH):
        yield from _walk_graphs(data, inner)


def _has_half(data: Any, graph: Span) -> bool:
    """Whether an input, output or constant of one graph is in float16, or something is cast to it."""
    paths = [
        (_INITIALIZER, _TENSOR_DATA_TYPE),
        (_INPUT, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT),
        (_OUTPUT, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT),
        (_NODE, _ATTRIBUTE, _ATTRIBUTE_TENSOR, _TENSOR_DATA_TYPE),
    ]
    return any(_FLOAT16 in _find(data, graph, *path) for path in paths) or any(
        _FLOAT16 in _find(data, node, _ATTRIBUTE, _ATTRIBUTE_INT)
        for node in _find(data, graph, _NODE)
        if b"Cast" in _find_texts(data, node, _OPERATOR)
    )


def _read_inputs(data: Any, graph: Span) -> List[Tuple[str, List[Extent]]]:
    """Before IR version 4 weights are inputs as well; those have their values in the file."""
    weights = set(_find_texts(data, graph, _INITIALIZER, _TENSOR_NAME))
    inputs: List[Tuple[str, List[Extent]]] = []
    for span in _find(data, graph, _INPUT):
        name = b"".join(_find_texts(data, span, _VALUE_NAME))
        if name not in weights:
            dimensions = _find(data, span, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIMENSION)
            inputs.append((name.decode(), [_read_extent(data, one) for one in dimensions]))
    return inputs


def _read_extent(data: Any, dimension: Span) -> Extent:
    for number in _find(data, dimension, _EXTENT):
        return int(number)
    for name in _find_texts(data, dimension, _EXTENT_NAME):
        return name.decode()
    return None


def _find_texts(data: Any, span: Span, *path: int) -> List[bytes]:
    return [bytes(data[start:end]) for start, end in _find(data, span, *path)]


def _find(data: Any, span: Span, *path: int) -> Iterator[Any]:
    """The values at a path of nested fields: numbers, or the spans of texts and messages."""
    for field, value in _read_fields(data, span):
        if field != path[0]:
            continue
        if len(path) == 1:
            yield value
        else:
            yield from _find(data, value, *path[1:])


def _read_fields(data: Any, span: Span) -> Iterator[Tuple[int, Any]]:
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
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
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
