"""The nodes of an ONNX file and nothing else: boards have no onnx package, and weights are stepped over.

Field numbers are those of onnx/onnx.proto.
"""

import mmap
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

_GRAPH_OF_MODEL = 7
_NODE_OF_GRAPH = 1
_TEXTS_OF_NODE = {1: "inputs", 2: "outputs", 3: "name", 4: "op"}
_SIZES = {1: 8, 5: 4}  # wire types of fixed size


class GraphNode(NamedTuple):
    """One node: which tensors it reads and writes."""

    name: str
    op: str
    inputs: List[str]
    outputs: List[str]


def read_nodes(path: str) -> List[GraphNode]:
    """The nodes of the main graph, in the order of the file. Raises ValueError where it is no ONNX file."""
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            return list(_find_nodes(content, len(content)))
        finally:
            content.close()


def _find_nodes(content: Any, size: int) -> Iterator[GraphNode]:
    for field, start, end in _list_fields(content, 0, size):
        if field == _GRAPH_OF_MODEL:
            for inner, begin, stop in _list_fields(content, start, end):
                if inner == _NODE_OF_GRAPH:
                    yield _read_node(content, begin, stop)


def _read_node(content: Any, start: int, end: int) -> GraphNode:
    told: Dict[str, List[str]] = {name: [] for name in _TEXTS_OF_NODE.values()}
    for field, begin, stop in _list_fields(content, start, end):
        if field in _TEXTS_OF_NODE:
            told[_TEXTS_OF_NODE[field]].append(content[begin:stop].decode("utf-8", "replace"))
    return GraphNode("".join(told["name"][-1:]), "".join(told["op"][-1:]), told["inputs"], told["outputs"])


def _list_fields(content: Any, at: int, end: int) -> Iterator[Tuple[int, int, int]]:
    """The number of each field that has a length, and from where to where its content lies."""
    while at < end:
        key, at = _read_varint(content, at, end)
        kind = key & 7
        if kind == 0:
            _, at = _read_varint(content, at, end)
        elif kind in _SIZES:
            at += _SIZES[kind]
        elif kind == 2:
            size, at = _read_varint(content, at, end)
            if size > end - at:
                raise ValueError("a field of the ONNX file is longer than the file")
            yield key >> 3, at, at + size
            at += size
        else:
            raise ValueError("the ONNX file has a field of the unknown wire type {}".format(kind))


def _read_varint(content: Any, at: int, end: int) -> Tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the ONNX file is cut short")
