"""Static int8: a float32 ONNX file becomes one with Q/DQ nodes, calibrated on training images."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from host.compress.data import Floats
from host.compress.evaluation import run_images, score_agreement
from host.compress.stripping import strip_model
from host.errors import BuildError
from host.specs.variant import Quantize

LEAST_AGREEMENT = 0.8
"""The least share of test images on which int8 must name the same class as the float32 it came from.

Sound int8 agrees on 95 % and more; a wrong scale or a saturated layer falls to a chance of one in ten.
What lies between is for accuracy and the profile's limits to judge.
"""

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one image after another to onnxruntime's calibrator."""

    def __init__(self, name: str, images: Floats) -> None:
        self._feeds = iter([{name: images[at : at + 1]} for at in range(len(images))])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


def quantize_model(source: Path, images: Floats, quantize: Quantize) -> onnx.ModelProto:
    """The file as int8: per-channel symmetric weights, per-tensor activations, calibrated on `images`."""
    with tempfile.TemporaryDirectory(prefix="boardbench-") as folder, _prints_to_stderr():
        prepared, target = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            target,
            _Calibration(onnx.load(prepared).graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=ACTIVATIONS[quantize.activation],
            calibrate_method=METHODS[quantize.calibration],
            # TensorRT and ARM64 kernels want a zero point of 0, which int8 has only when symmetric.
            extra_options={"ActivationSymmetric": quantize.activation == "int8"},
        )
        return strip_model(onnx.load(target))


@contextlib.contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """onnxruntime's histogram calibrators print; stdout belongs to the command's data."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def check_agreement(source: Path, quantized: bytes, images: Floats, label: str) -> None:
    """Raises BuildError naming `label` where int8 and float32 name too few images alike."""
    agreement = score_agreement(run_images(quantized, images), run_images(source, images))
    if agreement < LEAST_AGREEMENT:
        raise BuildError(
            f"{label}: int8 names the same class as float32 on {agreement:.1%} of the test images, "
            f"at least {LEAST_AGREEMENT:.0%} is expected",
            "Try another calibration (entropy, percentile), more calibration_images, or leave it out.",
        )


def count_lost_weights(source: Path, quantized: onnx.ModelProto) -> int:
    """How many weights that are not zero in float32 are rounded to zero in int8."""
    zeros_before = sum(_count_zeros(onnx.load(source), {"Conv", "ConvTranspose", "Gemm", "MatMul"}))
    return sum(_count_zeros(quantized, {"DequantizeLinear"})) - zeros_before


def _count_zeros(model: onnx.ModelProto, operators: set[str]) -> Iterator[int]:
    """Zeros in each weight (two extents and more) that one of the operators reads."""
    read = {name for node in model.graph.node if node.op_type in operators for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name in read and len(tensor.dims) >= 2:
            yield int((numpy_helper.to_array(tensor) == 0).sum())


def pick_calibration(images: Floats, quantize: Quantize) -> Floats:
    """The first training images, as many as the variant asks for. Raises BuildError if there are fewer."""
    if quantize.calibration_images > len(images):
        raise BuildError(
            f"calibration_images: {quantize.calibration_images} asked for, the training set has {len(images)}"
        )
    return np.ascontiguousarray(images[: quantize.calibration_images])
