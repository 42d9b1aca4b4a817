"""Files of older operator sets: the same answers, and a reason where there is no way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from host.compress.opset_lowering import lower_opset
from host.errors import BuildError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3, 4, 4)).astype(np.float32)


def make(*nodes: onnx.NodeProto, rank: int = 2, **constants: object) -> onnx.ModelProto:
    """A model from `x` to `y` of these nodes."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, {"x": X})[0]
    return found


def mean(**attributes: Any) -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0, **attributes)
    return make(node, axes=np.array([2, 3]))


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_the_axes_of_a_reduction_become_an_attribute(opset: int) -> None:
    model = mean(noop_with_empty_axes=0)
    lowered = lower_opset(model, opset, "m")
    assert lowered.opset_import[0].version == opset
    assert [list(one.ints) for one in lowered.graph.node[0].attribute if one.name == "axes"] == [[2, 3]]
    assert list(lowered.graph.initializer) == []  # nobody reads the constant any more
    np.testing.assert_array_equal(run(lowered), run(model))
    assert model == mean(noop_with_empty_axes=0)  # the input is as it was


def test_what_an_older_opset_does_anyway_is_left_out() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=0)
    model = make(node, shape=np.array([-1, 48]))
    lowered = lower_opset(model, 13, "m")
    assert list(lowered.graph.node[0].attribute) == []
    np.testing.assert_array_equal(run(lowered), run(model))


def test_a_reshape_that_may_ask_for_nothing_but_does_not_is_the_same_as_ever() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)
    model = make(node, shape=np.array([-1, 48]))
    np.testing.assert_array_equal(run(lower_opset(model, 13, "m")), run(model))


def test_equal_parts_are_what_an_older_split_makes() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=3, num_outputs=2),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    model = make(*nodes, rank=4)
    np.testing.assert_array_equal(run(lower_opset(model, 13, "m")), run(model))


def test_hard_swish_is_what_opset_14_defines_it_by() -> None:
    model = make(helper.make_node("HardSwish", ["x"], ["y"]), rank=4)
    lowered = lower_opset(model, 13, "m")
    assert [node.op_type for node in lowered.graph.node] == ["HardSigmoid", "Mul"]
    np.testing.assert_allclose(run(lowered), run(model), atol=1e-6)
    assert [node.op_type for node in lower_opset(model, 14, "m").graph.node] == ["HardSwish"]


def test_what_an_older_opset_cannot_say_is_named() -> None:
    empty = helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)
    with pytest.raises(
        BuildError, match="net: it cannot be written in opset 13: its Reshape has no allowzero"
    ):
        lower_opset(make(empty, shape=np.array([0, 48])), 13, "net")
    with pytest.raises(BuildError, match="opset 17: it has no Mish"):
        lower_opset(make(helper.make_node("Mish", ["x"], ["y"]), rank=4), 17, "net")
    axes = helper.make_node("Identity", ["fixed"], ["axes"])
    reduced = helper.make_node("ReduceMean", ["x", "axes"], ["y"])
    with pytest.raises(BuildError, match="ReduceMean takes axes only where they are fixed"):
        lower_opset(make(axes, reduced, rank=4, fixed=np.array([2])), 17, "net")


def test_a_lowered_file_opens_with_a_runtime_of_its_time() -> None:
    lowered = lower_opset(mean(), 13, "net")
    assert lowered.ir_version == helper.find_min_ir_version_for(list(lowered.opset_import))
    onnx.checker.check_model(lowered, full_check=True)
