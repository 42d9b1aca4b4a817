"""A model recipe: what is trained, on which data, seen through which input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from host.specs.record import Name, Record, matching

Channel = Annotated[tuple[float, ...], Field(min_length=1, max_length=16)]


class DataSet(Record):
    """Where the images come from and how they are split; the split is a function of the seed.

    `digits` is scikit-learn's. `cifar10` is torchvision's folder, or an .npz of it; `npz` holds `x_train`,
    `y_train`, `x_test` and `y_test`; `imagefolder` holds `train/CLASS/*` and `test/CLASS/*`. `path` is
    looked for in the current folder, in the workspace and in the folder that BOARDBENCH_DATA names.

    `validation_fraction` of the training images are kept out of training, for what a build decides by
    accuracy (rolling back a pruning step, leaving a layer in float). Where it is 0, the test images decide.
    """

    name: Literal["digits", "cifar10", "imagefolder", "npz"]
    path: str | None = None
    test_fraction: float | None = Field(None, gt=0, lt=1)
    validation_fraction: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_a_place(self) -> DataSet:
        if self.name == "digits" and self.path is not None:
            raise ValueError("path has no meaning for digits, which come with scikit-learn")
        if self.name != "digits" and self.path is None:
            raise ValueError(f"{self.name} needs a path, the folder or file that holds it")
        if self.name != "digits" and self.test_fraction is not None:
            raise ValueError(
                f"test_fraction has no meaning for {self.name}, which has test images of its own"
            )
        return self

    @property
    def effective_test_fraction(self) -> float:
        return 0.2 if self.test_fraction is None else self.test_fraction


class Input(Record):
    """What the model sees: `shape` is (channels, height, width); pixels in [0, 1], then normalised.

    `mean` and `std` hold one value for each channel, or one for all.
    """

    shape: tuple[int, int, int]
    mean: Channel = (0.0,)
    std: Channel = (1.0,)

    @field_validator("shape")
    @classmethod
    def _positive(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(shape) < 1:
            raise ValueError("every extent must be at least 1")
        return shape

    @field_validator("std")
    @classmethod
    def _divides(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if min(std) <= 0:
            raise ValueError("every standard deviation must be above 0")
        return std

    @model_validator(mode="after")
    def _one_value_for_each_channel(self) -> Input:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(
                    f"{name} has {len(values)} values for {self.shape[0]} channels; give one or all"
                )
        return self


class Augment(Record):
    """What training does to an image, at its own size, each time that it sees it.

    `crop` shifts it by up to so many pixels, its edge mirrored; `flip` mirrors every other one; `cutout`
    hides a square of so many pixels behind the image's mean colour (DeVries & Taylor, 2017).
    """

    crop: int = Field(0, ge=0, le=64)
    flip: bool = False
    cutout: int = Field(0, ge=0, le=1024)


class Training(Record):
    """How weights are learned: the optimizer, and a learning rate that rises and falls once, or only falls.

    `one-cycle` warms up for `warmup` of all steps, then falls by a cosine; `cosine` only falls.
    `learning_rate` is the highest. `ema_decay` keeps an exponential mean of the weights over the steps, and
    that mean is the result. AdamW takes `momentum` as its first beta.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(64, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(0.05, gt=0)
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    warmup: float = Field(0.3, gt=0, lt=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    augment: Augment = Augment()
    seed: int = Field(0, ge=0)


class Recipe(Record):
    """One model: architecture, data, input, and where its weights come from.

    They are trained, or read from a checkpoint, or both; without either, the factory brings its own.
    `checkpoint` is a state dict that torch reads without running code, or a .safetensors file; every
    tensor of it must fit. `pretrained` is such a file too, or `torchvision` for its own weights, and what
    does not fit, such as the classifier of other classes, starts fresh. `allow_pickle` lets torch run the
    code in a checkpoint; only for files whose maker is trusted.
    """

    name: Name
    architecture: Annotated[
        str, matching(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "torchvision:NAME or your package.module:factory")
    ]
    arguments: dict[str, Any] = Field(default_factory=dict)
    data: DataSet
    input: Input
    training: Training | None = None
    checkpoint: str | None = None
    pretrained: str | None = None
    allow_pickle: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _starts_once(self) -> Recipe:
        if self.checkpoint is not None and self.pretrained is not None:
            raise ValueError("checkpoint and pretrained are two starting points; leave one out")
        if self.pretrained == "torchvision" and not self.architecture.startswith("torchvision:"):
            raise ValueError("pretrained: torchvision needs one of torchvision's architectures")
        return self
