"""How good an ONNX file is on this machine, and what a board needs to find out for itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from host.compress.data import Floats, Images
from host.compress.labelled_images import Labels
from host.compress.packing import pack_arrays

BATCH = 64


def run_images(model: bytes | Path, x: Floats, batch: int = BATCH) -> Floats:
    """The answers (N, classes) of a model with one input to images (N, C, H, W), by onnxruntime here."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 3  # its warnings on graph clean-up say nothing to a user
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    answers = [session.run(None, {name: x[at : at + batch]})[0] for at in range(0, len(x), batch)]
    return np.concatenate(answers).astype(np.float32, copy=False)


def score_accuracy(outputs: Floats, labels: Labels) -> float:
    """The share of images whose largest output is their label."""
    return float((outputs.argmax(axis=1) == labels).mean())


def score_agreement(outputs: Floats, reference: Floats) -> float:
    """The share of images on which two models' largest outputs are the same."""
    return float((outputs.argmax(axis=1) == reference.argmax(axis=1)).mean())


def pack_evaluation(images: Images) -> bytes:
    """An .npz of `x` (N, C, H, W) float32 and `y` (N,) int64: what a board measures accuracy on."""
    return pack_arrays({"x": images.x, "y": images.y})


def pack_reference(outputs: Floats) -> bytes:
    """An .npz of `outputs` (N, classes) float32: what a board's answers are compared with."""
    return pack_arrays({"outputs": outputs})
