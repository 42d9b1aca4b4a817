"""The newest ONNX opset that a runtime accepts, found by offering tiny models: no table of versions."""

from typing import Callable, Optional

NEWEST_OPSET = 30
_NO_OPSET = 1000
OLDEST_OPSET = 7
# Runtimes refuse a newer IR than theirs as well, so the models use one that all of them know.
_IR_VERSION = 4
_FLOAT = 1


def find_max_opset(accepts: Callable[[bytes], bool]) -> Optional[int]:
    """The highest opset whose model is accepted; None if none is, or if even one that does not exist is."""
    if accepts(encode_identity(_NO_OPSET)):
        return None
    for opset in range(NEWEST_OPSET, OLDEST_OPSET - 1, -1):
        if accepts(encode_identity(opset)):
            return opset
    return None


def encode_identity(opset: int) -> bytes:
    """The bytes of an ONNX model that copies one float: field numbers are those of onnx/onnx.proto."""
    node = _text(1, "x") + _text(2, "y") + _text(4, "Identity")
    graph = _field(1, node) + _text(2, "probe") + _field(11, _value("x")) + _field(12, _value("y"))
    opset_import = _text(1, "") + _number(2, opset)
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, opset_import)


def _value(name: str) -> bytes:
    """A ValueInfoProto of a tensor of one float."""
    dimension = _field(1, _number(1, 1))
    tensor = _number(1, _FLOAT) + _field(2, dimension)
    return _text(1, name) + _field(2, _field(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
