"""A packed model gives the same file back, byte for byte, or nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from device_agent import protocol
from device_agent.expanding import PackedModel
from device_agent.faults import AgentFault
from host.compress import weight_packing
from host.compress.raw_tensors import find_raw_tensors
from host.compress.stream_coding import encode_stream, estimate_bits
from host.compress.weight_packing import pack_model, unpack_model, write_packed
from host.errors import BuildError
from tests.made_onnx import make_convolution

DTYPES = ("int8", "uint8", "int16", "float16", "float32", "int32", "float64", "int64", "bool")


def expand(packed: bytes) -> bytes:
    """What the board writes, without the process around it."""
    return b"".join(PackedModel(packed))


def make_model(*tensors: onnx.TensorProto, nodes: tuple[Any, ...] = ()) -> bytes:
    graph = helper.make_graph(nodes, "made", [], [], tensors)
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def hold(*arrays: np.ndarray[Any, Any]) -> bytes:
    """A model that holds these arrays."""
    return make_model(
        *(numpy_helper.from_array(array, f"tensor{number}") for number, array in enumerate(arrays))
    )


def sparse(size: int, share: float, bits: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Weights of so many bits; `share` of them are not zero."""
    generator = np.random.default_rng(seed)
    high = 2 ** (bits - 1)
    values = generator.integers(-high, high, size).astype(np.int8)
    return np.where(generator.random(size) < share, values, 0).astype(np.int8)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Any bits of any type, between gaps of any length."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    size = draw(st.integers(0, 2000))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    raw = generator.integers(0, 2 if dtype.kind == "b" else 256, (size, dtype.itemsize)).astype(np.uint8)
    if dtype in (np.int8, np.uint8) and draw(st.booleans()):
        raw = raw % 16 + np.uint8(draw(st.sampled_from([0, 120, 240])))
    empty = generator.random(size) >= draw(st.sampled_from([0.0, 0.003, 0.1, 0.3, 0.5, 1.0]))
    fill = draw(st.sampled_from([0, 0x80])) if dtype == np.uint8 else 0
    raw[empty] = fill
    return raw.astype(np.uint8).reshape(-1).view(dtype)


@settings(max_examples=150, deadline=None)
@given(st.lists(arrays(), max_size=4))
def test_any_tensors_come_back_bit_for_bit(tensors: list[np.ndarray[Any, Any]]) -> None:
    data = hold(*tensors)
    packed = write_packed(data)
    assert expand(packed.data) == data
    assert sum(dict(packed.parts).values()) == len(packed.data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_what_is_no_onnx_file_comes_back_too(data: bytes) -> None:
    assert expand(write_packed(data).data) == data


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5000, np.int8),
        np.full(5000, -128, np.int8),
        np.array([1, *[0] * 5000, -128, *[0] * 256, 127], np.int8),
        np.array([*[0] * 3000, 1], np.float32),
        np.full(3000, -0.0, np.float32),
        np.array([np.nan, -np.nan, np.inf, 1e-45] * 20, np.float32),
        np.array([-(2**31), 2**31 - 1, 0, -1] * 20, np.int32),
        np.full(4000, 128, np.uint8),
        np.array([7], np.int8),
        np.zeros((0, 3), np.float32),
    ],
    ids=[
        "all zero",
        "all -128",
        "long gaps",
        "one at the end",
        "-0.0",
        "odd floats",
        "extremes",
        "uint8's middle",
        "one element",
        "none",
    ],
)
def test_edge_cases_come_back(array: np.ndarray[Any, Any]) -> None:
    data = hold(array, sparse(500, 0.2, 4))
    assert expand(write_packed(data).data) == data


def test_a_made_model_comes_back_through_the_boards_own_program(tmp_path: Path) -> None:
    data = make_convolution(tmp_path / "model.onnx").read_bytes()
    packed = pack_model(data)
    assert unpack_model(packed.data) == data
    assert packed == pack_model(data)


def test_a_packed_file_that_would_not_come_back_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_packing, "_encode_number", lambda number: bytes([number % 128]))
    with pytest.raises(BuildError, match=r"cannot be expanded: .*damaged"):
        pack_model(hold(sparse(5000, 0.1, 4)))


def test_every_changed_byte_is_refused() -> None:
    packed = write_packed(hold(sparse(400, 0.2, 4), np.arange(40, dtype=np.float32))).data
    for at in range(len(packed)):
        changed = bytearray(packed)
        changed[at] ^= 1 << at % 8
        with pytest.raises(AgentFault):
            expand(bytes(changed))


def test_every_cut_and_every_addition_is_refused() -> None:
    packed = write_packed(hold(sparse(400, 0.2, 4))).data
    for wrong in [*(packed[:size] for size in range(len(packed))), packed + b"\0"]:
        with pytest.raises(AgentFault):
            expand(wrong)


def reseal(packed: bytes) -> bytes:
    """With the checksum that a forger would give it."""
    start = struct.calcsize(protocol.PACKED_START)
    magic, version, _ = struct.unpack_from(protocol.PACKED_START, packed)
    return struct.pack(protocol.PACKED_START, magic, version, zlib.crc32(packed[start:])) + packed[start:]


def test_a_forged_file_never_gives_another_model_of_the_same_hash() -> None:
    """Past the checksum: wrong streams end in a fault, or in bytes that the SHA-256 refuses."""
    data = hold(sparse(400, 0.2, 4), sparse(300, 0.03, 8), np.arange(40, dtype=np.int32))
    packed = write_packed(data).data
    for at in range(struct.calcsize(protocol.PACKED_START), len(packed)):
        changed = bytearray(packed)
        changed[at] ^= 1 << at % 8
        try:
            model = PackedModel(reseal(bytes(changed)))
            restored = b"".join(model)
        except AgentFault:
            continue
        assert len(restored) == model.size
        assert restored == data or zlib.crc32(restored) != zlib.crc32(data)


def forge(size: int, *streams: tuple[int, int, bytes]) -> bytes:
    """A file of these streams (name, coder, bytes) that claims a model of `size`."""
    head = struct.pack(protocol.PACKED_HEAD, b"\0" * 32, size, len(streams))
    table = b"".join(struct.pack(protocol.PACKED_STREAM, name, coder, len(it)) for name, coder, it in streams)
    start = struct.pack(protocol.PACKED_START, protocol.PACKED_MAGIC, protocol.PACKED_VERSION, 0)
    return reseal(start + head + table + b"".join(it for _, _, it in streams))


def bomb_layouts() -> Iterator[tuple[str, bytes]]:
    million = b"\xc0\x84\x3d"
    words = bytes([protocol.VALUES_WORDS])
    yield "scales", million
    yield "graph", b"\0\1" + million
    yield "elements", b"\0\1\0" + words + million
    yield "entries", b"\0\1\0" + words + b"\x10" + bytes([protocol.INDEX_GAPS]) + million
    yield "endless number", b"\xff" * 20


@pytest.mark.parametrize("layout", [pytest.param(layout, id=name) for name, layout in bomb_layouts()])
def test_a_layout_that_asks_for_more_than_its_model_is_refused(layout: bytes) -> None:
    coder, zeros = encode_stream(bytes(1_000_000))
    everything = [(protocol.VALUES_WORDS + plane, coder, zeros) for plane in range(4)]
    packed = forge(
        1000,
        (protocol.STREAM_LAYOUT, 0, layout),
        (protocol.STREAM_GRAPH, coder, zeros),
        (protocol.STREAM_GAPS, coder, zeros),
        *everything,
    )
    with pytest.raises(AgentFault, match=r"more than its model|does not end"):
        expand(packed)


def test_a_model_larger_than_any_onnx_file_is_refused() -> None:
    with pytest.raises(AgentFault, match="bytes"):
        PackedModel(forge(2**40, (protocol.STREAM_LAYOUT, 0, b"\0\0")))


@pytest.mark.parametrize("reach", [0, 1], ids=["gap", "run of gaps"])
def test_an_index_outside_of_its_tensor_is_refused(reach: int) -> None:
    layout = bytes([0, 1, 0, protocol.VALUES_BYTES, 40, protocol.INDEX_GAPS, 2])
    gaps = bytes([40, 0]) if reach == 0 else bytes([20, 20])
    packed = forge(
        40,
        (protocol.STREAM_LAYOUT, 0, layout),
        (protocol.STREAM_GAPS, 0, gaps),
        (protocol.VALUES_BYTES, 0, b"\1\1"),
    )
    with pytest.raises(AgentFault, match="outside"):
        expand(packed)


def test_another_version_is_named() -> None:
    packed = bytearray(write_packed(b"").data)
    packed[len(protocol.PACKED_MAGIC)] = 9
    with pytest.raises(AgentFault, match="version 9"):
        PackedModel(bytes(packed))


def test_ninety_percent_zeros_in_four_bits_take_a_tenth_of_the_bytes_and_less() -> None:
    size = 100_000
    weights = sparse(size, 0.1, 4)
    packed = write_packed(hold(weights))
    # 0.469 bits for where a weight is, and 4 bits for each: no code of independent symbols is shorter.
    least = (0.469 * size + 4 * np.count_nonzero(weights)) / 8
    assert least * 0.97 < len(packed.data) < least * 1.08
    assert packed.parts.values < 0.55 * len(packed.data)
    assert packed.parts.indices > 0.45 * len(packed.data)
    assert packed.parts.scales == 0


def test_dense_weights_have_no_indices() -> None:
    weights = np.random.default_rng(0).integers(1, 127, 20_000).astype(np.int8)
    packed = write_packed(hold(weights))
    assert packed.parts.indices == 0
    assert packed.parts.values < 1.01 * 20_000


def quantize(scales: np.ndarray[Any, Any], product: np.ndarray[Any, Any], input_scale: float) -> bytes:
    """Weights and bias of one layer, each with its scales, as int8 files hold them."""
    named = {
        "w": sparse(64 * len(scales), 0.1, 4),
        "w_scale": scales,
        "x_scale": np.float32(input_scale),
        "b": np.arange(len(scales), dtype=np.int32) - 100,
        "b_scale": product,
    }
    return make_model(
        *(numpy_helper.from_array(np.asarray(array), name) for name, array in named.items()),
        nodes=tuple(
            helper.make_node("DequantizeLinear", [name, f"{name}_scale"], [f"{name}_f"]) for name in "wbx"
        ),
    )


def test_the_scales_of_a_bias_are_kept_as_a_product() -> None:
    scales = np.random.default_rng(0).random(1000, np.float32)
    data = quantize(scales, scales * np.float32(0.037), 0.037)
    packed = write_packed(data)
    assert expand(packed.data) == data
    assert 3000 < packed.parts.scales <= 4000


def test_scales_that_are_no_product_to_the_last_bit_are_kept_as_they_are() -> None:
    scales = np.random.default_rng(0).random(1000, np.float32)
    product = scales * np.float32(0.037)
    product[500] = np.nextafter(product[500], np.float32(1))
    data = quantize(scales, product, 0.037)
    packed = write_packed(data)
    assert expand(packed.data) == data
    assert packed.parts.scales > 6000


def test_tensors_are_found_wherever_a_graph_may_hold_them() -> None:
    weight = numpy_helper.from_array(np.arange(50, dtype=np.float32), "weight")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=weight)], "inner", [], [], [weight]
    )
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    data = make_model(weight, nodes=(node,))
    found = find_raw_tensors(data)
    assert [data[tensor.begin : tensor.end] for tensor in found] == [weight.raw_data] * 5
    assert expand(write_packed(data).data) == data


def test_a_tensor_without_raw_bytes_stays_in_the_graph() -> None:
    tensor = helper.make_tensor("floats", TensorProto.FLOAT, [100], np.arange(100, dtype=np.float32))
    data = make_model(tensor)
    assert find_raw_tensors(data) == []
    assert expand(write_packed(data).data) == data


def test_bytes_that_cannot_be_coded_are_stored() -> None:
    noise = np.random.default_rng(0).bytes(5000)
    assert encode_stream(noise) == (protocol.CODER_STORED, noise)


def test_the_estimate_is_near_what_the_coder_needs() -> None:
    symbols = np.random.default_rng(0).geometric(0.3, 50_000).clip(0, 255).astype(np.uint8)
    _, coded = encode_stream(symbols.tobytes())
    assert estimate_bits(symbols) == pytest.approx(8 * len(coded), rel=0.1)
