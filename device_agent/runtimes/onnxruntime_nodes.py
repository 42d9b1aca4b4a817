"""Which nodes of a graph ran on which of ONNX Runtime's providers.

From 1.24 on a session tells what it assigned, at no cost while it runs. Before, only the trace of an
inference does. The trace is ended after the first inference and costs nothing afterwards (0.99 to 1.00 of the
time without, interleaved), but it makes the first one longer by some 50 µs a node. So the CPU provider, which
takes every node anyway, goes without.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from typing import Any, Dict, Iterable, NamedTuple, Optional, Sequence

from device_agent.runtimes.onnxruntime_providers import CPU

_KERNEL = "_kernel_time"


class Ran(NamedTuple):
    """The provider that counts as the one that ran, and whether nodes ran on another than the asked one."""

    provider: str
    is_fallback: bool


class NodeWatch:
    """Counts the nodes of one session; made before the session is."""

    def __init__(self, onnxruntime: Any, provider: str, options: Any) -> None:
        self._folder: Optional[str] = None
        self._counted: Optional[Dict[str, int]] = None
        self._is_told = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
        if self._is_told:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        elif provider != CPU:
            self._folder = tempfile.mkdtemp(prefix="ort-trace-")
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self._folder, "trace")

    def count(self, session: Any) -> Optional[Dict[str, int]]:
        """Nodes by provider after an inference; None where this version does not tell.

        A subgraph that a provider took as a whole counts its nodes, in a trace it counts as one.
        """
        if self._counted is None and self._is_told:
            self._counted = count_assigned(session.get_provider_graph_assignment_info())
        elif self._counted is None and self._folder is not None:
            with open(session.end_profiling()) as file:
                self._counted = count_traced(json.load(file))
            self.forget()
        return self._counted

    def forget(self) -> None:
        """Remove the trace."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def count_assigned(subgraphs: Iterable[Any]) -> Dict[str, int]:
    """Nodes by provider in what a session tells of its subgraphs."""
    nodes: Dict[str, int] = Counter()
    for subgraph in subgraphs:
        nodes[str(subgraph.ep_name)] += len(subgraph.get_nodes())
    return dict(nodes)


def count_traced(events: Iterable[Dict[str, Any]]) -> Dict[str, int]:
    """Nodes by provider in a trace; a node that ran several times, as in a loop, counts once."""
    ran = {
        (event["args"]["provider"], event["name"])
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL) and event["args"].get("provider")
    }
    return dict(Counter(provider for provider, _ in ran))


def judge_nodes(asked: str, nodes: Optional[Dict[str, int]], registered: Sequence[str]) -> Ran:
    """What ran, by nodes where they are known, else by the first provider that the session has."""
    if not nodes:
        return Ran(registered[0], registered[0] != asked)
    most = max(sorted(nodes), key=lambda name: nodes[name])
    return Ran(asked if asked in nodes else most, set(nodes) != {asked})
