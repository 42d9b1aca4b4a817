"""ONNX Runtime: sequential execution, one pool of threads of a chosen size."""

import os
from typing import Any, Dict, List, Optional

from device_agent.environment import usable_cores
from device_agent.runtimes.opset_probe import find_max_opset
from device_agent.runtimes.session import Description, Feed, Input, Opening, Runtime, RuntimeMissing, Session

CPU = "CPUExecutionProvider"


def _import_onnxruntime() -> Any:
    # From 1.31 on it measures for its maker: a thread beside ours, and files in the user's ~/.cache.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissing("onnxruntime cannot be imported on the board: {}".format(error)) from error
    return onnxruntime


def load() -> Runtime:
    """The runtime, imported. Raises RuntimeMissing where it is not on the path."""
    return Runtime(str(_import_onnxruntime().__version__), open_session)


def open_session(asked: Opening) -> Session:
    """An opened model. What ONNX Runtime raises passes untouched: its message is the answer."""
    onnxruntime = _import_onnxruntime()
    provider, available = asked.provider, onnxruntime.get_available_providers()
    if provider not in available:
        raise RuntimeMissing("{} is not on the board; it has {}".format(provider, ", ".join(available)))
    count = asked.threads or len(usable_cores())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    providers = [provider] if provider == CPU else [provider, CPU]
    session = onnxruntime.InferenceSession(asked.model, options, providers=providers)
    run = session.run

    def infer(feed: Feed) -> List[Any]:
        return run(None, feed)  # type: ignore[no-any-return]  # onnxruntime has no types

    def describe_session() -> Description:
        ran = str(session.get_providers()[0])
        return Description(ran, is_fallback=ran != provider, settings={"threads": count})

    inputs = [Input(one.name, one.type, list(one.shape)) for one in session.get_inputs()]
    return Session(infer, inputs, count, describe_session)


def describe() -> Optional[Dict[str, Any]]:
    """Version, providers and the newest opset that is accepted; None where it is not on the board."""
    try:
        onnxruntime = _import_onnxruntime()
    except RuntimeMissing:
        return None

    def accepts(model: bytes) -> bool:
        try:
            onnxruntime.InferenceSession(model, providers=[CPU])
        except Exception:  # noqa: BLE001 (its exception types are many; a refusal is the answer looked for)
            return False
        return True

    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "max_opset": find_max_opset(accepts),
    }
