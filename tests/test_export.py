from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from host.compress.export import check_parity, export_model
from host.compress.stripping import serialize_model, strip_model
from host.errors import BuildError
from host.specs.variant import Export
from tests.tiny_models import make_tiny

IMAGES = np.random.default_rng(0).standard_normal((9, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_tiny().eval()


@pytest.fixture(scope="module")
def exported(model: torch.nn.Module) -> onnx.ModelProto:
    return export_model(model, IMAGES, 18, "tiny dense")


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_opset_that_a_variant_may_ask_for_is_written(model: torch.nn.Module, opset: int) -> None:
    asked = Export(opset=opset)
    written = export_model(model, IMAGES, asked.opset, "tiny dense")
    assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", opset)]
    assert written.ir_version == helper.find_min_ir_version_for(list(written.opset_import))


@pytest.mark.parametrize("opset", [12, 24])
def test_an_opset_that_the_exporter_does_not_write_is_a_fault_of_the_profile(opset: int) -> None:
    with pytest.raises(ValueError, match="opset"):
        Export(opset=opset)


def test_two_exports_have_equal_bytes(model: torch.nn.Module, exported: onnx.ModelProto) -> None:
    again = export_model(model, IMAGES, 18, "another name")
    assert serialize_model(again) == serialize_model(exported)


def test_other_weights_give_other_bytes(exported: onnx.ModelProto) -> None:
    torch.manual_seed(1)
    other = export_model(make_tiny().eval(), IMAGES, 18, "tiny dense")
    assert serialize_model(other) != serialize_model(exported)


def test_the_file_stands_alone_and_is_valid(exported: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "moved.onnx"
    path.write_bytes(serialize_model(exported))
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["input"]
    assert [value.name for value in session.get_outputs()] == ["output"]


@pytest.mark.parametrize("by", [0.01, float("nan")])
def test_a_weight_that_is_off_is_found(model: torch.nn.Module, exported: onnx.ModelProto, by: float) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(exported)
    bias = next(tensor for tensor in wrong.graph.initializer if list(tensor.dims) == [10])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[3] += by
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    with pytest.raises(BuildError, match=rf"tiny dense.*difference is {by}"):
        check_parity(model, wrong, IMAGES, "tiny dense")


def test_another_number_of_outputs_is_found(exported: onnx.ModelProto) -> None:
    with pytest.raises(BuildError, match=r"tiny dense: the export answers \(9, 10\)"):
        check_parity(make_tiny(classes=7).eval(), exported, IMAGES, "tiny dense")


def test_stripping_leaves_the_model_as_it_was(exported: onnx.ModelProto) -> None:
    noted = onnx.ModelProto()
    noted.CopyFrom(exported)
    noted.graph.node[0].doc_string = "/home/someone/model.py"
    before = serialize_model(noted)
    assert serialize_model(strip_model(noted)) == serialize_model(exported)
    assert serialize_model(noted) == before
