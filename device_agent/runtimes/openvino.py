"""OpenVINO: the ONNX file compiled for one shape, one stream, and threads that are not pinned to cores.

Pinning is OpenVINO's default on x86 with Linux. Here it is off: a pinned thread cannot leave a core that
something else uses, and other runtimes do not pin, so they would be compared by different rules.
"""

import sys
from typing import Any, Dict, List, Optional

from device_agent.environment import usable_cores
from device_agent.runtimes.opset_probe import find_max_opset
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

# f32 unless asked: OpenVINO would compute in bf16 or f16 wherever the processor can.
OPTIONS = {"inference_precision": ("f32", "f16", "bf16")}

_ASKED = {
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "ENABLE_CPU_PINNING": False,
    "ENABLE_HYPER_THREADING": True,  # else fewer threads may run than were asked for
}
_REPORTED = (
    "NUM_STREAMS",
    "INFERENCE_NUM_THREADS",
    "PERFORMANCE_HINT",
    "EXECUTION_MODE_HINT",
    "ENABLE_CPU_PINNING",
    "ENABLE_HYPER_THREADING",
    "SCHEDULING_CORE_TYPE",
    "CPU_DENORMALS_OPTIMIZATION",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
)
_NOT_COMPUTED = {"Input", "Output", "Const"}


def _import_openvino() -> Any:
    # Importing openvino writes to ~/intel and reports to its maker through this package, where it is there.
    # Python takes None for a module that cannot be imported; openvino then goes without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    openvino = import_package("openvino")
    if not hasattr(openvino, "Core"):
        raise RuntimeMissing("openvino on the board is older than 2023.1. Install a newer one")
    return openvino


def load() -> Runtime:
    """The runtime, imported. Raises RuntimeMissing where it is not on the path."""
    return Runtime(_read_version(_import_openvino()), open_session)


def open_session(asked: Opening) -> Session:
    """A model compiled for the shapes of the feed. What OpenVINO raises passes untouched."""
    check_options("openvino", asked.options, OPTIONS)
    core = _import_openvino().Core()
    if asked.provider not in core.available_devices:
        devices = ", ".join(core.available_devices) or "none"
        raise RuntimeMissing("{} is no device of openvino here; it has {}".format(asked.provider, devices))
    model = core.read_model(asked.model)
    inputs = [_describe_input(one) for one in model.inputs]
    model.reshape({name: list(array.shape) for name, array in asked.feed.items()})
    compiled: Any = core.compile_model(model, asked.provider, _choose_settings(core, asked))
    settings = _report_settings(compiled)
    _check_precision(asked, settings)
    request: Any = compiled.create_infer_request()

    def infer(feed: Feed) -> List[Any]:
        # Inputs are read where they lie. Outputs are copies: the next inference writes over the originals.
        return list(request.infer(feed, share_inputs=True).values())

    def describe_session() -> Description:
        devices = [str(device) for device in compiled.get_property("EXECUTION_DEVICES")]
        nodes = {devices[0]: _count_nodes(compiled)} if len(devices) == 1 else None
        return Description(devices[0], devices != [asked.provider], settings, nodes)

    def close() -> None:
        nonlocal compiled, request
        compiled = request = None

    return Session(infer, inputs, settings.get("INFERENCE_NUM_THREADS"), describe_session, close)


def _describe_input(one: Any) -> Input:
    shape = one.get_partial_shape()
    extents = [] if shape.rank.is_dynamic else list(shape)
    lengths = [None if extent.is_dynamic else extent.get_length() for extent in extents]
    return Input(one.get_any_name(), one.get_element_type().to_string(), lengths)


def _choose_settings(core: Any, asked: Opening) -> Dict[str, Any]:
    """Properties for compiling, without those that the device does not have: a GPU has no threads."""
    settings = dict(_ASKED, INFERENCE_NUM_THREADS=asked.threads or len(usable_cores()))
    settings["INFERENCE_PRECISION_HINT"] = asked.options.get("inference_precision", "f32")
    known = core.get_property(asked.provider, "SUPPORTED_PROPERTIES")
    return {name: value for name, value in settings.items() if name in known}


def _report_settings(compiled: Any) -> Dict[str, Any]:
    """What the compiled model really has, in JSON's types."""
    known = compiled.get_property("SUPPORTED_PROPERTIES")
    settings: Dict[str, Any] = {}
    for name in _REPORTED:
        if name in known:
            value = compiled.get_property(name)
            settings[name] = value if isinstance(value, (bool, int, float, str)) else value.name
    settings["inference_precision"] = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return settings


def _check_precision(asked: Opening, settings: Dict[str, Any]) -> None:
    """Raises ValueError where OpenVINO computes in another type than the asked one, as it silently does."""
    wanted, has = asked.options.get("inference_precision", "f32"), settings["inference_precision"]
    if has != wanted:
        message = "inference_precision {} is not what openvino computes in on this {}: it takes {}"
        raise ValueError(message.format(wanted, asked.provider, has))


def _count_nodes(compiled: Any) -> int:
    """The nodes that compute in the graph as it is executed."""
    kinds = [str(one.get_rt_info()["layerType"].value) for one in compiled.get_runtime_model().get_ops()]
    return sum(kind not in _NOT_COMPUTED for kind in kinds)


def _read_version(openvino: Any) -> str:
    """2025.3.0 of "2025.3.0-19807-44526285f24-releases/2025/3"."""
    return str(openvino.__version__).split("-")[0]


def describe() -> Optional[Dict[str, Any]]:
    """Version, devices and the newest opset that is accepted; None where it is not on the board.

    The opset is None as well: OpenVINO reads a newer one than it knows as the newest that it knows.
    """
    try:
        openvino = _import_openvino()
    except RuntimeMissing:
        return None
    core = openvino.Core()

    def accepts(model: bytes) -> bool:
        try:
            core.read_model(model)
        except RuntimeError:
            return False
        return True

    return {
        "version": _read_version(openvino),
        "providers": [str(device) for device in core.available_devices],
        "max_opset": find_max_opset(accepts),
    }
