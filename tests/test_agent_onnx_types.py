"""Reading an ONNX file without onnx, checked against onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.runtimes.onnx_types import OnnxTypes, parse_onnx_types, read_onnx_types
from tests.agent_board import make_model, pack_model
from tests.made_onnx import FLOAT, INT64, make_identity
from tests.runtime_models import MODELS


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", (False, False)), ("fp16", (True, False)), ("int8", (False, True))]
)
def test_precisions_are_told_apart(precision: str, expected: tuple[bool, bool]) -> None:
    types = parse_onnx_types(MODELS[precision]())
    assert (types.has_half, types.is_quantized) == expected


def test_half_precision_is_seen_wherever_it_stands() -> None:
    half = np.ones(1, dtype=np.float16)
    constant = helper.make_node("Constant", [], ["h"], value=numpy_helper.from_array(half))
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)
    for nodes, constants in (
        ([cast], []),
        ([constant], []),
        ([], [numpy_helper.from_array(half, "h")]),
        ([_branch(constant)], []),
    ):
        assert parse_onnx_types(pack_model(nodes, constants, 17, 1)).has_half
    other = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)
    ten = helper.make_node("ReduceMax", ["x"], ["y"], keepdims=10)  # 10 is float16 for Cast alone
    assert not parse_onnx_types(pack_model([other, ten], [], 17, 1)).has_half


def _branch(node: onnx.NodeProto) -> onnx.NodeProto:
    body = helper.make_graph([node], "body", [], [])
    return helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)


def test_a_name_that_mentions_quantizing_quantizes_nothing() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["QuantizeLinear"]),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"]),
    ]
    assert not parse_onnx_types(pack_model(nodes, [], 17, 1)).is_quantized


def test_inputs_have_their_names_and_open_extents(tmp_path: Path) -> None:
    path = make_identity(tmp_path / "m.onnx", {"a": (FLOAT, ("n", 3, None)), "b": (INT64, ())})
    assert read_onnx_types(str(path)) == OnnxTypes(False, False, [("a", ["n", 3, None]), ("b", [])])


def test_weights_that_are_listed_as_inputs_are_none() -> None:
    model = onnx.load_from_string(make_model())
    model.graph.input.append(helper.make_tensor_value_info("kernel", FLOAT, [4, 3, 3, 3]))
    assert [name for name, _ in parse_onnx_types(model.SerializeToString()).inputs] == ["x"]


@pytest.mark.parametrize("content", [b"", b"not a model", make_model()[:300], b"\xff" * 64, b"\x08\x08"])
def test_what_is_no_whole_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole ONNX model"):
        read_onnx_types(str(path))
