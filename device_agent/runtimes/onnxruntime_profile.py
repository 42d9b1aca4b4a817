"""ONNX Runtime's own profiling: a session that traces, and what its trace says of every node.

The trace is a JSON array with one event a line. An event of `cat` "Node" whose name ends with
`_kernel_time` is one node of one inference; its `args` tell op_name and provider, and in 1.16 and 1.31 types
and shapes too. One of `cat` "Session" named `model_run` ends every inference. Durations are whole
microseconds, rounded down. 1.10 and 1.16 have other events between (`_fence_before`). Recorded with 1.10,
1.16 and 1.31.
"""

import json
import os
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from device_agent.environment import usable_cores
from device_agent.runtimes import onnxruntime as plain
from device_agent.runtimes.onnx_graph import GraphNode, read_nodes
from device_agent.runtimes.onnxruntime_providers import explain_missing, plan_session
from device_agent.runtimes.session import Feed, Opening, RuntimeMissing, check_options
from device_agent.runtimes.tracing import NodeTimes, Shapes, Trace, Tracing

_KERNEL = "_kernel_time"
_OPTIMIZED = "optimized.onnx"


class _Event(NamedTuple):
    """One node that ran."""

    name: str
    op: str
    provider: str
    duration_us: int
    inputs: Shapes
    outputs: Shapes


def open_tracing(asked: Opening, folder: str) -> Tracing:
    """A model that is opened as it is for measuring, with profiling on; its files go to `folder`."""
    onnxruntime = plain.import_onnxruntime()
    check_options("onnxruntime", asked.options, plain.OPTIONS)
    available = onnxruntime.get_available_providers()
    if asked.provider not in available:
        raise RuntimeMissing(explain_missing(asked.provider, available))
    plan = plan_session(asked, asked.threads or len(usable_cores()), available, onnxruntime.__version__)
    optimized: Optional[str] = os.path.join(folder, _OPTIMIZED)

    def create() -> Any:
        options = plain._set_options(onnxruntime, plan)
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "trace")
        if optimized is not None:
            options.optimized_model_filepath = optimized
        return plain._create(onnxruntime, asked.model, options, plan)

    try:
        session: Any = create()
    except Exception:  # noqa: BLE001 (no file holds 2 GiB, or what a provider compiled: then without the graph)
        optimized = None
        session = create()
    run: Any = session.run

    def infer(feed: Feed) -> List[Any]:
        return run(None, feed)  # type: ignore[no-any-return]  # onnxruntime has no types

    def finish(skipped: int) -> Trace:
        nonlocal session, run
        path = session.end_profiling()
        session = run = None
        with open(path, encoding="utf-8", errors="replace") as lines:
            return read_trace(lines, skipped)._replace(graph=_read_graph(optimized))

    return Tracing(infer, finish)


def _read_graph(path: Optional[str]) -> Optional[List[GraphNode]]:
    """The graph as it runs, None where it could not be saved or read."""
    if path is None or not os.path.isfile(path):
        return None
    try:
        return read_nodes(path)
    except (OSError, ValueError):
        return None


def read_trace(lines: Iterable[str], skipped: int) -> Trace:
    """What ran in each inference after the first `skipped`: the warm-up."""
    nodes: Dict[Tuple[str, str], NodeTimes] = {}
    runs: List[int] = []
    waiting: List[_Event] = []
    seen = 0
    for event in _list_events(lines):
        node = _read_node(event)
        if node is not None:
            waiting.append(node)
        elif event.get("cat") == "Session" and event.get("name") == "model_run":
            if seen >= skipped:
                _add_inference(nodes, waiting, len(runs))
                runs.append(_read_duration(event))
            seen += 1
            waiting = []
    return Trace(runs, list(nodes.values()), None)


def _list_events(lines: Iterable[str]) -> Iterator[Dict[str, Any]]:
    """The events, line by line: a whole trace may not fit into the memory of a board."""
    for line in lines:
        text = line.strip().lstrip("[").rstrip(",]").strip()
        if not text:
            continue
        # `rstrip` may have taken the bracket of a trace that stands on one line.
        for candidate in (text, "[" + text + "]"):
            try:
                found = json.loads(candidate)
            except ValueError:
                continue  # cut short, as the last line of a session that crashed
            for event in found if isinstance(found, list) else [found]:
                if isinstance(event, dict):
                    yield event
            break


def _read_node(event: Dict[str, Any]) -> Optional[_Event]:
    name, args = event.get("name"), event.get("args")
    if event.get("cat") != "Node" or not isinstance(name, str) or not name.endswith(_KERNEL):
        return None
    told = args if isinstance(args, dict) else {}
    name = name[: -len(_KERNEL)]
    return _Event(
        name,
        str(told.get("op_name") or name),
        str(told.get("provider") or ""),
        _read_duration(event),
        _read_shapes(told.get("input_type_shape")),
        _read_shapes(told.get("output_type_shape")),
    )


def _read_duration(event: Dict[str, Any]) -> int:
    try:
        return max(0, int(event.get("dur", 0)))
    except (TypeError, ValueError):
        return 0


def _read_shapes(told: Any) -> Shapes:
    """Types and extents of `[{"float": [1, 3, 64, 64]}]`; empty where the trace does not tell."""
    shapes: Shapes = []
    for entry in told if isinstance(told, list) else ():
        for dtype, extents in entry.items() if isinstance(entry, dict) else ():
            if isinstance(extents, list) and all(isinstance(extent, int) for extent in extents):
                shapes.append((str(dtype), list(extents)))
    return shapes


def _add_inference(nodes: Dict[Tuple[str, str], NodeTimes], events: Iterable[_Event], inference: int) -> None:
    """Add what ran in one inference; a node in a loop runs several times, and its times are summed."""
    for event in events:
        known = nodes.get((event.name, event.op))
        if known is None:
            known = NodeTimes(event.name, event.op, event.provider, [], [], event.inputs, event.outputs)
            nodes[event.name, event.op] = known
        known.calls.append(inference)
        known.durations_us.append(event.duration_us)
