"""One piece of a profile by operator, in the process that does nothing else: timed, traced, summarized."""

import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from device_agent import protocol, timing
from device_agent.board_root import find_root
from device_agent.measurement import TaskFailed, guard, load_feeds, load_runtime
from device_agent.others import watch_others
from device_agent.runtimes import onnxruntime_profile
from device_agent.runtimes.session import Opening
from device_agent.runtimes.tracing import NodeTimes, Trace, Tracing
from device_agent.sensors.tree import read_text
from device_agent.work_folder import WorkFolder

Fields = Dict[str, Any]
Feeds = List[Dict[str, Any]]

TRACERS: Dict[str, Callable[[Opening, str], Tracing]] = {
    "onnxruntime": onnxruntime_profile.open_tracing,
}

MOST_EVENTS = 20000  # of a trace; an event has some 600 bytes
BLANK_INFERENCES = 40
WARM_UP_S = 0.3
LEAST_WARM_UP = 3
MOST_SAMPLES = 100000
_SPARE_BYTES = 64 << 10  # of an answer: all that is not nodes

# Instructions for products of whole numbers, by their names in /proc/cpuinfo: x86 `flags`, ARM `Features`.
INTEGER_INSTRUCTIONS = ("avx2", "avx512bw", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sme")


def measure_piece(folder: WorkFolder, question: Fields, scratch: str) -> Fields:
    """Inferences without and with a trace; first those without. Raises TaskFailed."""
    tracer = TRACERS.get(question["runtime"])
    if tracer is None:
        message = "{} tells no times by operator here; {} does"
        known = ", ".join(sorted(TRACERS))
        raise TaskFailed(protocol.FAILED_MISSING, message.format(question["runtime"], known))
    runtime = load_runtime(question["runtime"])
    feeds = guard(protocol.FAILED_OPEN, lambda: load_feeds(folder.blob(question["feeds"])))
    asked = Opening(
        model=folder.blob(question["model"]),
        sha256=question["model"],
        provider=question["provider"],
        threads=question["threads"],
        options=question["options"],
        feed=feeds[0],
        cache=folder.engines,
    )
    share_others = watch_others()
    session = guard(protocol.FAILED_OPEN, lambda: runtime.open(asked))
    untraced = guard(protocol.FAILED_INFER, lambda: _time(session.infer, feeds, question, MOST_SAMPLES))
    described = guard(protocol.FAILED_INFER, session.describe)
    session.close()
    tracing = guard(protocol.FAILED_OPEN, lambda: tracer(asked, scratch))
    most = max(1, MOST_EVENTS // question["file_nodes"])
    traced = guard(protocol.FAILED_INFER, lambda: _time(tracing.infer, feeds, question, most))
    trace = guard(protocol.FAILED_INFER, lambda: tracing.finish(traced.warm_up))
    blank = asked._replace(model=folder.blob(question["blank"]), sha256=question["blank"])
    floor_us = guard(protocol.FAILED_INFER, lambda: measure_floor(tracer, blank, scratch))
    return {
        "runtime_version": runtime.version,
        "provider": described.provider,
        "threads": session.threads,
        "settings": described.settings,
        "integer_instructions": read_instructions(find_root()),
        "untraced_ms": _quartiles_ms(untraced.samples_ns),
        "traced_ms": _quartiles_ms(traced.samples_ns),
        "inferences": len(traced.samples_ns),
        "others": share_others(),
        "floor_us": floor_us,
        **summarize_trace(trace),
    }


def measure_floor(tracer: Callable[[Opening, str], Tracing], asked: Opening, scratch: str) -> float:
    """What a node is told to take that computes next to nothing: the cost of telling. Its input is `x`."""
    import numpy

    feed = {"x": numpy.ones((1, 1, 1, 1), dtype=numpy.float32)}
    tracing = tracer(asked._replace(feed=feed), scratch)
    for _ in range(2 * BLANK_INFERENCES):
        tracing.infer(feed)
    nodes = summarize_trace(tracing.finish(BLANK_INFERENCES))["nodes"]
    return middle_mean([node["middle_us"] for node in nodes])


class _Timed(NamedTuple):
    """How many inferences warmed up, and how long each one after them took."""

    warm_up: int
    samples_ns: List[int]


def _time(infer: Callable[[Any], Any], feeds: Feeds, question: Fields, most: int) -> _Timed:
    """At least so many inferences as are asked for, and for so long, but not more than `most` in all."""
    least = question["inferences"]
    warm_up, began, ended = 0, timing.clock_ns(), 0
    while warm_up < LEAST_WARM_UP or (ended - began < WARM_UP_S * 1e9 and warm_up < most // 4):
        infer(feeds[warm_up % len(feeds)])
        ended = timing.clock_ns()
        warm_up += 1
    samples: List[int] = []
    began = timing.clock_ns()
    while len(samples) < least or (
        timing.clock_ns() - began < question["seconds"] * 1e9 and len(samples) < most - warm_up
    ):
        feed = feeds[len(samples) % len(feeds)]
        started = timing.clock_ns()
        infer(feed)
        samples.append(timing.clock_ns() - started)
    return _Timed(warm_up, samples)


def summarize_trace(trace: Trace) -> Fields:
    """Each node's time in one inference: its mean, and the mean of the middle half of its times.

    A disturbance does not move the latter, and unlike a median it is finer than the microseconds of a trace.
    """
    count = len(trace.runs_us)
    if count == 0:
        raise TaskFailed(protocol.FAILED_INFER, "the runtime's trace holds no inference")
    totals = [0] * count
    nodes = []
    for node in trace.nodes:
        spent = [0] * count
        for inference, duration in zip(node.calls, node.durations_us):  # noqa: B905 (strict= needs 3.10)
            spent[inference] += duration
            totals[inference] += duration
        nodes.append(_describe_node(node, spent))
    graph = None if trace.graph is None else [dict(node._asdict()) for node in trace.graph]
    return {
        "runs_us": _median(trace.runs_us),
        "nodes_us": _median(totals),
        "nodes": nodes,
        "nodes_left_out": 0,
        "graph": graph,
    }


def _describe_node(node: NodeTimes, spent: List[int]) -> Fields:
    return {
        "name": node.name,
        "op": node.op,
        "provider": node.provider,
        "calls": len(node.calls) / float(len(spent)),
        "mean_us": sum(spent) / float(len(spent)),
        "middle_us": middle_mean(spent),
        "inputs": node.inputs,
        "outputs": node.outputs,
    }


def middle_mean(values: Sequence[float]) -> float:
    """The mean of the middle half, which is all of them where there are three or fewer."""
    ordered, cut = sorted(values), len(values) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / float(len(kept))


def _median(values: List[int]) -> float:
    return timing.quartiles(sorted(values))[1]


def _quartiles_ms(samples_ns: List[int]) -> Fields:
    low, middle, high = timing.quartiles(sorted(samples_ns))
    return {"p25": low / 1e6, "p50": middle / 1e6, "p75": high / 1e6}


def fit_answer(answer: Fields, most_bytes: int = protocol.MAX_ANSWER_BYTES - _SPARE_BYTES) -> Fields:
    """The answer within the bound: of too large a one first the graph goes, then shapes, then small nodes."""
    steps: List[Callable[[Fields], Fields]] = [
        lambda told: told,
        lambda told: dict(told, graph=None),
        lambda told: dict(told, nodes=[dict(node, inputs=[], outputs=[]) for node in told["nodes"]]),
    ]
    for step in steps:
        answer = step(answer)
        if len(json.dumps(answer)) <= most_bytes:
            return answer
    nodes = sorted(answer["nodes"], key=lambda node: -float(node["mean_us"]))
    kept = nodes
    while kept and len(json.dumps(kept)) > most_bytes:
        kept = kept[: len(kept) * 3 // 4]
    return dict(answer, nodes=kept, nodes_left_out=len(nodes) - len(kept))


def read_instructions(root: str) -> Optional[List[str]]:
    """Which of `INTEGER_INSTRUCTIONS` the first core has; None where the board does not tell."""
    for line in (read_text(root, "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return [one for one in INTEGER_INSTRUCTIONS if one in value.split()]
    return None
