"""Any ONNX file: what goes in, what it needs of a runtime, and what it costs on paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from host.compress.feeds import check_inputs
from host.compress.onnx_cost import count_macs, count_parameters, find_precision
from host.compress.origins import hash_file
from host.errors import ModelError
from host.plan import digest
from host.specs.artifact import Artifact, Blob, Tensor

LARGEST = 2**31 - 1
"""A protobuf message, and so an ONNX file without external data, is smaller than 2 GiB."""

Shapes = Mapping[str, tuple[int, ...]]


def read_onnx(path: Path, shapes: Shapes) -> Artifact:
    """What an ONNX file is. `shapes` settles, by input name, the extents that the file leaves open.

    A shape under the empty name is for the only input. Parameters and MACs are None where the file does not
    tell them. Raises ModelError where the file is no ONNX, keeps its weights in other files, has open
    extents that `shapes` does not settle, or takes inputs that cannot be made up.
    """
    model = load_onnx(path)
    found = read_inputs(model, path)
    if not found:
        raise ModelError(f"{path}: has no inputs, and so nothing to be fed")
    if "" in shapes and len(found) == 1:
        shapes = {found[0].name: shapes[""]}
    _check_names(shapes, found, path)
    inputs = tuple(_settle(tensor, shapes.get(tensor.name)) for tensor in found)
    _check_settled(inputs, path)
    check_inputs(inputs)
    settled = {tensor.name: tuple(extent or 0 for extent in tensor.shape) for tensor in inputs}
    try:
        params = count_parameters(model)
    except ValueError as error:
        raise ModelError(f"{path}: one of its weights is damaged: {error}", _HOW_TO_EXPORT) from error
    sha256 = hash_file(path)
    return Artifact(
        model=path.stem,
        variant="file",
        variant_id=digest({"sha256": sha256, "shapes": settled}),
        blob=Blob(path=path.resolve(), sha256=sha256, size=path.stat().st_size),
        inputs=inputs,
        opset=read_opset(model, path),
        precision=find_precision(model),
        params=params.total,
        params_nonzero=params.nonzero,
        macs=count_macs(model, settled),
    )


def load_onnx(path: Path) -> onnx.ModelProto:
    """The model that a file holds, weights included."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ModelError(
                f"{path}: {size / 2**30:.1f} GiB; ONNX files of 2 GiB and more are not supported",
                "Quantize it, or cut it into smaller models.",
            )
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: the file does not exist") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ModelError(f"{path}: is not an ONNX file, or was cut short", _HOW_TO_EXPORT) from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: is not an ONNX file: it holds no graph", _HOW_TO_EXPORT)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(
            f"{path}: keeps its weights in other files, which is not supported",
            f"Put them into one: `python -c \"import onnx; onnx.save(onnx.load('{path.name}'), "
            f"'{path.stem}-whole.onnx')\"`.",
        )
    return model


_HOW_TO_EXPORT = "Export one with `torch.onnx.export(model, inputs, 'model.onnx', external_data=False)`."


def read_opset(model: onnx.ModelProto, path: Path) -> int:
    """The version of ONNX's own operator set that the model needs."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ModelError(f"{path}: names no version of ONNX's operator set")


def read_inputs(model: onnx.ModelProto, path: Path) -> tuple[Tensor, ...]:
    """The inputs that a caller has to feed; weights may be listed among a graph's inputs too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(_read_input(value, path) for value in model.graph.input if value.name not in weights)


def _read_input(value: onnx.ValueInfoProto, path: Path) -> Tensor:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value")
        raise ModelError(f"{path}: the input {value.name!r} is a {kind}; only tensors can be fed")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelError(
            f"{path}: the input {value.name!r} has no shape, not even a number of dimensions",
            "Export it with the shapes of its inputs.",
        )
    extents = tuple(
        int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in tensor.shape.dim
    )
    if tensor.elem_type not in TensorProto.DataType.values():
        raise ModelError(f"{path}: the input {value.name!r} has an element type that ONNX does not know")
    return Tensor(name=value.name, dtype=TensorProto.DataType.Name(tensor.elem_type).lower(), shape=extents)


def _settle(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """The input in the asked shape. Raises ModelError where the file fixes another one."""
    if shape is None:
        return tensor
    fits = len(shape) == len(tensor.shape) and all(
        own in (None, asked) for own, asked in zip(tensor.shape, shape, strict=True)
    )
    if not fits or min(shape, default=1) < 1:
        raise ModelError(
            f"the input {tensor.name!r} cannot be {_format_shape(shape)}: "
            f"the model takes {_format_shape(tensor.shape)}"
        )
    return tensor.model_copy(update={"shape": shape})


def _check_names(shapes: Shapes, inputs: tuple[Tensor, ...], path: Path) -> None:
    names = [tensor.name for tensor in inputs]
    for name in shapes:
        if name not in names:
            raise ModelError(
                f"{path}: has no input {name!r}" if name else f"{path}: has several inputs, name one of them",
                f"Its inputs are {', '.join(names)}.",
            )


def _check_settled(inputs: tuple[Tensor, ...], path: Path) -> None:
    """Every open extent must be settled: what a model costs depends on it."""
    opened = [tensor for tensor in inputs if None in tensor.shape]
    if not opened:
        return
    told = "; ".join(f"{tensor.name!r} is {_format_shape(tensor.shape)}" for tensor in opened)
    words = " ".join(f"--shape {tensor.name}={_suggest_shape(tensor.shape)}" for tensor in opened)
    raise ModelError(f"{path}: leaves extents of its inputs open: {told}", f"Settle them, such as: {words}")


def _format_shape(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if extent is None else str(extent) for extent in shape) or "a scalar"


def _suggest_shape(shape: tuple[int | None, ...]) -> str:
    """A shape to start from: one at the front, 224 by 224 where an image's height and width are open."""
    guesses = (1, 3, 224, 224) if len(shape) == 4 else (1,) + (128,) * (len(shape) - 1)
    return ",".join(str(guess if own is None else own) for own, guess in zip(shape, guesses, strict=False))
