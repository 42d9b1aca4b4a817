"""Mixed precision in torch: layers compute with weights and inputs that are rounded to 4, 6 or 8 bits.

Weights: symmetric, a scale for every output channel, which follows the weights as they are trained.
Inputs: one scale for the tensor, symmetric around 0, without negative values where there are none; the scale
is found by calibration, and learned like a weight (LSQ; Esser et al., 2020). Rounding passes gradients on as
if it were not there (Bengio et al., 2013). Biases have the scale of the products that they are added to.

Every scale is rounded to bfloat16: 8 significant bits are as good, and pack into half the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from host.compress.cost import run_watched
from host.compress.data import Floats
from host.compress.layer_groups import RunLayer, assign_bits, match_layers
from host.compress.norm_folding import fold_norms
from host.errors import BuildError
from host.specs.variant import Quantize

QUANTIZABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)

BATCH = 32
SAMPLES = 8192
"""How many values of a layer's input are kept from each batch of calibration."""

CLIPS = tuple(1 - step / 40 for step in range(33))
"""The shares of the largest value that are tried as the end of the range: 1 down to 0.2."""

LEAST_SCALE = 2.0**-12
"""The least scale of a channel, relative to the layer's largest.

Folded norms leave channels that are all but dead. Their biases, in units of the scales of input and weight,
would not fit the 32 bits that a runtime adds them in.
"""


class InputRounding(nn.Module):
    """Rounds a layer's input to `bits`, in steps of a learned scale; as a logarithm it stays above 0."""

    is_signed: torch.Tensor

    def __init__(self, bits: int, sample: torch.Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("is_signed", sample.min() < 0)
        self.log_scale = nn.Parameter(find_input_scale(sample, *self.bounds).log())

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest step: two's complement where values are signed."""
        if self.is_signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    @property
    def scale(self) -> float:
        return round_scale(self.log_scale.detach().exp()).item()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounded: torch.Tensor = _Round.apply(x, self.log_scale, self.scale, *self.bounds)  # type: ignore[no-untyped-call]
        return rounded


class _Round(torch.autograd.Function):
    """Rounding to steps; the gradient of the scale is LSQ's, relative to the scale as its logarithm is."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, _log_scale: torch.Tensor, step: float, low: int, high: int
    ) -> torch.Tensor:
        rounded, is_inside = torch.ops.aten.fake_quantize_per_tensor_affine_cachemask(x, step, 0, low, high)
        ctx.save_for_backward(x, rounded, is_inside)
        ctx.share = 1 / math.sqrt(x.numel() * high) / step**2
        return rounded  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, rounded, is_inside = ctx.saved_tensors
        passed = gradients[0] * is_inside
        return passed, ctx.share * ((gradients[0] * rounded).sum() - (passed * x).sum()), None, None, None


class RoundedLayer(nn.Module):
    """A convolution or linear layer that computes with rounded weights and a rounded input.

    `is_active` False lets the layer compute in float.
    """

    clip: torch.Tensor

    def __init__(self, layer: nn.Module, weight_bits: int, rounding: InputRounding) -> None:
        super().__init__()
        self.layer = layer
        self.rounding = rounding
        self.most = 2 ** (weight_bits - 1) - 1
        self.is_active = True
        self.register_buffer("clip", find_weight_clips(self.weight.detach(), self.most))

    @property
    def weight(self) -> torch.Tensor:
        weight: torch.Tensor = self.layer.weight  # type: ignore[assignment]
        return weight

    @property
    def weight_scale(self) -> torch.Tensor:
        """The scale of each output channel, (channels,)."""
        return find_weight_scale(self.weight.detach(), self.clip, self.most)

    def round_weight(self) -> torch.Tensor:
        return _round_channels(self.weight, self.weight_scale, self.most)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.is_active:
            plain: torch.Tensor = self.layer(x)
            return plain
        scale = self.weight_scale
        rounded = {"weight": _round_channels(self.weight, scale, self.most)}
        if isinstance(self.layer.bias, nn.Parameter):
            rounded["bias"] = _round_bias(self.layer.bias, scale * self.rounding.scale)
        answer: torch.Tensor = functional_call(self.layer, rounded, (self.rounding(x),))
        return answer


def round_scale(scale: torch.Tensor) -> torch.Tensor:
    """The nearest bfloat16 above 0, as float32."""
    return scale.clamp_min(torch.finfo(torch.float32).tiny).to(torch.bfloat16).to(torch.float32)


def find_weight_scale(weight: torch.Tensor, clip: torch.Tensor, most: int) -> torch.Tensor:
    """The scale (channels,) at which `clip` of each channel's largest weight is `most` steps."""
    scale = weight.abs().flatten(1).amax(dim=1) * clip / most
    least = scale.max() * LEAST_SCALE
    return round_scale(scale.clamp_min(least if least > 0 else 1.0))


def find_weight_clips(weight: torch.Tensor, most: int) -> torch.Tensor:
    """The share of each channel's largest weight that is the best end of its range, by the squared error."""
    best = torch.ones(len(weight))
    least = torch.full((len(weight),), torch.inf)
    for share in CLIPS:
        scale = find_weight_scale(weight, torch.full_like(best, share), most)
        error = (_round_channels(weight, scale, most) - weight).square().flatten(1).sum(dim=1)
        best = torch.where(error < least, share, best)
        least = torch.minimum(error, least)
    return best


def _round_channels(weight: torch.Tensor, scale: torch.Tensor, most: int) -> torch.Tensor:
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -most, most)


def _round_bias(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """In units of both scales, as integer kernels add it: of little effect, but seen in the last bits."""
    rounded = (bias.detach() / scale).round() * scale
    return bias + (rounded - bias.detach())


def find_input_scale(sample: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """The scale, a number, that rounds the sample with the least squared error."""
    largest = sample.abs().max()
    if not largest > 0:
        return torch.ones(())
    scales = [round_scale(largest * share / high) for share in CLIPS]
    errors = [
        (torch.fake_quantize_per_tensor_affine(sample, scale.item(), 0, low, high) - sample).square().sum()
        for scale in scales
    ]
    return scales[int(torch.stack(errors).argmin())]


def prepare_mixed(
    model: nn.Module, quantize: Quantize, images: Floats, *, excluded: Collection[str] = ()
) -> None:
    """Fold the model's batch norms and give its layers rounded weights and inputs, in place.

    Input ranges are calibrated on `images` (N, C, H, W). What `quantize.exclude` and `excluded` name stays
    in float. Equal models and images give modules of equal names and shapes, so a state dict of one loads
    into another.
    """
    examples = torch.from_numpy(images)
    fold_norms(model, examples[:2])
    layers = list_layers(model, examples[:1])
    names = [layer.name for layer in layers]
    left_out = match_layers(quantize.exclude, names, "exclude") | set(excluded)
    bits = assign_bits(quantize, layers)
    kept = [layer for layer in layers if layer.name not in left_out]
    samples = _sample_inputs(model, kept, examples)
    for name, layer in kept:
        rounding = InputRounding(bits[name].activations, samples[layer])
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, RoundedLayer(layer, bits[name].weights, rounding))
    model.eval()


def list_layers(model: nn.Module, example: torch.Tensor) -> list[RunLayer]:
    """The convolutions and linear layers that run, in their order; one that runs twice is there once."""
    names: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, QUANTIZABLE)
    }
    ran: dict[nn.Module, None] = {}
    run_watched(model, names, lambda layer, _inputs, _output: ran.setdefault(layer), example)
    if not ran:
        raise BuildError("none of the model's convolutions or linear layers runs: nothing can be quantized")
    return [RunLayer(names[layer], layer) for layer in ran]


def _sample_inputs(
    model: nn.Module, layers: list[RunLayer], images: torch.Tensor
) -> dict[nn.Module, torch.Tensor]:
    """Values of each layer's input, drawn at random; the extremes are always among them."""
    drawn: dict[nn.Module, list[torch.Tensor]] = {layer.layer: [] for layer in layers}

    def draw(layer: nn.Module, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        values = inputs[0].flatten()
        generator = torch.Generator().manual_seed(0)  # layers that read the same tensor draw the same values
        chosen = torch.randint(len(values), (min(len(values), SAMPLES),), generator=generator)
        drawn[layer] += [values[chosen], torch.stack(values.aminmax())]

    for batch in torch.split(images, BATCH):
        run_watched(model, drawn, draw, batch)
    return {layer: torch.cat(values) for layer, values in drawn.items()}


def rounded_layers(model: nn.Module) -> dict[str, RoundedLayer]:
    """The model's rounded layers, by the names that they had before they were prepared."""
    return {name: module for name, module in model.named_modules() if isinstance(module, RoundedLayer)}
