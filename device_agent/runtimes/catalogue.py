"""The runtimes that this agent knows, by the names that jobs give them."""

from typing import Any, Callable, Dict, NamedTuple, Optional

from device_agent.runtimes import onnxruntime
from device_agent.runtimes.session import Runtime


class Entry(NamedTuple):
    """`load` imports the runtime, and raises RuntimeMissing where it is not there.

    `describe` tells a probe its version, its providers and the newest opset that it reads (`max_opset`); None
    where it is not there.
    """

    load: Callable[[], Runtime]
    describe: Callable[[], Optional[Dict[str, Any]]]


RUNTIMES: Dict[str, Entry] = {
    "onnxruntime": Entry(onnxruntime.load, onnxruntime.describe),
}
