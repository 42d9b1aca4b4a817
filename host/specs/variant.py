"""A variant: the chain of transforms that makes one deployable file of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from host.specs.recipe import Augment, Training
from host.specs.record import Record, matching

Granularity = Literal["weight", "pattern", "vector", "kernel", "channel"]
Criterion = Literal["l1", "l2", "random", "taylor", "lamp", "bn-scale"]
Bits = Literal[4, 6, 8]


class Distill(Record):
    """Knowledge distillation (Hinton et al., 2015): the dense model's answers are part of the lesson.

    The loss is `(1 - weight)` of the labels' and `weight` of the teacher's, whose scores are divided by
    `temperature`.
    """

    temperature: float = Field(2.0, gt=0)
    weight: float = Field(0.5, gt=0, le=1)


class FineTune(Record):
    """Training after a change to the model, with the recipe's own settings where None; zeros are held.

    A network that lost capacity fits less, and often wants less `weight_decay` and a milder `augment`.
    """

    epochs: int = Field(ge=1)
    learning_rate: float = Field(0.02, gt=0)
    optimizer: Literal["sgd", "adamw"] | None = None
    schedule: Literal["one-cycle", "cosine"] | None = None
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    weight_decay: float | None = Field(None, ge=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    augment: Augment | None = None
    distill: Distill | None = None

    def over(self, training: Training) -> Training:
        """The recipe's training with these settings in place of its own."""
        own = {name: value for name, value in self if name != "distill" and value is not None}
        return training.model_copy(update=own)


class RoundedTuning(FineTune):
    """Training with rounding in place. Norms are folded by then, so it wants smaller steps."""

    learning_rate: float = Field(0.002, gt=0)


class Prune(Record):
    """What is removed, how it is chosen, and in how many steps.

    granularity (Mao et al., 2017): `weight` sets single weights to zero, `vector` runs of neighbouring
    weights (a row of a k×k kernel; `vector_size` inputs of a 1×1 or linear layer), `kernel` whole k×k
    kernels, `pattern` leaves N of every M neighbouring inputs (`pattern: "2:4"`). `channel` removes
    whole channels physically, with all that depends on them; the classifier's outputs always stay.

    `sparsity` is the asked share of weights, or of channels. `round_to` keeps channel counts multiples
    of it, so that vector instructions stay full.

    schedule: `one-shot`; `iterative` removes the same share of what is left in each of `steps`; `cubic`
    (Zhu & Gupta, 2017) removes much at first and little at last. Every step is followed by `finetune`.

    `max_accuracy_drop` (0.02 is two points) stops the steps at the first one that costs more than that of
    the dense model's accuracy, and goes back to the last good one.
    """

    granularity: Granularity
    criterion: Criterion = "l1"
    sparsity: float | None = Field(None, gt=0, lt=1)
    pattern: Annotated[str, matching(r"[1-9]\d?:[1-9]\d?", 'N:M, such as "2:4"')] | None = None
    vector_size: int | None = Field(None, ge=2, le=64)
    scope: Literal["global", "layer"] | None = None
    round_to: int | None = Field(None, ge=1, le=256)
    schedule: Literal["one-shot", "iterative", "cubic"] = "one-shot"
    steps: int | None = Field(None, ge=2, le=100)
    finetune: FineTune | None = None
    max_accuracy_drop: float | None = Field(None, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _holds_together(self) -> Prune:
        only = {"round_to": "channel", "pattern": "pattern", "vector_size": "vector"}
        for key, granularity in only.items():
            if getattr(self, key) is not None and self.granularity != granularity:
                raise ValueError(f"{key} has no meaning with granularity: {self.granularity}")
        if self.criterion == "bn-scale" and self.granularity != "channel":
            raise ValueError("criterion bn-scale ranks channels; use granularity: channel")
        if (self.steps is not None) != (self.schedule != "one-shot"):
            raise ValueError("steps and a schedule of several steps (iterative, cubic) belong together")
        return self

    @model_validator(mode="after")
    def _asks_for_a_share(self) -> Prune:
        if self.granularity != "pattern":
            if self.sparsity is None:
                raise ValueError("sparsity is missing: the share to remove, such as 0.5")
            return self
        if self.pattern is None:
            raise ValueError('granularity: pattern needs the pattern, such as "2:4"')
        left, of = self.group
        if left >= of:
            raise ValueError(f"pattern {self.pattern} leaves {left} of {of}, which removes nothing")
        if self.sparsity is not None and abs(self.sparsity - (1 - left / of)) > 1e-9:
            raise ValueError(f"pattern {self.pattern} is a sparsity of {1 - left / of:g}; leave sparsity out")
        if self.schedule != "one-shot" or self.scope == "global":
            raise ValueError("a pattern holds in every group at once: it has no steps and no global scope")
        return self

    @model_validator(mode="after")
    def _compares_layers(self) -> Prune:
        if self.criterion != "lamp" or self.granularity == "channel":
            return self
        if self.granularity == "pattern":
            raise ValueError(
                "criterion lamp decides how much each layer loses, and so does a pattern: use l1 or l2"
            )
        if self.effective_scope == "layer":
            raise ValueError("criterion lamp decides how much each layer loses: it needs scope: global")
        return self

    @property
    def group(self) -> tuple[int, int]:
        """N and M of the pattern: how many weights stay of each group of how many."""
        left, _, of = (self.pattern or "1:1").partition(":")
        return int(left), int(of)

    @property
    def target(self) -> float:
        """The asked sparsity, a pattern's included."""
        left, of = self.group
        return self.sparsity if self.sparsity is not None else 1 - left / of

    @property
    def effective_scope(self) -> Literal["global", "layer"]:
        """Weights compete across the model, all else within a layer, unless the profile says otherwise."""
        return self.scope or ("global" if self.granularity == "weight" else "layer")

    @property
    def effective_round_to(self) -> int:
        return self.round_to or 8

    @property
    def effective_vector_size(self) -> int:
        return self.vector_size or 4

    @property
    def label(self) -> str:
        """Such as `weight-l1-90-iterative` or `pattern-l1-2:4`."""
        share = self.pattern or f"{self.target * 100:g}"
        steps = () if self.schedule == "one-shot" else (self.schedule,)
        return "-".join((self.granularity, self.criterion, share, *steps))


class LayerBits(Record):
    """The bits of a group of layers: of their weights, and of the activations that they read.

    `layers` is `first_conv`, `inverted_residual` (all between), `final_conv`, `classifier`, or a pattern of
    layer names such as `features.1*`.
    """

    layers: str = Field(min_length=1)
    weights: Bits = 8
    activations: Bits = 8


class AutoExclude(Record):
    """Keep in float the layers that hurt most, until no more than `max_drop` of the accuracy is lost."""

    max_drop: float = Field(gt=0, lt=1)


Target = Literal["x86", "arm64", "tensorrt"]


def _list_groups(value: Any) -> Any:
    """`{classifier: {weights: 8}}`, as a profile says it, as records; a list would be an axis there."""
    if not isinstance(value, dict):
        return value
    return tuple(
        {"layers": layers, **bits} if isinstance(bits, dict) else bits for layers, bits in value.items()
    )


def _split_patterns(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Quantize(Record):
    """Fewer bits for weights and activations.

    - `static-int8`: Q/DQ nodes, symmetric per-channel weights, calibrated per-tensor activations, in the
      form that `target` runs fastest: x86 wants unsigned activations, ARM64 signed ones, TensorRT signed
      and symmetric ones. `activation` overrides it.
    - `dynamic-int8`: int8 weights; the scale of activations is found while the model runs.
    - `fp16`: half-precision weights and arithmetic.
    - `mixed`: `weights` and `activations` of 4, 6 or 8 bits, symmetric, per-channel and per-tensor, stored in
      8-bit Q/DQ nodes (int8 weights, uint8 activations, as onnxruntime wants them on any processor; not
      for TensorRT). `groups` gives other bits to some layers, as in `{classifier: {weights: 8}}`; the
      last one that names a layer counts. `finetune` trains on with the rounding in place
      (quantization-aware training).

    `exclude` names layers that stay in float (patterns, between commas); `auto_exclude` finds them.
    """

    scheme: Literal["static-int8", "dynamic-int8", "fp16", "mixed"]
    target: Target | None = None
    activation: Literal["uint8", "int8"] | None = None
    calibration: Literal["minmax", "entropy", "percentile"] | None = None
    calibration_images: int | None = Field(None, ge=1)
    weights: Bits | None = None
    activations: Bits | None = None
    groups: Annotated[tuple[LayerBits, ...], BeforeValidator(_list_groups)] = ()
    exclude: Annotated[tuple[str, ...], BeforeValidator(_split_patterns)] = ()
    auto_exclude: AutoExclude | None = None
    finetune: RoundedTuning | None = None

    @model_validator(mode="after")
    def _fits_scheme(self) -> Quantize:
        static, mixed = self.scheme == "static-int8", self.scheme == "mixed"
        means = {
            "target": static,
            "activation": static,
            "calibration": static,
            "calibration_images": static or mixed,
            "weights": mixed,
            "activations": mixed,
            "groups": mixed,
            "finetune": mixed,
            "exclude": self.scheme != "fp16",
            "auto_exclude": static or mixed,
        }
        for key, has_meaning in means.items():
            if not has_meaning and getattr(self, key) not in (None, ()):
                raise ValueError(f"{key} has no meaning with scheme: {self.scheme}")
        if mixed and (self.weights is None or self.activations is None):
            raise ValueError("scheme: mixed needs weights and activations, 4, 6 or 8 bits each")
        return self

    @property
    def effective_activation(self) -> Literal["uint8", "int8"]:
        return self.activation or ("uint8" if self.target in (None, "x86") else "int8")

    @property
    def is_symmetric(self) -> bool:
        """Whether activations must have a zero point of 0, which TensorRT demands of int8."""
        return self.target == "tensorrt" or (self.target is None and self.activation == "int8")

    @property
    def effective_calibration(self) -> Literal["minmax", "entropy", "percentile"]:
        return self.calibration or "minmax"

    @property
    def effective_calibration_images(self) -> int:
        return self.calibration_images or 128

    @property
    def label(self) -> str:
        """Such as `int8`, `int8-tensorrt`, `w6a8` or `w6a6-qat`; `groups` and the rest do not show."""
        if self.scheme != "mixed":
            name = {"static-int8": "int8"}.get(self.scheme, self.scheme)
            return f"{name}-{self.target}" if self.target not in (None, "x86") else name
        return f"w{self.weights}a{self.activations}" + ("-qat" if self.finetune else "")


class Export(Record):
    """How the ONNX file is written. torch's exporter writes the operator sets 18 to 23.

    Older ones, for the old runtimes of some boards, are made from 18, where they have the model's operators.
    """

    opset: int = Field(18, ge=13, le=23)


class Variant(Record):
    """A chain in the order prune, fine-tune, quantize, export. `{}` is dense fp32."""

    prune: Prune | None = None
    quantize: Quantize | None = None
    export: Export = Export()

    @property
    def precision(self) -> str:
        """`fp32`, `fp16`, `int8`, or `mixed` such as `w6a8`."""
        if self.quantize is None:
            return "fp32"
        if self.quantize.scheme == "mixed":
            return f"w{self.quantize.weights}a{self.quantize.activations}"
        return "fp16" if self.quantize.scheme == "fp16" else "int8"

    @property
    def is_dense(self) -> bool:
        """Whether this is the baseline of every comparison: nothing pruned, nothing quantized."""
        return self.prune is None and self.quantize is None

    @property
    def label(self) -> str:
        """What a person calls it, such as `channel-l2-50+int8`; `plan` makes equal labels unique."""
        return "+".join(part.label for part in (self.prune, self.quantize) if part is not None) or "dense"
