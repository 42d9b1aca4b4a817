"""Which providers an ONNX Runtime session gets, and the options that each of them needs."""

import os
import re
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from device_agent.runtimes.onnx_types import OnnxTypes, read_onnx_types
from device_agent.runtimes.session import Opening

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"

# Older ones refuse the option: https://github.com/microsoft/onnxruntime/pull/17865
_FIRST_WITH_TIMING_CACHE = (1, 17)

_WHAT_TO_INSTALL = {
    CUDA: "onnxruntime-gpu",
    OPENVINO: "onnxruntime-openvino",
    TENSORRT: "onnxruntime-gpu and TensorRT",
    XNNPACK: "an onnxruntime that was built with --use_xnnpack",
}

ProviderOptions = Dict[str, Any]


class Plan(NamedTuple):
    """How a session is to be opened.

    `threads` compute, `session_threads` of them in the session's own pool. `dimensions` gives open extents
    of the inputs their size. `engines` is the folder of what TensorRT builds, "" for other providers.
    """

    providers: List[Tuple[str, ProviderOptions]]
    threads: int
    session_threads: int
    spinning: bool
    arena: bool
    dimensions: Dict[str, int]
    engines: str


def plan_session(asked: Opening, threads: int, available: Sequence[str], version: str) -> Plan:
    """The plan for a provider that is available; `version` is ONNX Runtime's."""
    is_xnnpack = asked.provider == XNNPACK
    engines, dimensions, tensorrt = "", {}, {}  # type: str, Dict[str, int], ProviderOptions
    if asked.provider == TENSORRT:
        types = read_onnx_types(asked.model)
        engines = name_engine_folder(asked, version)
        dimensions = fix_dimensions(types, asked)
        tensorrt = choose_tensorrt_options(types, engines, version)
    # XNNPACK computes in a pool of its own; two pools would fight for the cores, and its makers advise this:
    # https://onnxruntime.ai/docs/execution-providers/Xnnpack-ExecutionProvider.html
    options: Dict[str, ProviderOptions] = {
        XNNPACK: {"intra_op_num_threads": str(threads)},
        OPENVINO: {"num_of_threads": str(threads)},
        TENSORRT: tensorrt,
    }
    return Plan(
        providers=[(name, options.get(name, {})) for name in chain_providers(asked.provider, available)],
        threads=threads,
        session_threads=1 if is_xnnpack else threads,
        spinning=asked.options.get("spinning", not is_xnnpack),
        arena=asked.options.get("arena", True),
        dimensions=dimensions,
        engines=engines,
    )


def explain_missing(provider: str, available: Sequence[str]) -> str:
    """What to say where a provider is not there."""
    install = _WHAT_TO_INSTALL.get(provider)
    advice = ". Install {} for the board's Python".format(install) if install else ""
    return "{} is not on the board; it has {}{}".format(provider, ", ".join(available), advice)


def chain_providers(asked: str, available: Sequence[str]) -> List[str]:
    """The asked provider, then those that take the nodes which it cannot run."""
    chain = [asked]
    if asked == TENSORRT and CUDA in available:
        chain.append(CUDA)
    if asked != CPU:
        chain.append(CPU)
    return chain


def choose_tensorrt_options(types: OnnxTypes, engines: str, version: str) -> ProviderOptions:
    """Engines are cached, and the precision is that of the file.

    Up to TensorRT 10 the builder refuses 16-bit tensors and Q/DQ nodes unless it may use those types. A file
    without them must not get that permission: fp16 would be computed where nobody asked for it, and int8
    would want a calibration table (which files with Q/DQ nodes must not have).
    """
    options: ProviderOptions = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": engines,
        "trt_fp16_enable": types.has_half,
        "trt_int8_enable": types.is_quantized,
    }
    if read_version(version) >= _FIRST_WITH_TIMING_CACHE:
        options["trt_timing_cache_enable"] = True
        options["trt_timing_cache_path"] = os.path.dirname(engines)
    return options


def name_engine_folder(asked: Opening, version: str) -> str:
    """A folder for each model, shape of inputs and version of ONNX Runtime.

    ONNX Runtime itself keeps engines of another batch under the same name, and widens them to both; engines
    of other GPUs and versions of TensorRT get other names from it.
    """
    shapes = sorted((name, tuple(array.shape), str(array.dtype)) for name, array in asked.feed.items())
    import hashlib

    rest = hashlib.sha256(repr((shapes, version)).encode()).hexdigest()
    return os.path.join(asked.cache, "ort-trt", "{}-{}".format(asked.sha256[:16], rest[:8]))


def fix_dimensions(types: OnnxTypes, asked: Opening) -> Dict[str, int]:
    """Sizes of named open extents: without them TensorRT builds during the first inference, not before."""
    return {
        extent: int(size)
        for name, shape in types.inputs
        if name in asked.feed
        for extent, size in zip(shape, asked.feed[name].shape)  # noqa: B905 (strict= needs 3.10)
        if isinstance(extent, str)
    }


def list_engines(folder: str) -> Dict[str, float]:
    """Names of the engines in a folder, and when each was written."""
    if not os.path.isdir(folder):
        return {}
    names = [name for name in os.listdir(folder) if name.endswith(".engine")]
    return {name: os.path.getmtime(os.path.join(folder, name)) for name in names}


def read_version(text: str) -> Tuple[int, ...]:
    """(1, 18) of "1.18.0+cu12"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
