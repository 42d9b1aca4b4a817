"""A variant: the chain of transforms that makes one deployable file of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from host.specs.record import Record


class FineTune(Record):
    """Training after pruning, with the recipe's other settings; masks are held."""

    epochs: int = Field(ge=1)
    learning_rate: float = Field(0.02, gt=0)


class Prune(Record):
    """What is removed. `weight` sets single weights to zero, `channel` removes whole channels physically.

    `sparsity` is the asked fraction of weights or channels. `round_to` keeps channel counts multiples
    of it, so that vector instructions stay full. The classifier's outputs are never removed.
    """

    granularity: Literal["weight", "channel"]
    criterion: Literal["l1", "l2"] = "l1"
    sparsity: float = Field(gt=0, lt=1)
    scope: Literal["global", "layer"] | None = None
    round_to: int | None = Field(None, ge=1, le=256)
    finetune: FineTune | None = None

    @model_validator(mode="after")
    def _fits_granularity(self) -> Prune:
        if self.granularity == "weight" and self.round_to is not None:
            raise ValueError("round_to counts channels; it has no meaning with granularity: weight")
        return self

    @property
    def effective_scope(self) -> Literal["global", "layer"]:
        """Weights compete across the model, channels within a layer, unless the profile says otherwise."""
        return self.scope or ("global" if self.granularity == "weight" else "layer")

    @property
    def effective_round_to(self) -> int:
        return self.round_to or 8


class Quantize(Record):
    """Static int8 as Q/DQ nodes: symmetric per-channel weights, per-tensor activations.

    `activation` is `uint8` (U8S8, what x86 wants) or `int8` (S8S8, what ARM64 and TensorRT want).
    """

    scheme: Literal["static-int8"]
    activation: Literal["uint8", "int8"] = "uint8"
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    calibration_images: int = Field(128, ge=1)


class Export(Record):
    """How the ONNX file is written. torch's exporter writes the operator sets 18 to 23."""

    opset: int = Field(18, ge=18, le=23)


class Variant(Record):
    """A chain in the order prune, fine-tune, quantize, export. `{}` is dense fp32."""

    prune: Prune | None = None
    quantize: Quantize | None = None
    export: Export = Export()

    @property
    def precision(self) -> str:
        return "fp32" if self.quantize is None else "int8"

    @property
    def is_dense(self) -> bool:
        """Whether this is the baseline of every comparison: nothing pruned, nothing quantized."""
        return self.prune is None and self.quantize is None

    @property
    def label(self) -> str:
        """What a person calls it, such as `channel-l2-50+int8`; `plan` makes equal labels unique."""
        parts = []
        if self.prune is not None:
            parts.append(f"{self.prune.granularity}-{self.prune.criterion}-{self.prune.sparsity * 100:g}")
        if self.quantize is not None:
            parts.append("int8")
        return "+".join(parts) or "dense"
