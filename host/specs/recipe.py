"""A model recipe: what is trained, on which data, seen through which input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from host.specs.record import Name, Record, matching

Channel = Annotated[tuple[float, ...], Field(min_length=1, max_length=16)]


class DataSet(Record):
    """Where the images come from and how they are split; the split is a function of the seed."""

    name: Literal["digits"]
    test_fraction: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)


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


class Training(Record):
    """SGD with momentum under a one-cycle learning rate."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)


class Recipe(Record):
    """One model: architecture, data, input, and where its weights come from.

    They are trained, or read from a checkpoint, or both; without either, the factory brings its own.
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
    description: str = ""
