"""A profile by operator on an emulated board: files are sent, asked about in turns, and attributed."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import profiling
from host.compress.onnx_files import read_onnx
from host.errors import MeasurementsFailed, UsageError
from host.fleet.operator_pieces import Piece
from host.fleet.registry import save_device
from host.operators.times import list_ran
from host.plan import plan_file
from host.profiling import name_profiled, profile_files
from host.progress import Silent
from host.specs.device import Device
from host.specs.measure import Measure
from host.specs.operators import OperatorReport
from host.specs.profile import RuntimeSettings
from host.workspace import Workspace
from tests.made_onnx import make_convolution
from tests.made_quantized import make_network


@pytest.fixture(scope="module")
def home(emulated_workspace: Workspace, emulated_device: Device) -> Workspace:
    """The workspace in which the emulated board is registered."""
    save_device(emulated_workspace, emulated_device)
    return emulated_workspace


@pytest.fixture(scope="module")
def compared(home: Workspace, tmp_path_factory: pytest.TempPathFactory) -> OperatorReport:
    """The small network in float32 and in int8."""
    folder = tmp_path_factory.mktemp("networks")
    files = [
        make_network(folder / "float32.onnx"),
        make_network(folder / "int8.onnx", is_quantized=True),
    ]
    return profile_files(files, {}, "emulated", RuntimeSettings(threads=1), home, Silent())


def test_both_variants_have_a_latency_and_operators(compared: OperatorReport) -> None:
    assert [one.variant for one in compared.variants] == ["float32", "int8"]
    for one in compared.variants:
        assert one.latency_ms.low <= one.latency_ms.median <= one.latency_ms.high
        assert one.pieces == profiling.PIECES
        assert one.operators_us == pytest.approx(sum(node.us.median for node in one.operators))
        assert one.is_graph_known
    assert compared.is_emulated
    assert compared.threads == 1


def test_layers_of_both_variants_are_compared(compared: OperatorReport) -> None:
    rows = {row.layer: row for row in compared.layers}
    for name in ("stem.conv", "body.dw", "body.pw", "head"):
        assert rows[name].change_us is not None, name
    for index, one in enumerate(compared.variants):
        spent = sum(cost.us for row in compared.layers if (cost := row.costs[index]))
        assert spent == pytest.approx(one.operators_us)


def test_the_report_says_which_conversions_are_left_over(compared: OperatorReport) -> None:
    (text,) = [finding.text for finding in compared.findings if finding.kind == "conversions"]
    assert "Mul (" in text
    (text,) = [finding.text for finding in compared.findings if finding.kind == "float"]
    assert "stem.conv" in text


def test_a_report_is_the_same_after_json(compared: OperatorReport) -> None:
    assert OperatorReport.model_validate_json(compared.model_dump_json()) == compared


def test_a_file_without_names_of_nodes_is_attributed_too(home: Workspace, tmp_path: Path) -> None:
    file = make_convolution(tmp_path / "plain.onnx")
    report = profile_files([file], {}, "emulated", RuntimeSettings(threads=1), home, Silent())
    assert {"filters", "matrix"} <= {row.layer for row in report.layers}
    assert all(row.change_us is None for row in report.layers)


def test_a_runtime_whose_times_cannot_be_read_is_refused_before_anything_is_done(
    home: Workspace, tmp_path: Path
) -> None:
    file = make_convolution(tmp_path / "plain.onnx")
    with pytest.raises(UsageError, match="ncnn tells no times by operator"):
        profile_files([file], {}, "emulated", RuntimeSettings(name="ncnn"), home, Silent())


def test_a_model_that_fails_on_the_board_is_a_failed_measurement(home: Workspace, tmp_path: Path) -> None:
    import onnx

    file = make_convolution(tmp_path / "broken.onnx")
    model = onnx.load(file)
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, file)
    with pytest.raises(MeasurementsFailed, match="Convolve"):
        profile_files([file], {}, "emulated", RuntimeSettings(threads=1), home, Silent())


def test_two_files_are_told_apart_by_the_shortest_name(tmp_path: Path) -> None:
    def name(*paths: Path) -> list[str]:
        plans = [
            plan_file(read_onnx(path, {}), {}, ["pi4"], [RuntimeSettings()], Measure()) for path in paths
        ]
        return name_profiled(
            plans[0].model_copy(update={"files": tuple(file for plan in plans for file in plan.files)})
        )

    (tmp_path / "other").mkdir()
    plain = make_convolution(tmp_path / "plain.onnx")
    other = make_convolution(tmp_path / "other" / "plain.onnx")
    assert name(plain, make_convolution(tmp_path / "second.onnx")) == ["plain", "second"]
    assert name(plain, other) == [str(plain), str(other)]
    assert name(plain, plain) == ["plain", "the same again"]


def piece(nodes: list[tuple[str, str]], graph: list[tuple[str, str]]) -> Piece:
    quartiles = {"p25": 1.0, "p50": 1.0, "p75": 1.0}
    told = {"calls": 1, "mean_us": 1, "middle_us": 1, "provider": "CPU"}
    return Piece.model_validate(
        {
            "runtime_version": "1",
            "provider": "CPU",
            "untraced_ms": quartiles,
            "traced_ms": quartiles,
            "inferences": 1,
            "floor_us": 0,
            "runs_us": 1,
            "nodes_us": 1,
            "nodes": [{**told, "name": name, "op": op} for name, op in nodes],
            "nodes_left_out": 0,
            "graph": [
                {"name": name, "op": op, "inputs": [f"in {at}"], "outputs": [f"out {at}"]}
                for at, (name, op) in enumerate(graph)
            ],
        }
    )


def test_nameless_nodes_are_told_apart_by_their_order() -> None:
    found = list_ran(
        piece(
            [("Conv_0", "Conv"), ("a", "Conv"), ("Conv_7", "Conv")],
            [("", "Conv"), ("a", "Conv"), ("", "Conv")],
        )
    )
    assert [node.outputs for node in found] == [("out 0",), ("out 1",), ("out 2",)]


def test_nameless_nodes_that_do_not_match_in_number_have_no_tensors() -> None:
    found = list_ran(piece([("Conv_0", "Conv"), ("Conv_7", "Conv")], [("", "Conv")]))
    assert [node.outputs for node in found] == [(), ()]
