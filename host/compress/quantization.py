"""A float32 ONNX file with fewer bits: int8 calibrated on training images, int8 found as it runs, or fp16."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from host.compress.data import Floats
from host.compress.dynamic_int8 import quantize_dynamically
from host.compress.evaluation import run_images, score_agreement
from host.compress.layer_groups import match_layers
from host.compress.stripping import strip_model
from host.errors import BuildError
from host.specs.variant import Quantize

LEAST_AGREEMENT = 0.8
"""The least share of test images on which a quantized file must name the same class as its float32 source.

Sound int8 agrees on 95 % and more; a wrong scale or a saturated layer falls to a chance of one in ten.
What lies between is for accuracy and the profile's limits to judge.
"""

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
WEIGHT_READERS = {*WEIGHTED, "DequantizeLinear", "ConvInteger", "MatMulInteger"}

BATCH = 16


def quantize_file(
    source: Path, images: Floats, quantize: Quantize, *, excluded: Collection[str] = ()
) -> onnx.ModelProto:
    """The float32 file as `quantize` says, for the schemes that need no torch model (all but mixed).

    `images` (N, C, H, W) calibrate static int8. What `quantize.exclude` and `excluded` name stays in float.
    """
    if quantize.scheme == "static-int8":
        return Calibrated(source, images, quantize).write(excluded)
    if quantize.scheme == "fp16":
        return strip_model(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    model = onnx.load(source)
    left_out = _exclude_nodes(model, quantize, excluded)
    return strip_model(quantize_dynamically(model, left_out))


@dataclass(frozen=True)
class Calibrated:
    """A file and the ranges of its activations over `images`: from both, int8 is written in moments."""

    source: Path
    images: Floats
    quantize: Quantize

    @cached_property
    def _prepared(self) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory(prefix="boardbench-") as folder:
            path = Path(folder, "prepared.onnx")
            quant_pre_process(self.source, path)
            return pool_globally(onnx.load(path))

    @cached_property
    def _ranges(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="boardbench-") as folder, _prints_to_stderr():
            path = Path(folder, "prepared.onnx")
            onnx.save(self._prepared, path)
            method = METHODS[self.quantize.effective_calibration]
            calibrator = create_calibrator(
                path,
                _list_operators(),
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=method,
            )
            # A histogram is made of one array: there, equal batches would be needed, and all at once is one.
            batch = BATCH if method is CalibrationMethod.MinMax else len(self.images)
            calibrator.collect_data(_Calibration(self._prepared, self.images, batch))
            return calibrator.compute_data()

    def list_layers(self) -> tuple[str, ...]:
        """The names of the layers that can be left in float."""
        return tuple(name_layers(self._prepared))

    def write(
        self, excluded: Collection[str] = (), *, only: Collection[str] | None = None
    ) -> onnx.ModelProto:
        """The file with Q/DQ nodes: per-channel symmetric weights, per-tensor activations.

        Layers named in `excluded` stay in float; with `only`, all but those, and all other operators too.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._prepared)
        layers = name_layers(model)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=ACTIVATIONS[self.quantize.effective_activation],
            tensors_range=self._ranges,
            nodes_to_quantize=[node for name in only or () for node in layers[name]],
            nodes_to_exclude=_exclude_nodes(model, self.quantize, excluded),
            op_types_to_quantize=_list_operators(),
            extra_options={"ActivationSymmetric": self.quantize.is_symmetric},
        )
        quantizer.quantize_model()
        return strip_model(quantizer.model.model)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds batches of images to onnxruntime's calibrator; single images where the file fixes its batch."""

    def __init__(self, model: onnx.ModelProto, images: Floats, batch: int) -> None:
        fed = model.graph.input[0]
        fixed = fed.type.tensor_type.shape.dim[0].dim_value
        size = fixed or batch
        self._feeds = iter([{fed.name: images[at : at + size]} for at in range(0, len(images), size)])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


@contextlib.contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """onnxruntime's histogram calibrators print; stdout belongs to the command's data."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _list_operators() -> list[str]:
    """All that onnxruntime can quantize: each float operator between two int8 ones has to convert."""
    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def name_layers(model: onnx.ModelProto) -> dict[str, list[str]]:
    """The nodes of each layer. A layer has torch's name, which is that of its weight without `.weight`."""
    stored = {tensor.name for tensor in model.graph.initializer}
    layers: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and node.input[1] in stored:
            layers.setdefault(node.input[1].removesuffix(".weight"), []).append(node.name)
    return layers


def _exclude_nodes(model: onnx.ModelProto, quantize: Quantize, excluded: Collection[str]) -> list[str]:
    layers = name_layers(model)
    names = match_layers(quantize.exclude, list(layers), "exclude") | set(excluded)
    return [node for name in sorted(names) for node in layers[name]]


def pool_globally(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with GlobalAveragePool where it takes the mean over height and width.

    torch's exporter writes ReduceMean, which onnxruntime has in float only.
    """
    pooled = onnx.ModelProto()
    pooled.CopyFrom(model)
    values = {tensor.name: tensor for tensor in pooled.graph.initializer}
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in pooled.graph.value_info}
    nodes = []
    for node in pooled.graph.node:
        axes = node.input[1] if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        is_spatial = axes in values and ranks.get(node.input[0]) == 4
        if not is_spatial or {int(axis) % 4 for axis in numpy_helper.to_array(values[axes])} != {2, 3}:
            nodes.append(node)
            continue
        keeps = next((item.i for item in node.attribute if item.name == "keepdims"), 1)
        made = node.output[0] if keeps else f"{node.output[0]}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [made], node.name))
        if not keeps:
            nodes.append(helper.make_node("Flatten", [made], [node.output[0]], f"{node.name}_flat", axis=1))
    del pooled.graph.node[:]
    pooled.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    unread = [tensor for tensor in pooled.graph.initializer if tensor.name not in read]
    for tensor in unread:
        pooled.graph.initializer.remove(tensor)
    return pooled


def check_agreement(source: Path, quantized: bytes, images: Floats, label: str) -> None:
    """Raises BuildError naming `label` where the quantized file names too few images as its source does.

    For mixed, whose fewer bits may cost more than that, see `check_above_chance`.
    """
    agreement = score_agreement(run_images(quantized, images), run_images(source, images))
    if agreement < LEAST_AGREEMENT:
        raise BuildError(
            f"{label}: quantized, it names the same class as float32 on {agreement:.1%} of the test images, "
            f"at least {LEAST_AGREEMENT:.0%} is expected",
            "Try another calibration (entropy, percentile), more calibration_images, or auto_exclude.",
        )


def check_above_chance(accuracy: float, float_accuracy: float, classes: int, label: str) -> None:
    """Raises BuildError where quantizing left nothing but guessing of a model that had learned something."""
    guessing = 1.5 / classes
    if accuracy < guessing <= float_accuracy / 1.5:
        raise BuildError(
            f"{label}: quantized, it is right on {accuracy:.1%} of the test images, as guessing is; "
            f"in float32 it was right on {float_accuracy:.1%}",
            "Give it more bits, `finetune` or `auto_exclude` under `quantize`.",
        )


def count_lost_weights(source: Path, quantized: onnx.ModelProto) -> int:
    """How many weights that are not zero in the float32 file are rounded to zero in the other."""
    return sum(_count_zeros(quantized)) - sum(_count_zeros(onnx.load(source)))


def _count_zeros(model: onnx.ModelProto) -> Iterator[int]:
    """Zeros in each weight: what has two extents and more, and is read by a layer or dequantized."""
    read = {name for node in model.graph.node if node.op_type in WEIGHT_READERS for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name in read and len(tensor.dims) >= 2:
            yield int((numpy_helper.to_array(tensor) == 0).sum())


def pick_calibration(images: Floats, quantize: Quantize) -> Floats:
    """The first training images, as many as the variant asks for, or as there are where it asks for none.

    Raises BuildError if there are fewer than it asks for.
    """
    asked = quantize.calibration_images
    if asked is not None and asked > len(images):
        raise BuildError(
            f"calibration_images: {asked} asked for, the training set has {len(images)}",
            "Ask for fewer, or leave calibration_images out.",
        )
    return np.ascontiguousarray(images[: quantize.effective_calibration_images])
