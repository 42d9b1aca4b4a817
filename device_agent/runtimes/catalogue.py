"""The runtimes that this agent knows, by the names that jobs give them."""

import importlib
from typing import Any, Dict, Optional

from device_agent.runtimes.session import Runtime

NAMES = ("ncnn", "onnxruntime", "openvino", "tensorrt")


def load_runtime(name: str) -> Runtime:
    """The runtime, imported. Raises RuntimeMissing where it is not on the board."""
    runtime: Runtime = _import_module(name).load()
    return runtime


def describe_runtime(name: str) -> Optional[Dict[str, Any]]:
    """Version, providers and the newest opset it reads (`max_opset`); None where it is not there."""
    told: Optional[Dict[str, Any]] = _import_module(name).describe()
    return told


def _import_module(name: str) -> Any:
    """Our module about a runtime. Only the asked one is loaded: a worker that loads all starts later."""
    return importlib.import_module("device_agent.runtimes." + name)
