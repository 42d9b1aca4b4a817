"""What a profile by operator tells: where an inference's time goes, in one or two variants of a model."""

from __future__ import annotations

from typing import Literal

from host.specs.record import Record

Role = Literal["compute", "quantize", "dequantize", "layout", "cast"]
"""What a node is for: all but `compute` turn one form of a tensor into another."""

LEAST_OTHERS = 0.05
"""From this share of the usable cores on, what others do disturbs a measurement."""


class Span(Record):
    """A median of the medians of all pieces, and the least and largest of them."""

    median: float
    low: float
    high: float

    def is_apart_from(self, other: Span) -> bool:
        """Whether every piece of one lies beyond every piece of the other.

        With five pieces each this happens by chance once in 126 times.
        """
        return self.low > other.high or other.low > self.high


class OperatorTime(Record):
    """One node that ran, and its time in one inference, summed where it runs several times in one.

    `told_us` is what the runtime told, `us` the same without what telling costs: see `VariantTimes.floor_us`.
    `layer` is the row that it counts for. `inputs` and `outputs` are types and extents, such as
    `float 1×3×64×64`; empty where the runtime does not tell them.
    """

    name: str
    op: str
    provider: str
    role: Role
    layer: str
    us: Span
    told_us: float
    calls: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class VariantTimes(Record):
    """One file, profiled. `latency_ms` is the time around an inference that was not traced, `traced_ms`
    around one that was. The operators' times are of the latter. `floor_us` is subtracted from each node's:
    what a node is told to take that computes next to nothing. `excess_us` is what operators add up to beyond
    the latency even so, for each node: traced, they find colder caches. 0 where they do not.

    `left_over` are operators between which tensors were quantized or dequantized as the model ran, with the
    number of such nodes; `is_graph_known` says whether the board could tell the graph that it ran.
    """

    variant: str
    model: str
    variant_id: str
    precision: str
    latency_ms: Span
    traced_ms: Span
    operators_us: float
    floor_us: float
    excess_us: float
    inferences: int
    pieces: int
    others: float | None
    operators: tuple[OperatorTime, ...]
    operators_left_out: int
    left_over: dict[str, int]
    is_graph_known: bool

    @property
    def overhead(self) -> float:
        """How much longer an inference is for being traced: 0.1 is ten percent."""
        return self.traced_ms.median / self.latency_ms.median - 1

    @property
    def share(self) -> float:
        """The share of the latency that the operators account for; more than 1 where tracing slows them."""
        return self.operators_us / 1000 / self.latency_ms.median


class LayerCost(Record):
    """What one variant spends in one layer; `conversions_us` is the part of `us` that only converts.

    `low_us` has the excess of tracing subtracted, since nobody knows on which nodes it fell.
    """

    us: float
    low_us: float
    high_us: float
    conversions_us: float
    operators: tuple[str, ...]


class LayerRow(Record):
    """One layer in every variant, None where a variant has no such layer. `kind` is such as `1×1 Conv`.

    `change_us` is the second variant's time less the first one's; `is_certain` whether both
    lie apart in all pieces, whatever tracing did to them.
    """

    layer: str
    kind: str
    costs: tuple[LayerCost | None, ...]
    change_us: float | None
    is_certain: bool


class Finding(Record):
    """A sentence on what the times show; `kind` names what it is about."""

    kind: str
    text: str


class OperatorReport(Record):
    """A profile by operator of one or two variants on one device."""

    device: str
    board: str
    is_emulated: bool
    runtime: str
    runtime_version: str
    provider: str
    asked_provider: str
    threads: int | None
    batch: int
    integer_instructions: tuple[str, ...] | None
    variants: tuple[VariantTimes, ...]
    layers: tuple[LayerRow, ...]
    findings: tuple[Finding, ...]
