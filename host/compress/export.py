"""From a torch model to an ONNX file: the same bytes for the same weights, the same answers as torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from torch import nn

from host.compress.data import Floats
from host.compress.evaluation import run_images
from host.compress.opset_lowering import lower_opset
from host.compress.stripping import serialize_model, strip_model
from host.compress.user_code import blame_code
from host.errors import BuildError

INPUT = "input"
OUTPUT = "output"

OLDEST_WRITTEN = 18
"""torch's exporter writes no older operator set."""

TOLERANCE = 1e-4
"""How far an answer of the export may be from torch's, relative to the largest of torch's answers.

The two sum in different orders, in float32: 50 layers differ by about 1e-6 of the largest answer.
"""


def export_model(model: nn.Module, images: Floats, opset: int, label: str) -> onnx.ModelProto:
    """The model as ONNX with an open batch extent, checked against torch on `images`.

    Raises BuildError naming `label` and the largest difference where the two do not agree.
    """
    written = max(opset, OLDEST_WRITTEN)
    exported = strip_model(_export(model.eval(), torch.from_numpy(images[:2]), written, label))
    if opset < written:
        exported = strip_model(lower_opset(exported, opset, label))
    check_parity(model, exported, images, label)
    return exported


def _export(model: nn.Module, example: torch.Tensor, opset: int, label: str) -> onnx.ModelProto:
    with blame_code(f"{label}: torch's exporter cannot write it"), _quiet_exporter():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise BuildError(f"{label}: torch's exporter returned nothing")
    exported: onnx.ModelProto = program.model_proto
    found = {entry.domain: entry.version for entry in exported.opset_import}.get("")
    if found != opset:
        raise BuildError(f"{label}: asked for opset {opset}, torch's exporter wrote opset {found}")
    return exported


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's warnings on its own deprecated calls; its failures are exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_parity(model: nn.Module, exported: onnx.ModelProto, images: Floats, label: str) -> None:
    """Compare the export's answers with torch's on every image, at once and one alone."""
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    data = serialize_model(exported)
    together = run_images(data, images, batch=len(images))
    alone = run_images(data, images[:1], batch=1)
    if together.shape != expected.shape:
        raise BuildError(f"{label}: the export answers {together.shape}, torch answers {expected.shape}")
    difference = max(float(np.abs(together - expected).max()), float(np.abs(alone - expected[:1]).max()))
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:  # also refuses NaN
        raise BuildError(
            f"{label}: the exported model disagrees with torch: the largest difference is "
            f"{difference:.3g}, allowed is {allowed:.3g}",
            "One of its operators is exported differently than it trains; check it with "
            "`torch.onnx.export(..., report=True)`.",
        )
