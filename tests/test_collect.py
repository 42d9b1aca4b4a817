"""Events of a board become measurements, with what was planned and built beside what the board found."""

from __future__ import annotations

from array import array
from pathlib import Path

from device_agent.journal import pack_samples
from host.collect import Collector, describe_unfit
from host.fleet.journal import Event, parse_event
from host.plan import Task
from host.specs.artifact import Artifact, Blob, Tensor
from host.specs.device import Emulation
from host.specs.profile import RuntimeSettings
from tests.made_results import START
from tests.test_boards import make_board

SHA = "a" * 64
TASK = Task(
    id="t1",
    device="pi4",
    model="m",
    variant_id="v1",
    label="dense",
    is_baseline=True,
    runtime=RuntimeSettings(batch=4),
)


def make_artifact(*shape: int | None) -> Artifact:
    return Artifact(
        model="m",
        variant="dense",
        variant_id="v1",
        blob=Blob(path=Path("m.onnx"), sha256=SHA, size=7),
        inputs=(Tensor(name="x", dtype="float", shape=shape),),
        opset=18,
        precision="fp32",
        params=10,
        accuracy=0.9,
    )


def make_collector(
    *, is_emulated: bool = False, shape: tuple[int | None, ...] = (None, 3, 8, 8)
) -> Collector:
    board = make_board()
    if is_emulated:
        device = board.device.model_copy(update={"emulation": Emulation(cpus=1)})
        board = type(board)(device, board.facts, board.agent, board.layer, board.deployment)
    return Collector("r1", board, {"t1": TASK}, {"v1": make_artifact(*shape)})


def tell(event: str, **fields: object) -> Event:
    import json

    line = {"seq": 1, "wall": 1.8e9, "mono": 5.0, "event": event, "task": "t1", **fields}
    return parse_event(json.dumps(line).encode())


def tell_round(number: int, *durations: int) -> Event:
    return tell(
        "round",
        round=number,
        count=len(durations),
        seconds=1.0,
        samples_ns=pack_samples(array("Q", durations), len(durations)),
        warmup={"inferences": 10, "seconds": 1.0, "steady": True},
        environment={},
    )


MEASURED = {
    "started_at": 1.8e9,
    "provider": "CPUExecutionProvider",
    "threads": 2,
    "runtime_version": "1.31",
    "accuracy": 0.8,
    "flags": ["busy"],
}


def test_rounds_are_gathered_in_their_order_until_the_result() -> None:
    collector = make_collector()
    assert collector.take(tell_round(1, 30, 40)) is None
    assert collector.take(tell_round(0, 10, 20)) is None
    collected = collector.take(tell("result", status="ok", measurement=MEASURED))
    assert collected is not None
    assert [held.tolist() for held in collected.rounds] == [[10, 20], [30, 40]]
    measurement = collected.measurement
    assert (measurement.accuracy_host, measurement.accuracy_device) == (0.9, 0.8)
    assert (measurement.threads, measurement.batch, measurement.file_bytes) == (2, 4, 7)
    assert measurement.flags == ("busy",)


def test_a_failed_task_keeps_what_was_planned_and_says_why() -> None:
    failure = {"kind": "memory", "message": "killed by the kernel"}
    collected = make_collector().take(tell("result", status="failed", error=failure))
    assert collected is not None
    assert collected.measurement.status == "failed"
    assert collected.measurement.error is not None
    assert collected.measurement.error.kind == "memory"
    assert collected.measurement.params == 10
    assert collected.measurement.load_ms is None


def test_sizes_are_those_of_the_artifact() -> None:
    collector = make_collector()
    collected = collector.take(tell("result", status="ok", measurement=MEASURED))
    assert collected is not None
    assert (collected.measurement.gzip_bytes, collected.measurement.packed_bytes) == (None, None)
    packed = Blob(path=Path("m.pack"), sha256=SHA, size=3)
    artifact = make_artifact(1, 3, 8, 8).model_copy(update={"gzip_bytes": 5, "packed": packed})
    unfit = describe_unfit("r1", make_board(), TASK, artifact, "too bad", START)
    assert (unfit.file_bytes, unfit.gzip_bytes, unfit.packed_bytes) == (7, 5, 3)


def test_what_is_not_measured_keeps_all_that_is_known_without_a_board() -> None:
    board = make_collector(is_emulated=True).board
    unfit = describe_unfit("r1", board, TASK, make_artifact(None, 3, 8, 8), "too bad", START)
    assert (unfit.status, unfit.accuracy_host, unfit.params) == ("unfit", 0.9, 10)
    assert unfit.error is not None
    assert (unfit.error.kind, unfit.error.message) == ("unfit", "too bad")
    assert (unfit.flags, unfit.load_ms, unfit.accuracy_device) == (("emulated",), None, None)


def test_whatever_an_emulated_board_measures_is_flagged() -> None:
    failure = {"kind": "crash", "message": "SIGSEGV"}
    for result in (
        tell("result", status="ok", measurement=MEASURED),
        tell("result", status="failed", error=failure),
    ):
        collected = make_collector(is_emulated=True).take(result)
        assert collected is not None
        assert collected.measurement.flags[-1] == "emulated"


def test_a_file_that_fixes_its_batch_is_measured_at_it() -> None:
    collected = make_collector(shape=(8, 3, 8, 8)).take(tell("result", status="ok", measurement=MEASURED))
    assert collected is not None
    assert collected.measurement.batch == 8


def test_an_option_of_many_values_is_not_believed() -> None:
    """Results are grouped by options: one list among them, and none of a ledger's results could be read."""
    settings = {"spinning": [1], "arena": {"a": 1}, "inference_precision": "f16", "providers": ["CPU"]}
    measured = {**MEASURED, "settings": settings}
    collected = make_collector().take(tell("result", status="ok", measurement=measured))
    assert collected is not None
    assert collected.measurement.runtime_settings == {"inference_precision": "f16", "providers": ["CPU"]}
