"""The nodes of an ONNX file and nothing else. Field numbers are those of onnx/onnx.proto."""

from typing import Any, List, NamedTuple

from device_agent.runtimes.protobuf import Span, find_texts, find_values, map_message

_GRAPH_OF_MODEL = 7
_NODE_OF_GRAPH = 1
_INPUT, _OUTPUT, _NAME, _OPERATOR = 1, 2, 3, 4


class GraphNode(NamedTuple):
    """One node: which tensors it reads and writes."""

    name: str
    op: str
    inputs: List[str]
    outputs: List[str]


def read_nodes(path: str) -> List[GraphNode]:
    """The nodes of the main graph, in the order of the file. Raises ValueError where it is no ONNX file."""
    with map_message(path) as data:
        spans = find_values(data, (0, len(data)), _GRAPH_OF_MODEL, _NODE_OF_GRAPH)
        return [_read_node(data, span) for span in spans]


def _read_node(data: Any, span: Span) -> GraphNode:
    def read(field: int) -> List[str]:
        return [text.decode("utf-8", "replace") for text in find_texts(data, span, field)]

    return GraphNode("".join(read(_NAME)[-1:]), "".join(read(_OPERATOR)[-1:]), read(_INPUT), read(_OUTPUT))
