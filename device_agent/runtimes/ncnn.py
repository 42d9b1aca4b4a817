"""ncnn on the CPU: one item at a time, from the file that the host converted and packed for it.

That file is a zip without compression: `model.param` and `model.bin` as ncnn reads them, and
`boardbench.json` with the names and the shapes that the model's inputs and outputs have in ONNX.
"""

import io
import json
import os
import shutil
import tempfile
import zipfile
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional

from device_agent.environment import usable_cores
from device_agent.runtimes.session import (
    Description,
    Feed,
    Input,
    Opening,
    Runtime,
    RuntimeMissing,
    Session,
    check_options,
    import_package,
)

CPU = "CPU"
FORMAT = 1
OPTIONS = {"inference_precision": ("f32", "f16", "bf16")}

_OUT_OF_MEMORY = -100  # what every layer of ncnn returns where an allocation failed
_LEFT_AS_THEY_ARE = ("use_packing_layout", "use_winograd_convolution", "use_sgemm_convolution", "lightmode")
_SMALLEST_NET = b"7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n"


class Port(NamedTuple):
    """One input or output: its name in ONNX, its name in ncnn, and its shape in ONNX, which begins with 1."""

    name: str
    blob: str
    shape: List[int]


class Packed(NamedTuple):
    """What a packed file says of itself; `layers` are those of its graph."""

    inputs: List[Port]
    outputs: List[Port]
    layers: int
    converter: str


def load() -> Runtime:
    """The runtime, imported. Raises RuntimeMissing where it is not on the path."""
    return Runtime(str(import_package("ncnn").__version__), open_session)


def open_session(asked: Opening) -> Session:
    """An opened model. Raises ValueError for a file, a feed or an option that does not suit ncnn."""
    ncnn = import_package("ncnn")
    if asked.provider != CPU:
        raise RuntimeMissing("{} is no provider of ncnn; it has {}".format(asked.provider, CPU))
    check_options("ncnn", asked.options, OPTIONS)
    precision = asked.options.get("inference_precision", "f32")
    count = asked.threads or len(usable_cores())
    with _open_packed(asked.model) as archive:
        packed = read_packed(archive)
        check_feed(packed.inputs, asked.feed)
        bits = _find_stored_bits(ncnn, precision, asked.cache)
        net = ncnn.Net()
        _set_options(net.opt, precision, count)
        _load_net(net, archive, asked.cache)
    settings = _report_settings(ncnn, net.opt, precision, bits, packed)
    inputs = [Input(one.name, "tensor(float)", list(one.shape)) for one in packed.inputs]

    def describe_session() -> Description:
        return Description(CPU, is_fallback=False, settings=settings, nodes={CPU: packed.layers})

    return Session(_make_infer(ncnn, net, packed), inputs, count, describe_session)


def _make_infer(ncnn: Any, net: Any, packed: Packed) -> Any:
    """The inference: values copied into ncnn's own memory, a fresh extractor, outputs copied out of it.

    The memory of the inputs is ncnn's, because its layers may not write over values that it only borrowed,
    and do (or crash) where the first layer works in place.
    """
    import numpy

    bound = [(one.name, one.blob) + _make_input(ncnn, one) for one in packed.inputs]

    def infer(feed: Feed) -> List[Any]:
        extractor = net.create_extractor()
        for name, blob, mat, view in bound:
            numpy.copyto(view, feed[name])
            if extractor.input(blob, mat) != 0:
                raise RuntimeError("ncnn's graph has no input for {}".format(name))
        return [_take(extractor, one, numpy) for one in packed.outputs]

    return infer


def _make_input(ncnn: Any, port: Port) -> Any:
    """Memory for one input, and a view of it with the shape that the input has in ONNX."""
    import numpy

    mat = ncnn.Mat(tuple(reversed(port.shape[1:])))
    view = numpy.asarray(mat)[numpy.newaxis]
    if list(view.shape) != port.shape:
        raise ValueError("ncnn holds {} as {}, not {}".format(port.name, view.shape, port.shape))
    return mat, view


def _take(extractor: Any, port: Port, numpy: Any) -> Any:
    """One output, in the shape that ONNX gives it. What is computed for it is computed here."""
    code, mat = extractor.extract(port.blob)
    if code == _OUT_OF_MEMORY:
        raise MemoryError("ncnn found no memory for {}".format(port.name))
    if code != 0 or mat.empty():
        raise RuntimeError("ncnn did not compute {}: code {}".format(port.name, code))
    output = numpy.array(mat)  # a copy: ncnn uses its memory again
    return output.reshape(port.shape)


def _open_packed(path: str) -> Any:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError("the model is not packed for ncnn: the host converts ONNX files") from error


def read_packed(archive: Any) -> Packed:
    """What a packed file says of itself. Raises ValueError where it is none that this agent reads."""
    try:
        told = json.loads(archive.read("boardbench.json").decode())
        layers = int(archive.open("model.param").read(64).split()[1])
        is_known = told["format"] == FORMAT
        inputs, outputs = ([_read_port(one) for one in told[key]] for key in ("inputs", "outputs"))
        packed = Packed(inputs, outputs, layers, str(told["converter"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError("the model is not packed for ncnn: {}".format(error)) from error
    if not is_known:
        raise ValueError("this agent reads format {} of models packed for ncnn".format(FORMAT))
    return packed


def _read_port(told: Dict[str, Any]) -> Port:
    return Port(str(told["name"]), str(told["blob"]), [int(extent) for extent in told["shape"]])


def check_feed(inputs: List[Port], feed: Feed) -> None:
    """Raises ValueError unless the feed has one array for each input, of its shape and of float32."""
    if {one.name for one in inputs} != set(feed):
        names = ", ".join(one.name for one in inputs)
        raise ValueError("the model takes {}, it is fed {}".format(names, ", ".join(sorted(feed))))
    for one in inputs:
        array = feed[one.name]
        shape = list(array.shape)
        if shape[1:] == one.shape[1:] and shape != one.shape:
            raise ValueError(
                "ncnn takes one item at a time, not a batch of {}: {}".format(shape[0], one.name)
            )
        if shape != one.shape or str(array.dtype) != "float32":
            message = "{} is {} of float32, it is fed {} of {}"
            raise ValueError(message.format(one.name, one.shape, shape, array.dtype))


def _set_options(options: Any, precision: str, threads: int) -> None:
    options.use_vulkan_compute = False
    options.num_threads = threads
    for kind in ("packed", "storage", "arithmetic"):
        for asked, name in (("f16", "use_fp16_"), ("bf16", "use_bf16_")):
            if hasattr(options, name + kind):  # older releases have fewer, and no bf16 arithmetic exists
                setattr(options, name + kind, precision == asked)


def _find_stored_bits(ncnn: Any, precision: str, cache: str) -> int:
    """How wide ncnn stores a value between layers on this CPU, asked of the smallest net that there is.

    Raises ValueError where it would not use the asked precision, as it silently does: f16 without an ARMv8.2
    that computes in it (up to the Raspberry Pi 4), and on x86, where f16 narrows weights alone.
    """
    net = ncnn.Net()
    _set_options(net.opt, precision, 1)
    _read_unnamed(net.load_param, io.BytesIO(_SMALLEST_NET), cache)
    net.load_model(ncnn.DataReaderFromEmpty())
    mat = ncnn.Mat((4, 4, 16))
    mat.fill(1.0)
    extractor = net.create_extractor()
    extractor.input("in0", mat)
    as_it_is = 1
    _, raw = extractor.extract("out0", as_it_is)
    bits = 8 * raw.elemsize // max(1, raw.elempack)
    if bits != (32 if precision == "f32" else 16):
        message = "ncnn does not compute in {} on this CPU: it keeps values in {} bits"
        raise ValueError(message.format(precision, bits))
    return int(bits)


def _load_net(net: Any, archive: Any, cache: str) -> None:
    for member, read in (("model.param", net.load_param), ("model.bin", net.load_model)):
        with archive.open(member) as source:
            code = _read_unnamed(read, source, cache)
        if code != 0:
            # It has said what is wrong on stderr, which ends up among the last lines of the worker.
            raise ValueError("ncnn cannot read the {} of this model: code {}".format(member, code))


def _read_unnamed(read: Callable[[str], int], source: IO[bytes], cache: str) -> int:
    """What ncnn says to a file without a name: from Python it reads nothing but files, in most releases."""
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache) as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        return read("/proc/self/fd/{}".format(file.fileno()))


def _report_settings(ncnn: Any, options: Any, precision: str, bits: int, packed: Packed) -> Dict[str, Any]:
    """What decides speed beside the model, as the net has it."""
    settings = {name: getattr(options, name) for name in _LEFT_AS_THEY_ARE}
    settings.update(
        threads=options.num_threads,
        inference_precision=precision,
        stored_bits=bits,
        # Without it, 16 bits are only how values are stored.
        fp16_arithmetic=precision == "f16" and bool(ncnn.cpu_support_arm_asimdhp()),
        vulkan=options.use_vulkan_compute,
        powersave=ncnn.get_cpu_powersave(),
        # Whether threads spin while they wait; None is libgomp's own way, which spins for a moment.
        omp_wait_policy=os.environ.get("OMP_WAIT_POLICY"),
        converter=packed.converter,
    )
    return settings


def describe() -> Optional[Dict[str, Any]]:
    """Version and providers; None where it is not on the board. It reads no ONNX, so no opset is known."""
    try:
        ncnn = import_package("ncnn")
    except RuntimeMissing:
        return None
    return {"version": str(ncnn.__version__), "providers": [CPU], "max_opset": None}
