"""What is asked of TensorRT, what an engine depends on, and where those built on this board lie."""

import hashlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from device_agent.runtimes.onnx_types import OnnxTypes
from device_agent.runtimes.session import Opening, RuntimeMissing, check_options
from device_agent.sensors.load import read_memory

GPU = "GPU"
_LARGEST_MIB = 4096
_FALLBACK_MIB = 256
_SHARE = 4


class Recipe(NamedTuple):
    """What decides an engine beside the GPU and TensorRT.

    `precisions` are those of the file beside fp32. `shapes` are of all inputs; `open_inputs` names those
    whose shape the file leaves open.
    """

    model: str
    sha256: str
    precisions: List[str]
    shapes: Dict[str, List[int]]
    open_inputs: List[str]
    workspace_mib: int


def check_asked(asked: Opening) -> None:
    """Raises for a provider or an option that TensorRT has not."""
    if asked.provider != GPU:
        raise RuntimeMissing("tensorrt has no {}; it has {}".format(asked.provider, GPU))
    check_options("tensorrt", asked.options, {})


def write_recipe(asked: Opening, types: OnnxTypes) -> Recipe:
    """The recipe for a model with the shapes of its feed. Raises ValueError where an input has no feed."""
    # Files of old ONNX list their weights among the inputs as well: those have no feed and a full shape.
    missing = [name for name, shape in types.inputs if name not in asked.feed and is_open(shape)]
    if missing:
        raise ValueError("the feeds have no {}".format(" and no ".join(missing)))
    precisions = [
        name for name, is_there in (("fp16", types.has_half), ("int8", types.is_quantized)) if is_there
    ]
    return Recipe(
        model=asked.model,
        sha256=asked.sha256,
        precisions=precisions,
        shapes={name: list(array.shape) for name, array in asked.feed.items()},
        open_inputs=[name for name, shape in types.inputs if is_open(shape)],
        workspace_mib=choose_workspace(read_memory("/").total),
    )


def is_open(shape: List[Any]) -> bool:
    """Whether some extent is no number, or a negative one."""
    return any(not isinstance(extent, int) or extent < 0 for extent in shape)


def choose_workspace(total_mb: Optional[float]) -> int:
    """MiB that a layer may take as scratch memory: a power of two, up to a quarter of the board's memory.

    Of all the memory and not of what is free now: a limit that moves from run to run would build anew.
    """
    if total_mb is None:
        return _FALLBACK_MIB
    limit = min(total_mb / _SHARE, _LARGEST_MIB)
    size = 1
    while size * 2 <= limit:
        size *= 2
    return size


def find_engine(cache: str, recipe: Recipe, **platform: Any) -> str:
    """The path of the engine of a recipe on a platform: the GPU, the release of TensorRT, its settings."""
    facts = dict(recipe._asdict(), model=None, platform=platform)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return os.path.join(cache, "tensorrt", key + ".engine")
