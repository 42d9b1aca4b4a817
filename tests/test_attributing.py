"""Nodes that ran are led back to the layers of their file: graphs of three releases of onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from device_agent.runtimes.onnx_graph import read_nodes
from host.compress.onnx_nodes import read_model_graph
from host.compress.quantization import quantize_file
from host.compress.stripping import serialize_model
from host.operators.attributing import RanNode, attribute
from host.operators.layering import ELSEWHERE, Layer, Traced, arrange_layers
from host.operators.model_graph import ModelGraph, ModelNode, name_layer
from host.specs.variant import Quantize
from tests.made_onnx import make_convolution
from tests.made_quantized import make_network

RECORDED = Path(__file__).parent / "recordings" / "onnxruntime_traces.jsonl"
GRAPHS = {
    (one["onnxruntime"], one["network"]): one["graph"]
    for one in map(json.loads, RECORDED.read_text().splitlines())
}
RELEASES = sorted({release for release, _ in GRAPHS})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelGraph]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        name: read_model_graph(make_network(folder / f"{name}.onnx", is_quantized=name == "int8"))
        for name in ("float32", "int8")
    }


def list_ran(graph: Sequence[dict[str, Any]], *, with_tensors: bool = True) -> list[RanNode]:
    return [
        RanNode(node["name"], node["op"], tuple(node["inputs"]), tuple(node["outputs"]))
        if with_tensors
        else RanNode(node["name"], node["op"])
        for node in graph
    ]


def arrange(models: dict[str, ModelGraph], release: str) -> tuple[dict[str, Layer], list[list[str]]]:
    """The rows by their names, and the operators that ran in each variant."""
    ran = [list_ran(GRAPHS[release, name]) for name in models]
    variants = [
        Traced(model, attribute(nodes, model)) for nodes, model in zip(ran, models.values(), strict=True)
    ]
    return {row.name: row for row in arrange_layers(variants)}, [[node.op for node in one] for one in ran]


@pytest.mark.parametrize("release", RELEASES)
def test_a_layer_is_one_row_in_float_and_in_int8(models: dict[str, ModelGraph], release: str) -> None:
    rows, ops = arrange(models, release)
    assert ELSEWHERE not in rows
    layers = [name for name in rows if "." in name or name == "head"]
    assert layers == ["stem.conv", "body.dw", "body.pw", "head"]
    for name in layers:
        assert all(rows[name].nodes), f"{name} ran in both"
    told = [ops[1][at] for at in rows["body.dw"].nodes[1]]
    assert "QLinearConv" in told
    assert told.count("QLinearConv") == 1


@pytest.mark.parametrize("release", RELEASES)
def test_every_node_counts_once(models: dict[str, ModelGraph], release: str) -> None:
    rows, ops = arrange(models, release)
    for variant, ran in enumerate(ops):
        places = [at for row in rows.values() for at in row.nodes[variant]]
        assert sorted(places) == list(range(len(ran)))


@pytest.mark.parametrize("release", RELEASES)
def test_rows_say_what_kind_of_layer_they_are(models: dict[str, ModelGraph], release: str) -> None:
    rows, _ = arrange(models, release)
    kinds = {name: rows[name].kind for name in ("stem.conv", "body.dw", "body.pw", "head")}
    assert kinds == {
        "stem.conv": "3×3 Conv of 3 channels",
        "body.dw": "depthwise 3×3 Conv",
        "body.pw": "1×1 Conv",
        "head": "Gemm",
    }


@pytest.mark.parametrize("release", RELEASES)
def test_a_conversion_names_what_it_stands_beside(models: dict[str, ModelGraph], release: str) -> None:
    graph = GRAPHS[release, "int8"]
    attributions = attribute(list_ran(graph), models["int8"])
    around = {node["name"]: attribution.around for node, attribution in zip(graph, attributions, strict=True)}
    assert around["node_image_QuantizeLinear_Output"] == ("the model's input",)
    assert around["node_gated_QuantizeLinear_Output"] == ("Mul",)
    assert {"Sigmoid", "Mul"} & set(around["node_body_dw_DequantizeLinear_Output"])


@pytest.mark.parametrize("release", RELEASES)
def test_without_the_graph_layers_are_not_mixed_up(models: dict[str, ModelGraph], release: str) -> None:
    variants = [
        Traced(model, attribute(list_ran(GRAPHS[release, name], with_tensors=False), model))
        for name, model in models.items()
    ]
    rows = {row.name for row in arrange_layers(variants)}
    assert not any("+" in name for name in rows)
    assert {"stem.conv", "body.dw", "body.pw", "head"} <= rows


def optimize(path: Path) -> list[RanNode]:
    """The nodes of a file as this machine's runtime would run them."""
    options = onnxruntime.SessionOptions()
    optimized = path.with_suffix(".optimized.onnx")
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [
        RanNode(node.name, node.op, tuple(node.inputs), tuple(node.outputs))
        for node in read_nodes(str(optimized))
    ]


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_our_own_quantized_files_have_the_layers_of_their_source(tmp_path: Path, scheme: str) -> None:
    source = make_network(tmp_path / "float32.onnx")
    images = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
    quantized = tmp_path / "quantized.onnx"
    made = quantize_file(source, images, Quantize.model_validate({"scheme": scheme}))
    quantized.write_bytes(serialize_model(made))
    variants = []
    for path in (source, quantized):
        model = read_model_graph(path)
        variants.append(Traced(model, attribute(optimize(path), model)))
    rows = {row.name: row for row in arrange_layers(variants)}
    assert ELSEWHERE not in rows
    for name in ("stem.conv", "body.pw", "head"):
        assert all(rows[name].nodes), f"{name}: {rows[name]}"


def test_a_layer_is_called_after_its_weight(tmp_path: Path) -> None:
    plain = read_model_graph(make_convolution(tmp_path / "plain.onnx"))
    assert [name_layer(plain, at) for at in range(4)] == [
        "filters",
        "GlobalAveragePool_1",
        "Flatten_2",
        "matrix",
    ]


@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        ("features.0.0.weight", "features.0.0"),
        ("features.0.0.weight_quantized", "features.0.0"),
        ("block.weight_rounded_2_quantized", "block"),
        ("onnx::Conv_123", "node"),
        ("val_7", "node"),
    ],
)
def test_what_a_writer_adds_to_a_weight_is_no_part_of_its_layer(weight: str, layer: str) -> None:
    node = ModelNode("node", "Conv", ("x", weight), ("y",))
    model = ModelGraph((node,), {weight: (4, 3, 3, 3)}, ("x",), ("y",))
    assert name_layer(model, 0) == layer
