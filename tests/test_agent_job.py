"""A job is checked before anything is started."""

from __future__ import annotations

import json
from typing import Any

import pytest

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.job import parse_job
from host.fleet.journal import Job, JobTask
from host.specs.measure import Measure
from tests.agent_board import PROTOCOL

SHA = "0" * 64
TASK = {
    "task": "a",
    "model": SHA,
    "feeds": SHA,
    "evaluation": None,
    "reference": None,
    "runtime": "onnxruntime",
    "provider": "CPUExecutionProvider",
    "threads": None,
    "batch": 1,
}
JOB = {
    "schema": 1,
    "run": "r",
    "holder": "h",
    "seed": 0,
    "layer": None,
    "protocol": PROTOCOL,
    "tasks": [TASK],
}


def test_a_job_of_the_host_is_taken() -> None:
    task = JobTask(**TASK)
    job = Job(run="r1", holder="ann@laptop", seed=0, layer=SHA, measure=Measure(), tasks=(task,))
    assert parse_job(json.dumps(job.as_message()).encode())["tasks"][0]["task"] == "a"


def test_options_of_a_runtime_reach_it_as_they_are() -> None:
    options = {"spinning": False, "inference_precision": "f16"}
    told = parse_job(json.dumps({**JOB, **with_task(options=options)}).encode())
    assert told["tasks"][0]["options"] == options


def with_task(**changes: Any) -> dict[str, Any]:
    return {"tasks": [{**TASK, **changes}]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "schema"),
        ({"run": "../r"}, "../r"),
        ({"run": ".."}, ".."),
        ({"holder": None}, "holder"),
        ({"seed": "x"}, "seed"),
        ({"layer": "abc"}, "SHA-256"),
        ({"protocol": None}, "protocol"),
        ({"protocol": {**PROTOCOL, "rounds": 0}}, "protocol.rounds"),
        ({"protocol": {**PROTOCOL, "round_s": float("nan")}}, "protocol.round_s"),
        ({"protocol": {**PROTOCOL, "round_s": True}}, "protocol.round_s"),
        ({"protocol": {**PROTOCOL, "rounds": 2.5}}, "protocol.rounds"),
        ({"timeouts": {"open_s": "long"}}, "timeouts.open_s"),
        ({"timeouts": {"close_s": 1}}, "timeouts.close_s"),
        ({"timeouts": {"task_s": -1}}, "timeouts.task_s"),
        ({"tasks": []}, "tasks"),
        ({"tasks": [TASK, TASK]}, "twice"),
        (with_task(task="a/b"), "a/b"),
        (with_task(model="/etc/passwd"), "/etc/passwd"),
        (with_task(feeds=None), "SHA-256"),
        (with_task(evaluation="x"), "SHA-256"),
        (with_task(runtime=None), "runtime"),
        (with_task(threads=0), "threads"),
        (with_task(batch=0), "batch"),
        (with_task(batch=1.5), "batch"),
        (with_task(options=[]), "options"),
        (with_task(options={"spinning": {"a": 1}}), "options.spinning"),
        (with_task(options={"spinning": None}), "options.spinning"),
    ],
)
def test_a_fault_in_a_job_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(AgentFault) as caught:
        parse_job(json.dumps({**JOB, **changes}).encode())
    assert caught.value.kind == protocol.ERROR_BAD_JOB
    assert told in caught.value.message


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"null", b'{"schema": 1}'])
def test_what_is_no_job_is_refused(content: bytes) -> None:
    with pytest.raises(AgentFault) as caught:
        parse_job(content)
    assert caught.value.kind == protocol.ERROR_BAD_JOB
