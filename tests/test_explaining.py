"""Findings say what the times show, and nothing that they do not."""

from __future__ import annotations

import pytest

from host.operators.explaining import explain
from host.specs.operators import (
    Finding,
    LayerCost,
    LayerRow,
    OperatorReport,
    OperatorTime,
    Role,
    Span,
    VariantTimes,
)

CPU = "CPUExecutionProvider"


def span(middle: float, spread: float = 0.0) -> Span:
    return Span(median=middle, low=middle - spread, high=middle + spread)


def operator(op: str, us: float, role: Role = "compute", provider: str = CPU) -> OperatorTime:
    return OperatorTime(
        name=op,
        op=op,
        provider=provider,
        role=role,
        layer="layer",
        us=span(us),
        told_us=us,
        calls=1,
        inputs=(),
        outputs=(),
    )


def variant(name: str, latency_ms: Span, *operators: OperatorTime, **changes: object) -> VariantTimes:
    told: dict[str, object] = {
        "variant": name,
        "model": "m",
        "variant_id": name,
        "precision": "fp32",
        "latency_ms": latency_ms,
        "traced_ms": latency_ms,
        "operators_us": sum(one.us.median for one in operators),
        "floor_us": 1.0,
        "excess_us": 0.0,
        "inferences": 100,
        "pieces": 5,
        "others": 0.0,
        "operators": operators,
        "operators_left_out": 0,
        "left_over": {},
        "is_graph_known": True,
        **changes,
    }
    return VariantTimes.model_validate(told)


def cost(us: float, *operators: str, conversions_us: float = 0.0) -> LayerCost:
    return LayerCost(us=us, low_us=us, high_us=us, conversions_us=conversions_us, operators=operators)


def row(layer: str, kind: str, one: LayerCost, other: LayerCost, *, is_certain: bool = True) -> LayerRow:
    return LayerRow(
        layer=layer, kind=kind, costs=(one, other), change_us=other.us - one.us, is_certain=is_certain
    )


def report(*variants: VariantTimes, layers: tuple[LayerRow, ...] = (), **changes: object) -> OperatorReport:
    told: dict[str, object] = {
        "device": "pi4",
        "board": "Raspberry Pi 4",
        "is_emulated": False,
        "runtime": "onnxruntime",
        "runtime_version": "1.31.1",
        "provider": CPU,
        "asked_provider": CPU,
        "threads": 4,
        "batch": 1,
        "integer_instructions": None,
        "variants": variants,
        "layers": layers,
        "findings": (),
        **changes,
    }
    return OperatorReport.model_validate(told)


def tell(made: OperatorReport, kind: str) -> list[str]:
    return [finding.text for finding in explain(made) if finding.kind == kind]


DENSE = variant("dense", span(1.0, 0.1), operator("Conv", 900))


def test_the_latencies_come_first() -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 1400))
    first = explain(report(DENSE, int8))[0]
    assert first == Finding(
        kind="latency", text="An inference of int8 takes 1.50× as long as one of dense: 1.5 ms against 1 ms."
    )


def test_no_difference_is_claimed_where_pieces_overlap() -> None:
    int8 = variant("int8", span(1.15, 0.1), operator("QLinearConv", 900))
    assert "No difference in latency can be told" in tell(report(DENSE, int8), "latency")[0]


def test_the_difference_is_split_into_its_parts() -> None:
    int8 = variant(
        "int8",
        span(1.5, 0.1),
        operator("QLinearConv", 700),
        operator("QuantizeLinear", 300, "quantize"),
        operator("DequantizeLinear", 100, "dequantize"),
        operator("Transpose", 50, "layout"),
    )
    (text,) = tell(report(DENSE, int8), "parts")
    assert "computing -200 µs, quantizing and dequantizing +400 µs, changing layouts and types +50 µs" in text


def test_conversions_that_are_left_over_are_named_with_what_they_stand_beside() -> None:
    int8 = variant(
        "int8",
        span(1.5, 0.1),
        operator("QLinearConv", 600),
        operator("QuantizeLinear", 300, "quantize"),
        operator("DequantizeLinear", 100, "dequantize"),
        left_over={"Sigmoid": 2, "the model's input": 1},
    )
    (text,) = tell(report(DENSE, int8), "conversions")
    assert "QuantizeLinear, DequantizeLinear take 40 % of the operators' time of int8 (400 µs)" in text
    assert "left over beside Sigmoid (2), which ran in float" in text
    assert "the model's input" not in text


def test_conversions_at_the_edges_are_no_fault() -> None:
    int8 = variant(
        "int8",
        span(1.5, 0.1),
        operator("QLinearConv", 600),
        operator("QuantizeLinear", 30, "quantize"),
        left_over={"the model's input": 1},
    )
    (text,) = tell(report(DENSE, int8), "conversions")
    assert "only at the model's input, where they are needed" in text


def test_a_float_model_has_nothing_to_say_of_conversions() -> None:
    assert explain(report(DENSE)) == ()


def test_layers_that_became_slower_are_told_by_their_kind() -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 1400))
    layers = tuple(
        row(f"features.{at}", "depthwise 3×3 Conv", cost(10, "Conv"), cost(60, "Q", "QLinearConv"))
        for at in range(4)
    )
    (text,) = tell(report(DENSE, int8, layers=layers), "slower")
    assert text.startswith("4 × depthwise 3×3 Conv run slower")
    assert "40 µs became 240 µs (+200)" in text


def test_what_conversions_cost_is_not_blamed_on_the_kernel() -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 1400))
    slower = row("a", "1×1 Conv", cost(100, "Conv"), cost(200, "QLinearConv", conversions_us=150))
    (text,) = tell(report(DENSE, int8, layers=(slower,)), "faster")
    assert "100 µs became 50 µs (-50)" in text


def test_a_change_that_is_not_certain_is_no_finding() -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 1400))
    vague = row("a", "1×1 Conv", cost(100, "Conv"), cost(400, "QLinearConv"), is_certain=False)
    kinds = {finding.kind for finding in explain(report(DENSE, int8, layers=(vague,)))}
    assert not kinds & {"slower", "faster"}


def test_layers_that_stayed_in_float_are_named() -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 500), operator("Conv", 500))
    layers = (
        row("stem", "3×3 Conv of 3 channels", cost(400, "Conv"), cost(500, "Conv")),
        row("body", "1×1 Conv", cost(500, "Conv"), cost(500, "QLinearConv")),
    )
    (text,) = tell(report(DENSE, int8, layers=layers), "float")
    assert text == "int8 computes stem in float: 50 % of its operators' time."


@pytest.mark.parametrize(
    ("told", "is_said"),
    [(("avx2",), True), (("avx2", "avx_vnni"), False), ((), True), (("asimddp",), False), (None, False)],
)
def test_missing_instructions_are_told_only_where_they_are_known_to_be_missing(
    told: tuple[str, ...] | None, is_said: bool
) -> None:
    int8 = variant("int8", span(1.5, 0.1), operator("QLinearConv", 1400))
    assert bool(tell(report(DENSE, int8, integer_instructions=told), "processor")) is is_said
    assert not tell(report(DENSE, integer_instructions=told), "processor")


def test_nodes_on_another_provider_are_told() -> None:
    mixed = variant(
        "dense", span(1.0), operator("Conv", 300), operator("Resize", 100, provider="CPUExecutionProvider")
    )
    made = report(mixed, asked_provider="CUDAExecutionProvider", provider="CUDAExecutionProvider")
    (text,) = tell(made, "fallback")
    assert "2 of 2 nodes of dense ran on CPUExecutionProvider, not on CUDAExecutionProvider" in text


def test_times_of_an_accelerator_are_said_to_be_the_hosts() -> None:
    gpu = "CUDAExecutionProvider"
    made = report(variant("dense", span(1.0), operator("Conv", 300, provider=gpu)), asked_provider=gpu)
    assert gpu in tell(made, "accelerator")[0]
    assert not tell(report(DENSE), "accelerator")


def test_figures_that_were_disturbed_are_called_so() -> None:
    busy = variant("dense", span(1.0), operator("Conv", 2000), others=0.4, excess_us=1000.0)
    made = report(busy)
    assert "up to 40 % of the usable cores" in tell(made, "busy")[0]
    assert "add up to 2.00× its latency" in tell(made, "overhead")[0]
