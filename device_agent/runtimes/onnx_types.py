"""What an ONNX file says of its types and shapes. Field numbers are those of onnx/onnx.proto."""

from typing import Any, Iterator, List, NamedTuple, Tuple, Union

from device_agent.runtimes.protobuf import Span, find_texts, find_values, map_message

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
    with map_message(path) as data:
        return parse_onnx_types(data)


def parse_onnx_types(data: Any) -> OnnxTypes:
    """The types of a model in bytes, or in what reads like bytes."""
    graphs = list(find_values(data, (0, len(data)), _GRAPH))
    if not graphs:
        raise ValueError("it has no graph")
    every = [inner for graph in graphs for inner in _walk_graphs(data, graph)]
    operators = {text for graph in every for text in find_texts(data, graph, _NODE, _OPERATOR)}
    has_half = any(_has_half(data, graph) for graph in every)
    return OnnxTypes(has_half, bool(operators & _QUANTIZERS), _read_inputs(data, graphs[0]))


def _walk_graphs(data: Any, graph: Span) -> Iterator[Span]:
    """A graph and those inside its nodes: branches and bodies of loops."""
    yield graph
    for inner in find_values(data, graph, _NODE, _ATTRIBUTE, _ATTRIBUTE_GRAPH):
        yield from _walk_graphs(data, inner)


def _has_half(data: Any, graph: Span) -> bool:
    """Whether an input, output or constant of one graph is in float16, or something is cast to it."""
    paths = [
        (_INITIALIZER, _TENSOR_DATA_TYPE),
        (_INPUT, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT),
        (_OUTPUT, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT),
        (_NODE, _ATTRIBUTE, _ATTRIBUTE_TENSOR, _TENSOR_DATA_TYPE),
    ]
    return any(_FLOAT16 in find_values(data, graph, *path) for path in paths) or any(
        _FLOAT16 in find_values(data, node, _ATTRIBUTE, _ATTRIBUTE_INT)
        for node in find_values(data, graph, _NODE)
        if b"Cast" in find_texts(data, node, _OPERATOR)
    )


def _read_inputs(data: Any, graph: Span) -> List[Tuple[str, List[Extent]]]:
    """Before IR version 4 weights are inputs as well; those have their values in the file."""
    weights = set(find_texts(data, graph, _INITIALIZER, _TENSOR_NAME))
    inputs: List[Tuple[str, List[Extent]]] = []
    for span in find_values(data, graph, _INPUT):
        name = b"".join(find_texts(data, span, _VALUE_NAME))
        if name not in weights:
            dimensions = find_values(data, span, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIMENSION)
            inputs.append((name.decode(), [_read_extent(data, one) for one in dimensions]))
    return inputs


def _read_extent(data: Any, dimension: Span) -> Extent:
    for number in find_values(data, dimension, _EXTENT):
        return int(number)
    for name in find_texts(data, dimension, _EXTENT_NAME):
        return name.decode()
    return None
