from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from host.compress.onnx_files import LARGEST, read_onnx
from host.errors import ModelError
from host.specs.artifact import Tensor
from tests.made_onnx import FLOAT, INT64, STRING, make_convolution, make_identity, save_graph


def test_everything_is_read_from_the_file(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    artifact = read_onnx(path, {})
    assert artifact.inputs == (Tensor(name="image", dtype="float", shape=(1, 3, 8, 8)),)
    assert (artifact.model, artifact.opset, artifact.precision) == ("net", 18, "fp32")
    assert artifact.params == 4 * 27 + 20
    assert artifact.params_nonzero == 4 * 27 + 4
    assert artifact.macs == 4 * 64 * 27 + 20
    assert artifact.blob.path == path
    assert artifact.blob.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.blob.size == path.stat().st_size
    assert artifact.accuracy is artifact.evaluation is artifact.reference is artifact.sparsity is None


def test_half_precision_weights_are_seen(tmp_path: Path) -> None:
    assert read_onnx(make_convolution(tmp_path / "net.onnx", kind=np.float16), {}).precision == "fp16"


def test_open_extents_are_asked_for_in_words_to_paste(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx", ("batch", 3, "height", None))
    with pytest.raises(ModelError, match="'image' is \\?×3×\\?×\\?") as caught:
        read_onnx(path, {})
    assert caught.value.hint is not None
    assert "--shape image=1,3,224,224" in caught.value.hint


def test_a_shape_settles_open_extents_and_the_cost(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx", ("batch", 3, "height", None))
    small = read_onnx(path, {"image": (1, 3, 8, 8)})
    large = read_onnx(path, {"image": (1, 3, 16, 16)})
    assert small.inputs[0].shape == (1, 3, 8, 8)
    assert small.macs == 4 * 64 * 27 + 20
    assert large.macs == 4 * 256 * 27 + 20
    assert small.variant_id != large.variant_id  # their latencies must never be taken for one another's


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (1, 3, 0, 8), (1, 3, -1, 8)])
def test_a_shape_that_does_not_fit_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = make_convolution(tmp_path / "net.onnx", ("batch", 3, "height", None))
    with pytest.raises(ModelError, match="the model takes \\?×3×\\?×\\?"):
        read_onnx(path, {"image": shape})


def test_an_input_that_does_not_exist_is_an_error_that_names_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no input 'imgae'\nIts inputs are image"):
        read_onnx(make_convolution(tmp_path / "net.onnx"), {"imgae": (1, 3, 8, 8)})


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x08\x08", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_onnx_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not an ONNX file"):
        read_onnx(path, {})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_an_error(tmp_path: Path, share: float) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="is not an ONNX file"):
        read_onnx(path, {})


def test_missing_files_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        read_onnx(tmp_path / "net.onnx", {})
    with pytest.raises(ModelError, match="cannot be read"):
        read_onnx(tmp_path, {})


def test_a_file_beyond_2_gib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ModelError, match=r"2\.0 GiB"):
        read_onnx(path, {})


def test_weights_in_other_files_are_refused_with_a_way_out(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(path), outside, save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(ModelError, match="weights in other files") as caught:
        read_onnx(outside, {})
    assert "onnx.save" in str(caught.value.hint)


def test_an_opset_newer_than_this_library_is_read_and_left_to_the_board(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 100
    onnx.save(model, path)
    artifact = read_onnx(path, {})
    assert artifact.opset == model.opset_import[0].version
    assert artifact.params == 4 * 27 + 20


def test_inputs_that_are_weights_are_not_asked_for(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("filters", FLOAT, (4, 3, 3, 3)))
    onnx.save(model, path)
    assert [tensor.name for tensor in read_onnx(path, {}).inputs] == ["image"]


def test_types_are_named_as_onnx_names_them(tmp_path: Path) -> None:
    path = make_identity(tmp_path / "net.onnx", {"ids": (INT64, (1, 8)), "x": (FLOAT, (1,))})
    artifact = read_onnx(path, {})
    assert [tensor.dtype for tensor in artifact.inputs] == ["int64", "float"]
    assert artifact.params is artifact.params_nonzero is None
    assert artifact.macs == 0


def test_an_input_without_a_rank_is_an_error(tmp_path: Path) -> None:
    path = make_identity(tmp_path / "net.onnx", {"x": (FLOAT, (1,))})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    with pytest.raises(ModelError, match="'x' has no shape"):
        read_onnx(path, {})


def test_macs_are_unknown_where_an_operator_is_not_counted(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[0].domain = "com.example"
    onnx.save(model, path)
    assert read_onnx(path, {}).macs is None


def test_quantized_weights_count_once_and_scales_not_at_all(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.array([[1, 0], [3, 4]], dtype=np.int8), "w"),
        numpy_helper.from_array(np.array([0.1, 0.2], dtype=np.float32), "w_scale"),
        numpy_helper.from_array(np.zeros(2, dtype=np.int8), "w_zero"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["dw"], axis=0),
            helper.make_node("Gemm", ["x", "dw"], ["y"]),
        ],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 2))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 2))],
        weights,
    )
    artifact = read_onnx(save_graph(tmp_path / "net.onnx", graph), {})
    assert (artifact.params, artifact.params_nonzero, artifact.precision) == (4, 3, "int8")
    assert artifact.macs == 3 * 2 * 2


@pytest.mark.parametrize("kind", [STRING, TensorProto.COMPLEX64])
def test_an_input_that_cannot_be_made_up_is_refused_when_read(tmp_path: Path, kind: int) -> None:
    with pytest.raises(ModelError, match="cannot be made up"):
        read_onnx(make_identity(tmp_path / "net.onnx", {"words": (kind, (1, 2))}), {})


@pytest.mark.parametrize("batch", [10**8, 10**30])
def test_an_input_larger_than_a_board_could_take_is_refused(tmp_path: Path, batch: int) -> None:
    path = make_convolution(tmp_path / "net.onnx", ("batch", 3, 8, 8))
    with pytest.raises(ModelError, match="GiB; at most 1 GiB"):
        read_onnx(path, {"image": (batch, 3, 8, 8)})


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones(3, dtype=np.float32), "w")
    out = helper.make_tensor_value_info("y", FLOAT, (3,))
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "made", [], [out], [weight])
    with pytest.raises(ModelError, match="no inputs"):
        read_onnx(save_graph(tmp_path / "net.onnx", graph), {})


def test_a_damaged_weight_is_an_error(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:10]
    onnx.save(model, path)
    with pytest.raises(ModelError, match="damaged"):
        read_onnx(path, {})


def test_an_unknown_element_type_is_an_error(tmp_path: Path) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = 77
    onnx.save(model, path)
    with pytest.raises(ModelError, match="element type"):
        read_onnx(path, {})


@pytest.mark.parametrize("field", ["input", "output"])
def test_a_node_that_lacks_its_ends_has_no_known_cost(tmp_path: Path, field: str) -> None:
    path = make_convolution(tmp_path / "net.onnx")
    model = onnx.load(path)
    del getattr(model.graph.node[0], field)[:]
    onnx.save(model, path)
    assert read_onnx(path, {}).macs is None
