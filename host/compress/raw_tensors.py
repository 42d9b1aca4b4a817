"""Where the raw bytes of tensors lie in an ONNX file, found without parsing what is in between.

An ONNX file is one protobuf message. What is read here is its wire format, so that the file can be cut
and put together again byte for byte, whichever program wrote it; the numbers of the fields are those of
onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

_NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
"""Which fields of which messages lead to tensors."""

_NODE_INPUT, _NODE_OPERATOR = 1, 4
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 2, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class RawTensor(NamedTuple):
    """The raw bytes of one tensor: data[begin:end]. `type` is TensorProto.DataType's number.

    `is_scale` is True for the scale of a QuantizeLinear or DequantizeLinear.
    """

    begin: int
    end: int
    type: int
    is_scale: bool = False


class _Field(NamedTuple):
    """One field of a message: data[begin:end] if it is bytes, else its value as a number."""

    number: int
    wire: int
    value: int
    begin: int
    end: int


def find_raw_tensors(data: bytes) -> list[RawTensor]:
    """All tensors of the model with raw bytes, subgraphs and functions included, in the order of the file.

    Tensors that keep their elements in other fields (`float_data`, other files) are not among them. Nothing
    is found in what is not protobuf.
    """
    try:
        found, scales = _walk(data)
    except ValueError:
        return []
    return sorted(tensor._replace(is_scale=name in scales) for name, tensor in found)


def _walk(data: bytes) -> tuple[list[tuple[bytes, RawTensor]], set[bytes]]:
    """Tensors by name, and the names of scales."""
    found: list[tuple[bytes, RawTensor]] = []
    scales: set[bytes] = set()
    ahead = [("model", 0, len(data))]
    while ahead:
        message, begin, end = ahead.pop()
        fields = list(_read_fields(data, begin, end))
        nested = _NESTED.get(message, {})
        ahead += [
            (nested[field.number], field.begin, field.end)
            for field in fields
            if field.wire == _BYTES and field.number in nested
        ]
        if message == "node":
            inputs = [data[field.begin : field.end] for field in fields if field.number == _NODE_INPUT]
            if _last_bytes(data, fields, _NODE_OPERATOR) in (b"QuantizeLinear", b"DequantizeLinear"):
                scales |= set(inputs[1:2])
        elif message == "tensor":
            raw = [field for field in fields if field.number == _TENSOR_RAW and field.wire == _BYTES]
            kind = [field.value for field in fields if field.number == _TENSOR_TYPE]
            if len(raw) == 1 and kind:
                name = _last_bytes(data, fields, _TENSOR_NAME)
                found.append((name, RawTensor(raw[0].begin, raw[0].end, kind[-1])))
    return found, scales


def _last_bytes(data: bytes, fields: list[_Field], number: int) -> bytes:
    """What stands last counts, as everywhere in protobuf."""
    return next((data[field.begin : field.end] for field in reversed(fields) if field.number == number), b"")


def _read_fields(data: bytes, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message data[at:end]. Raises ValueError where that is not one."""
    while at < end:
        key, at = _read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        if wire == _VARINT:
            value, after = _read_varint(data, at, end)
        elif wire == _BYTES:
            size, at = _read_varint(data, at, end)
            after = at + size
        elif wire in (_FIXED64, _FIXED32):
            after = at + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"a field of wire type {wire}")
        if after > end:
            raise ValueError("a field reaches beyond its message")
        yield _Field(number, wire, value, at, after)
        at = after


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends: seven bits in a byte, the lowest first."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number that does not end")
