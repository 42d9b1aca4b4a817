"""The job of a run: what the host asks for, checked before anything is started."""

import json
from typing import Any, Dict, List

from device_agent import meter, protocol
from device_agent.faults import AgentFault
from device_agent.work_folder import check_name, check_sha256

MAX_TASKS = 10000

_COUNTS = {
    "rounds": (1, 1000),
    "round_samples": (1, 1000000),
    "warmup_inferences": (1, 100000),
    "steady_window": (4, 1000),
}
_QUANTITIES = {
    "round_s": (0, 3600),
    "warmup_s": (0, 600),
    "warmup_cap_s": (0, 3600),
    "steady_tolerance": (0, 1),
    "power_window_s": (0, 3600),
}


def parse_job(content: bytes) -> Dict[str, Any]:
    """The job as its JSON says it. Raises AgentFault naming the first fault."""
    try:
        job = json.loads(content.decode())
    except ValueError as error:
        raise _fault("the job is no JSON: {}".format(error)) from error
    if not isinstance(job, dict) or job.get("schema") != protocol.SCHEMA:
        raise _fault(
            "the job is not of schema {}; `bench deploy` sends the agent that fits".format(protocol.SCHEMA)
        )
    check_name(job.get("run"))
    _check(isinstance(job.get("seed"), int), "seed: expected a whole number")
    _check(isinstance(job.get("holder"), str), "holder: expected a text")
    if job.get("layer") is not None:
        check_sha256(job["layer"])
    _check_rules(job.get("protocol"))
    _check_timeouts(job.get("timeouts", {}))
    _check_tasks(job.get("tasks"))
    if job.get("meter") is not None:
        fault = meter.find_fault(job["meter"])
        _check(fault is None, "meter: {}".format(fault))
    return job


def _check_rules(rules: Any) -> None:
    _check(isinstance(rules, dict), "protocol: expected an object")
    for bounds, fits in ((_COUNTS, _is_whole), (_QUANTITIES, _is_number)):
        for name, (low, high) in bounds.items():
            expected = "protocol.{}: expected {} to {}".format(name, low, high)
            _check(fits(rules.get(name), low, high), expected)
    _check_scenario(rules)


def _check_scenario(rules: Dict[str, Any]) -> None:
    """What an older host does not say is the plain scenario without cooling down."""
    known = ", ".join(protocol.SCENARIOS)
    scenario = rules.get("scenario", protocol.SINGLE_STREAM)
    _check(scenario in protocol.SCENARIOS, "protocol.scenario: expected one of {}".format(known))
    cap_s = rules.get("cooldown_cap_s", 0)
    _check(_is_number(cap_s, 0, 3600), "protocol.cooldown_cap_s: expected 0 to 3600")
    if scenario == protocol.PACED:
        for name, low, high in (("rate_hz", 0.001, 1e5), ("deadline_ms", 0.001, 3.6e6)):
            expected = "protocol.{}: expected {} to {:g}".format(name, low, high)
            _check(_is_number(rules.get(name), low, high), expected)


def _check_timeouts(timeouts: Any) -> None:
    _check(isinstance(timeouts, dict), "timeouts: expected an object")
    for name, value in timeouts.items():
        known = name in ("open_s", "reply_s", "task_s")
        _check(
            known and _is_number(value, 0, 1e6),
            "timeouts.{}: expected open_s, reply_s or task_s, in seconds".format(name),
        )


def _check_tasks(tasks: Any) -> None:
    _check(
        isinstance(tasks, list) and 0 < len(tasks) <= MAX_TASKS, "tasks: expected 1 to {}".format(MAX_TASKS)
    )
    seen: List[str] = []
    for task in tasks:
        _check(isinstance(task, dict), "tasks: expected objects")
        name = check_name(task.get("task"))
        _check(name not in seen, "task {} is there twice".format(name))
        seen.append(name)
        check_sha256(task.get("model"))
        check_sha256(task.get("feeds"))
        for key in ("evaluation", "reference"):
            if task.get(key) is not None:
                check_sha256(task[key])
        for key in ("runtime", "provider"):
            _check(isinstance(task.get(key), str), "task {}: {}: expected a text".format(name, key))
        _check_options(name, task.get("options", {}))
        _check(_is_whole(task.get("batch"), 1, 65536), "task {}: batch: expected 1 or more".format(name))
        threads = task.get("threads")
        _check(
            threads is None or _is_whole(threads, 1, 1024),
            "task {}: threads: expected 1 to 1024".format(name),
        )


def _check_options(name: str, options: Any) -> None:
    """Settings of a runtime, of which it alone knows what they mean: names, and values without structure."""
    _check(isinstance(options, dict), "task {}: options: expected an object".format(name))
    for key, value in options.items():
        expected = "task {}: options.{}: expected true, false, a number or a text".format(name, key)
        _check(isinstance(value, (bool, int, float, str)), expected)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and _is_number(value, low, high)


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _check(is_right: bool, message: str) -> None:
    if not is_right:
        raise _fault(message)


def _fault(message: str) -> AgentFault:
    return AgentFault(protocol.ERROR_BAD_JOB, message)
