"""What the agent needs from a runtime that tells how long each node took."""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from device_agent.runtimes.onnx_graph import GraphNode
from device_agent.runtimes.session import Feed

Shapes = List[Tuple[str, List[int]]]


class NodeTimes(NamedTuple):
    """One node: every call of it, the number of the inference that it was made in and what it took.

    `inputs` and `outputs` are types and extents, empty where the runtime does not tell.
    """

    name: str
    op: str
    provider: str
    calls: List[int]
    durations_us: List[int]
    inputs: Shapes
    outputs: Shapes


class Trace(NamedTuple):
    """What ran: how long each inference took by the runtime's clock, and the nodes in the order of running.

    `graph` is the graph that ran with the names of its tensors, None where the runtime does not tell it.
    """

    runs_us: List[int]
    nodes: List[NodeTimes]
    graph: Optional[List[GraphNode]]


class Tracing(NamedTuple):
    """An opened model that is traced. `finish` ends it; its argument is how many inferences to leave out."""

    infer: Callable[[Feed], List[Any]]
    finish: Callable[[int], Trace]
