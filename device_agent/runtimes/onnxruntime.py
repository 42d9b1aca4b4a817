"""ONNX Runtime: sequential execution, one pool of threads of a chosen size, any of its providers.

`infer` returns when the outputs are arrays in the host's memory, so a GPU has finished by then.
"""

import inspect
import os
import time
from typing import Any, Dict, List, Optional

from device_agent.environment import usable_cores
from device_agent.runtimes.onnxruntime_nodes import NodeWatch, judge_nodes
from device_agent.runtimes.onnxruntime_providers import (
    CPU,
    Plan,
    explain_missing,
    list_engines,
    plan_session,
)
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

OPTIONS = {"spinning": (True, False), "arena": (True, False)}


def import_onnxruntime() -> Any:
    """The package, as this agent uses it. Raises RuntimeMissing."""
    # From 1.31 on it measures for its maker: a thread beside ours, and files in the user's ~/.cache.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return import_package("onnxruntime")


def load() -> Runtime:
    """The runtime, imported. Raises RuntimeMissing where it is not on the path."""
    return Runtime(str(import_onnxruntime().__version__), open_session)


def open_session(asked: Opening) -> Session:
    """An opened model. What ONNX Runtime raises passes untouched: its message is the answer."""
    onnxruntime = import_onnxruntime()
    check_options("onnxruntime", asked.options, OPTIONS)
    provider, available = asked.provider, onnxruntime.get_available_providers()
    if provider not in available:
        raise RuntimeMissing(explain_missing(provider, available))
    plan = plan_session(asked, asked.threads or len(usable_cores()), available, onnxruntime.__version__)
    options = _set_options(onnxruntime, plan)
    watch = NodeWatch(onnxruntime, provider, options)
    started, engines = time.monotonic(), list_engines(plan.engines)
    try:
        session: Any = _create(onnxruntime, asked.model, options, plan)
    except BaseException:
        watch.forget()
        raise
    opened_s = time.monotonic() - started
    build_s = opened_s if list_engines(plan.engines) != engines else None
    is_described = False
    run: Any = session.run

    def infer(feed: Feed) -> List[Any]:
        return run(None, feed)  # type: ignore[no-any-return]  # onnxruntime has no types

    def describe_session() -> Description:
        nonlocal build_s, is_described
        if not is_described and build_s is None and list_engines(plan.engines) != engines:
            build_s = time.monotonic() - started  # built by the first inference
        is_described = True
        nodes = watch.count(session)
        ran = judge_nodes(provider, nodes, session.get_providers())
        settings = dict(_describe_options(options, plan), providers=session.get_providers())
        # The package does not tell how long it built: whoever waits for an engine waits for all of opening.
        return Description(ran.provider, ran.is_fallback, settings, nodes, build_s, is_build_apart=False)

    def close() -> None:
        nonlocal session, run
        session = run = None
        watch.forget()

    inputs = [Input(one.name, one.type, list(one.shape)) for one in session.get_inputs()]
    return Session(infer, inputs, plan.threads, describe_session, close)


def _set_options(onnxruntime: Any, plan: Plan) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan.session_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = plan.arena
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry("session.{}.allow_spinning".format(pool), str(int(plan.spinning)))
    for name, size in plan.dimensions.items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def _create(onnxruntime: Any, model: str, options: Any, plan: Plan) -> Any:
    """The session. A provider that fails is an error; the package would go on with the next one."""
    if plan.engines:
        os.makedirs(plan.engines, mode=0o700, exist_ok=True)
    providers = [(name, given) if given else name for name, given in plan.providers]
    kinds = [one.kind for one in inspect.signature(onnxruntime.InferenceSession).parameters.values()]
    words = {"enable_fallback": 0} if inspect.Parameter.VAR_KEYWORD in kinds else {}
    session = onnxruntime.InferenceSession(model, options, providers=providers, **words)
    session.disable_fallback()
    return session


def _describe_options(options: Any, plan: Plan) -> Dict[str, Any]:
    """What was set; paths say nothing about speed."""
    given = {
        name: {key: value for key, value in chosen.items() if not key.endswith("_path")}
        for name, chosen in plan.providers
    }
    return {
        "threads": plan.threads,
        "session_threads": plan.session_threads,
        "spinning": plan.spinning,
        "arena": plan.arena,
        "execution_mode": options.execution_mode.name,
        "graph_optimization": options.graph_optimization_level.name,
        "fixed_dimensions": plan.dimensions,
        "provider_options": {name: chosen for name, chosen in given.items() if chosen},
    }


def describe() -> Optional[Dict[str, Any]]:
    """Version, providers and the newest opset that is accepted; None where it is not on the board."""
    try:
        onnxruntime = import_onnxruntime()
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
