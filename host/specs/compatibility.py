"""Which variants a runtime can run on no board: known from what is asked, before anything is built."""

from __future__ import annotations

from host.specs.profile import RuntimeSettings
from host.specs.variant import Quantize, Variant


def describe_mismatch(variant: Variant, runtime: RuntimeSettings) -> str | None:
    """Why no board can run a variant with these settings; None where nothing speaks against it."""
    if runtime.name == "ncnn":
        return _suits_ncnn(variant.quantize, runtime.batch)
    if runtime.name == "tensorrt":
        return _suits_tensorrt(variant.quantize)
    return None


def _suits_ncnn(quantize: Quantize | None, batch: int) -> str | None:
    if batch > 1:
        return f"it takes one image at a time, not {batch}"
    if quantize is not None:
        return "it takes float32 models; `inference_precision: f16` computes with less"
    return None


def _suits_tensorrt(quantize: Quantize | None) -> str | None:
    """TensorRT's int8 has no zero points other than 0, and no scales that are found as a model runs."""
    if quantize is None or quantize.scheme == "fp16":
        return None
    if quantize.scheme == "static-int8":
        return None if quantize.is_symmetric else "its int8 is symmetric; quantize with `target: tensorrt`"
    return f"it cannot run {quantize.scheme}; quantize with `scheme: static-int8, target: tensorrt`"
