"""A stand-in for the module `tensorrt` that computes with ONNX Runtime, for machines without a GPU.

STAND_IN_TENSORRT names the release that it plays: 8.2.1, 8.5.2, 8.6.1, 10.3.0, 11.4.0 and the like. Names
that a release has not are not there, so that using them is an AttributeError as with the real one.
CUDA_HOME must name the folder of the stand-in of libcudart. What it models, and where that is documented:

- names of each release: recorded from the published bindings (tests/recordings/tensorrt_api.json); those of
  8.2 are those of 8.4 without memory pools (release notes of 8.4: set_memory_pool_limit is new);
- until 8.x a network needs EXPLICIT_BATCH for the parser of ONNX (Developer Guide 8.x, "Importing a Model
  Using the ONNX Parser"); the flag does nothing in 10 and is gone in 11 (migration guides);
- weakly typed networks refuse Q/DQ nodes without the flag INT8 (Developer Guide 8.x, "Explicit
  Quantization") and float16 tensors without FP16; strongly typed ones refuse those flags (Developer Guide
  10.x, "Strong Typing vs Weak Typing"); 11 knows only strongly typed ones and has no such flags;
- a network with open inputs needs an optimization profile that holds the shape (Developer Guide, "Working
  with Dynamic Shapes"); set_input_shape answers False for any other;
- plans load only under the release that wrote them: else deserialize_cuda_engine logs an error, and answers
  None;
- until 9 there are no 64-bit integers: inputs of int64 become int32 (ONNX-TensorRT, operators.md);
- bindings by place are gone in 10, tensors by name are new in 8.5 (release notes);
- a refused build is None and a line of the logger, not an exception;
- execution reads and writes memory of the GPU alone; any other address fails at the next synchronization.
"""

import ctypes
import enum
import json
import os
import struct
import zlib

__version__ = os.environ["STAND_IN_TENSORRT"]
_RELEASE = tuple(int(part) for part in __version__.split(".")[:2])
_MAGIC = b"ftrt"


class _Choice(enum.Enum):
    """An enumeration as pybind11 makes them: named, convertible to int, and no int itself."""

    def __int__(self):
        return self.value

    __index__ = __int__


def _make_choice(name, *members):
    return _Choice(name, [(member, place) for place, member in enumerate(members)])


def _since(release, *names):
    return names if release <= _RELEASE else ()


def _until(release, *names):
    return names if release > _RELEASE else ()


DataType = _make_choice(
    "DataType",
    *("FLOAT", "HALF", "INT8", "INT32", "BOOL"),
    *_since((8, 5), "UINT8"),
    *_since((10, 0), "INT64", "BF16"),
)
BuilderFlag = _make_choice(
    "BuilderFlag", *_until((11, 0), "FP16", "INT8"), "DEBUG", "GPU_FALLBACK", "REFIT", "TF32"
)
NetworkDefinitionCreationFlag = _make_choice(
    "NetworkDefinitionCreationFlag", *_until((11, 0), "EXPLICIT_BATCH"), *_since((10, 0), "STRONGLY_TYPED")
)
if _RELEASE >= (8, 4):
    MemoryPoolType = _make_choice("MemoryPoolType", "WORKSPACE", "DLA_MANAGED_SRAM")
if _RELEASE >= (8, 5):
    TensorIOMode = _make_choice("TensorIOMode", "NONE", "INPUT", "OUTPUT")

_TYPES = {
    "tensor(float)": ("FLOAT", "float32"),
    "tensor(float16)": ("HALF", "float16"),
    "tensor(int8)": ("INT8", "int8"),
    "tensor(int32)": ("INT32", "int32"),
    "tensor(int64)": (
        "INT64" if _RELEASE >= (10, 0) else "INT32",
        "int64" if _RELEASE >= (10, 0) else "int32",
    ),
    "tensor(bool)": ("BOOL", "bool"),
    "tensor(uint8)": ("UINT8", "uint8"),
}


class ILogger:
    Severity = _make_choice("Severity", "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def __init__(self):
        self._is_initialized = True


def _check_logger(logger):
    if not getattr(logger, "_is_initialized", False):
        raise TypeError("tensorrt.ILogger.__init__() must be called when overriding __init__")


def init_libnvinfer_plugins(logger, namespace):
    _check_logger(logger)
    logger.log(ILogger.INFO, "plugins are registered")
    return True


class _Input:
    def __init__(self, name, shape, dtype):
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.is_shape_tensor = False


class INetworkDefinition:
    def __init__(self, flags):
        self._model = b""
        self._inputs = []
        self._has_half = False
        self._has_quantizers = False
        self._layers = 0
        named = {one.name for one in NetworkDefinitionCreationFlag if flags >> int(one) & 1}
        self._is_explicit = _RELEASE >= (10, 0) or "EXPLICIT_BATCH" in named
        self._is_strong = _RELEASE >= (11, 0) or "STRONGLY_TYPED" in named

    @property
    def num_inputs(self):
        return len(self._inputs)

    def get_input(self, index):
        return self._inputs[index]


class _ParserError:
    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


class OnnxParser:
    def __init__(self, network, logger):
        _check_logger(logger)
        self._network = network
        self._errors = []

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return _ParserError(self._errors[index])

    def parse_from_file(self, path):
        import onnx

        if not self._network._is_explicit:
            self._errors.append(
                "In node -1 (importModel): INVALID_VALUE: Assertion failed: "
                '!_importer_ctx.network()->hasImplicitBatchDimension() && "This version of the ONNX parser '
                'only supports TensorRT INetworkDefinitions with an explicit batch dimension."'
            )
            return False
        try:
            model = onnx.load(path)
        except Exception:  # noqa: BLE001 (protobuf has many)
            self._errors.append("In node -1 (): INVALID_GRAPH: Failed to parse ONNX model from file: " + path)
            return False
        _fill_network(self._network, model)
        return True


def _fill_network(network, model):
    import onnx

    graph = model.graph
    half = onnx.TensorProto.FLOAT16
    values = [*graph.input, *graph.output, *graph.value_info]
    network._model = model.SerializeToString()
    network._layers = len(graph.node)
    network._has_half = any(one.data_type == half for one in graph.initializer) or any(
        one.type.tensor_type.elem_type == half for one in values
    )
    network._has_quantizers = any(
        node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node
    )
    session = _open_model(network._model)
    network._inputs = [
        _Input(one.name, _open_shape(one.shape), DataType[_TYPES[one.type][0]])
        for one in session.get_inputs()
    ]


def _open_model(model):
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _open_shape(shape):
    return tuple(extent if isinstance(extent, int) else -1 for extent in shape)


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]


class IBuilderConfig:
    def __init__(self):
        self._flags = set()
        self._profiles = []
        if _RELEASE < (10, 0):
            self.max_workspace_size = 0

    def set_flag(self, flag):
        self._flags.add(flag.name)

    def get_flag(self, flag):
        return flag.name in self._flags

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_memory_pool_limit(self, pool, pool_size):
        if not isinstance(pool, MemoryPoolType):
            raise TypeError("set_memory_pool_limit(): incompatible function arguments")


class Builder:
    def __init__(self, logger):
        _check_logger(logger)
        self._logger = logger

    def create_network(self, flags=0):
        if not isinstance(flags, int):
            raise TypeError("create_network(): incompatible function arguments")
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        refusal = _find_refusal(network, config)
        if refusal is not None:
            self._logger.log(ILogger.ERROR, refusal)
            return None
        shapes = dict(config._profiles[0]._shapes) if config._profiles else {}
        head = {
            "version": __version__,
            "shapes": shapes,
            "crc": zlib.crc32(network._model),
            "layers": network._layers,
        }
        text = json.dumps(head).encode()
        return IHostMemory(_MAGIC + struct.pack("<I", len(text)) + text + network._model)


def _find_refusal(network, config):
    flags = config._flags & {"FP16", "INT8"}
    if network._is_strong and flags:
        return (
            "IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check failed, "
            f"condition: !config.getFlag(BuilderFlag::k{min(flags)}). Network is strongly typed)"
        )
    told = "4: [network.cpp::validate::2789] Error Code 4: Internal Error ({} precision has been set for a "
    told += "layer or layer output, but {} is not configured in the builder)"
    for is_there, name in ((network._has_quantizers, "Int8"), (network._has_half, "Fp16")):
        if is_there and not network._is_strong and name.upper() not in flags:
            return told.format(name, name.lower())
    is_open = any(-1 in one.shape for one in network._inputs)
    if is_open and not config._profiles:
        return (
            "4: [network.cpp::validate::2965] Error Code 4: Internal Error (Network has dynamic or shape "
            "inputs, but no optimization profile has been defined.)"
        )
    return None


class IHostMemory:
    def __init__(self, content):
        self._content = content

    @property
    def nbytes(self):
        return len(self._content)

    def __bytes__(self):
        return self._content


class Runtime:
    def __init__(self, logger):
        _check_logger(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        head, model = _split_plan(bytes(serialized_engine))
        if head is None or head["crc"] != zlib.crc32(model):
            self._logger.log(ILogger.ERROR, _BROKEN_PLAN)
            return None
        if head["version"] != __version__:
            self._logger.log(ILogger.ERROR, _FOREIGN_PLAN.format(__version__, head["version"]))
            return None
        return ICudaEngine(self._logger, head, model)


_BROKEN_PLAN = (
    "1: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization (Serialization assertion "
    "magicTagRead == kMAGIC_TAG failed.Magic tag does not match)"
)
_FOREIGN_PLAN = (
    "6: The engine plan file is not compatible with this version of TensorRT, expecting library version {} "
    "got {}, please rebuild."
)


def _split_plan(content):
    """The head of a plan and the model behind it; no head where the plan is none."""
    if content[:4] != _MAGIC or len(content) < 8:
        return None, b""
    (size,) = struct.unpack("<I", content[4:8])
    try:
        return json.loads(content[8 : 8 + size].decode()), content[8 + size :]
    except ValueError:
        return None, b""


class ICudaEngine:
    def __init__(self, logger, head, model):
        self._logger = logger
        self._session = _open_model(model)
        self._shapes = head["shapes"]
        self._layers = head["layers"]
        self._puts = [(one, True) for one in self._session.get_inputs()]
        self._puts += [(one, False) for one in self._session.get_outputs()]

    @property
    def num_layers(self):
        return self._layers

    def create_execution_context(self):
        return IExecutionContext(self)

    @property
    def num_io_tensors(self):
        return len(self._puts)

    def get_tensor_name(self, index):
        return self._puts[index][0].name

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if self._find(name)[1] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType[_TYPES[self._find(name)[0].type][0]]

    def get_tensor_shape(self, name):
        return _open_shape(self._find(name)[0].shape)

    @property
    def num_bindings(self):
        return len(self._puts)

    def get_binding_name(self, index):
        return self._puts[index][0].name

    def binding_is_input(self, index):
        return self._puts[index][1]

    def get_binding_dtype(self, index):
        return DataType[_TYPES[self._puts[index][0].type][0]]

    def get_binding_shape(self, index):
        return _open_shape(self._puts[index][0].shape)

    def _find(self, name):
        return next(one for one in self._puts if one[0].name == name)


class IExecutionContext:
    def __init__(self, engine):
        self._engine = engine
        self._given = {}
        self._addresses = {}
        self._cuda = ctypes.CDLL(f"{os.environ['CUDA_HOME']}/lib64/libcudart.so")

    def set_input_shape(self, name, shape):
        return self._fix_shape(name, shape)

    def get_tensor_shape(self, name):
        return self._tell_shape(name)

    def set_binding_shape(self, index, shape):
        return self._fix_shape(self._engine._puts[index][0].name, shape)

    def get_binding_shape(self, index):
        return self._tell_shape(self._engine._puts[index][0].name)

    def _fix_shape(self, name, shape):
        put, is_input = self._engine._find(name)
        allowed = self._engine._shapes.get(name)
        fixed = _open_shape(put.shape)
        fits = is_input and (list(shape) in allowed if allowed else tuple(shape) == fixed)
        if fits:
            self._given[name] = tuple(shape)
        else:
            message = (
                "3: [executionContext.cpp::setInputShape::2020] Error Code 3: API Usage Error (Parameter "
            )
            message += "check failed: the shape {} of {} is not in the profile)"
            self._engine._logger.log(ILogger.ERROR, message.format(tuple(shape), name))
        return fits

    def _tell_shape(self, name):
        put, is_input = self._engine._find(name)
        shape = self._given.get(name, _open_shape(put.shape)) if is_input else self._infer_shape(name)
        return tuple(shape)

    def set_tensor_address(self, name, memory):
        if not isinstance(memory, int):
            raise TypeError("set_tensor_address(): incompatible function arguments")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        return self._execute(self._addresses, stream_handle)

    def execute_async_v2(self, bindings, stream_handle):
        names = [put.name for put, _ in self._engine._puts]
        return self._execute(dict(zip(names, bindings, strict=True)), stream_handle)

    def _infer_shape(self, name):
        """The shape of an output: found by computing it from zeros."""
        import numpy

        zeros = {
            put.name: numpy.zeros(self._tell_shape(put.name), dtype=_onnx_dtype(put.type))
            for put in self._engine._session.get_inputs()
        }
        return self._engine._session.run([name], zeros)[0].shape

    def _execute(self, addresses, stream):
        if not isinstance(stream, int):
            raise TypeError("incompatible function arguments: the stream's handle is a number")
        unset = [put.name for put, _ in self._engine._puts if put.name not in addresses]
        if unset:
            message = (
                "3: [executionContext.cpp::enqueueV3::2666] Error Code 3: API Usage Error (Neither address "
            )
            message += "or allocator is set for tensor {}.)"
            self._engine._logger.log(ILogger.ERROR, message.format(unset[0]))
            return False
        self._cuda.stand_in_flush()
        feed = {}
        for put in self._engine._session.get_inputs():
            held = self._view(put, addresses[put.name], self._tell_shape(put.name))
            if held is None:
                return True  # it fails later, as a kernel does
            feed[put.name] = held.astype(_onnx_dtype(put.type))
        outputs = self._engine._session.run(None, feed)
        for put, output in zip(self._engine._session.get_outputs(), outputs, strict=True):
            held = self._view(put, addresses[put.name], output.shape)
            if held is not None:
                held[...] = output
        return True

    def _view(self, put, address, shape):
        """The array at an address of the GPU; None, and a failure to come, for any other address."""
        import numpy

        dtype = numpy.dtype(_TYPES[put.type][1])
        size = int(numpy.prod(shape)) * dtype.itemsize
        if not self._cuda.stand_in_is_device(ctypes.c_void_p(address), ctypes.c_size_t(size)):
            self._cuda.stand_in_fail()
            return None
        return numpy.frombuffer((ctypes.c_byte * size).from_address(address), dtype=dtype).reshape(shape)


def _onnx_dtype(kind):
    return "int64" if kind == "tensor(int64)" else _TYPES[kind][1]


def _drop(owner, *names):
    for name in names:
        delattr(owner, name)


if _RELEASE < (8, 4):
    _drop(IBuilderConfig, "set_memory_pool_limit")
if _RELEASE < (8, 5):
    _drop(ICudaEngine, "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype")
    _drop(ICudaEngine, "get_tensor_shape")
    _drop(IExecutionContext, "set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3")
if _RELEASE >= (10, 0):
    _drop(ICudaEngine, "num_bindings", "get_binding_name", "binding_is_input", "get_binding_dtype")
    _drop(ICudaEngine, "get_binding_shape")
    _drop(IExecutionContext, "set_binding_shape", "get_binding_shape", "execute_async_v2")
