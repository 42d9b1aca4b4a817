"""Small models in the precisions that runtimes tell apart, and how the agent opens them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_agent.runtimes.session import Opening
from tests.agent_board import IMAGES, make_model, pack_model


def make_quantized_model() -> bytes:
    """The convolution and the classifier of `make_model` in int8, with Q/DQ nodes around each."""
    generator = np.random.default_rng(4)
    constants = [
        _constant("x_scale", np.float32(0.03)),
        _constant("r_scale", np.float32(0.1)),
        _constant("no_zero", np.uint8(128)),
        _constant("zero", np.uint8(0)),
        _constant("kernel", generator.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)),
        _constant("kernel_scale", np.float32(0.01)),
        _constant("weights", generator.integers(-127, 127, (144, 10)).astype(np.int8)),
        _constant("weights_scale", np.float32(0.01)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "no_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "no_zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["kernel", "kernel_scale"], ["kernel_d"]),
        helper.make_node("Conv", ["x_d", "kernel_d"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "r_scale", "zero"], ["r_q"]),
        helper.make_node("DequantizeLinear", ["r_q", "r_scale", "zero"], ["r_d"]),
        helper.make_node("Flatten", ["r_d"], ["f"]),
        helper.make_node("DequantizeLinear", ["weights", "weights_scale"], ["weights_d"]),
        helper.make_node("MatMul", ["f", "weights_d"], ["y"]),
    ]
    return pack_model(nodes, constants, 17, "n")


def make_half_model() -> bytes:
    """A convolution in float16 between casts."""
    kernel = _constant("kernel", np.ones((4, 3, 3, 3), dtype=np.float16))
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "kernel"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    return pack_model(nodes, [kernel], 17, "n")


MODELS = {"fp32": make_model, "fp16": make_half_model, "int8": make_quantized_model}


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def make_opening(folder: Path, model: bytes, provider: str, /, **changes: Any) -> Opening:
    """What a worker asks a runtime to open, for one image unless `feed` says otherwise."""
    path = folder / "model.onnx"
    path.write_bytes(model)
    asked = Opening(
        model=str(path),
        sha256=hashlib.sha256(model).hexdigest(),
        provider=provider,
        threads=1,
        options={},
        feed={"x": IMAGES[:1]},
        cache=str(folder / "engines"),
    )
    return asked._replace(**changes)
