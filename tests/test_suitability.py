"""What a board cannot run: named before anything is built, left out where a profile allows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from host.errors import Unsuitable
from host.fleet.boards import Board
from host.plan import Plan, plan_sweep
from host.specs.profile import parse_profile
from host.suitability import check_suitability, find_crowded, leave_out_optional, split_suitable
from tests.test_boards import make_board
from tests.tiny_plans import make_recipe

CUDA = {"provider": "CUDAExecutionProvider"}


def plan_runtimes(*runtimes: Mapping[str, object], devices: tuple[str, ...] = ("pi4",)) -> Plan:
    variants = [{}, {"quantize": {"scheme": "fp16"}}]
    profile = parse_profile({"name": "p", "model": "tiny", "variants": variants, "runtimes": list(runtimes)})
    return plan_sweep(profile, [make_recipe()], devices, {"tiny": ""})


def test_every_lack_of_a_board_is_named_once() -> None:
    plan = plan_runtimes({}, {"name": "tensorrt"}, CUDA)
    with pytest.raises(Unsuitable, match="pi4 cannot run what it is asked to run:") as caught:
        check_suitability(plan, plan.tasks, make_board())
    lines = caught.value.message.splitlines()[1:]
    assert [line.split(" is ")[0].strip() for line in lines] == ["tensorrt", "CUDAExecutionProvider"]


def test_the_gpu_build_is_what_is_missing_even_where_there_is_no_onnxruntime_at_all() -> None:
    plan = plan_runtimes(CUDA)
    with pytest.raises(Unsuitable, match="its own onnxruntime is not there"):
        check_suitability(plan, plan.tasks, make_board(runtimes=False))


def test_what_is_optional_is_left_out_of_a_board_that_lacks_it() -> None:
    plan = plan_runtimes({}, {**CUDA, "optional": True})
    board = make_board()
    check_suitability(plan, plan.tasks, board)
    kept, said = leave_out_optional(plan, plan.tasks, [board])
    assert [(task.label, task.runtime.provider) for task in kept] == [
        ("dense", "CPUExecutionProvider"),
        ("fp16", "CPUExecutionProvider"),
    ]
    assert len(said) == 1
    assert said[0].startswith("pi4: CUDAExecutionProvider is not on the board")
    assert said[0].endswith("; 2 measurements are left out")


def test_a_board_that_lacks_all_that_is_optional_has_nothing_to_run() -> None:
    plan = plan_runtimes({**CUDA, "optional": True})
    with pytest.raises(Unsuitable, match="CUDAExecutionProvider is not on the board"):
        check_suitability(plan, plan.tasks, make_board())


def test_a_board_without_tasks_lacks_nothing() -> None:
    plan = plan_runtimes({"name": "tensorrt"}, devices=("orin",))
    check_suitability(plan, plan.tasks, make_board())


def test_each_board_leaves_out_its_own() -> None:
    plan = plan_runtimes({}, {**CUDA, "optional": True}, devices=("pi4", "orin"))
    has_cuda = make_board().facts.model_dump(by_alias=True)
    has_cuda["runtimes"]["onnxruntime"]["providers"] += ("CUDAExecutionProvider",)
    plain = make_board()
    orin = replace(
        plain,
        device=plain.device.model_copy(update={"name": "orin"}),
        facts=type(plain.facts).model_validate(has_cuda),
    )
    boards: dict[str, Board] = {"pi4": plain, "orin": orin}
    suitable, errors = split_suitable(plan, plan.tasks, boards)
    assert (set(suitable), errors) == ({"pi4", "orin"}, {})
    kept, said = leave_out_optional(plan, plan.tasks, suitable.values())
    assert [task.device for task in kept] == ["pi4", "pi4", "orin", "orin", "orin", "orin"]
    assert [sentence.split(":")[0] for sentence in said] == ["pi4"]


def test_more_threads_than_cores_are_told_once_for_each_board() -> None:
    plan = plan_runtimes({"threads": 2}, {"threads": 64}, devices=("pi4", "pi5"))
    board = make_board()
    boards = {"pi4": replace(board, facts=board.facts.model_copy(update={"cores": 4}))}
    assert find_crowded(plan.tasks, boards) == [
        "pi4: 64 threads share 4 cores there; such rows tell no more than that"
    ]
    assert find_crowded([task for task in plan.tasks if task.runtime.threads == 2], boards) == []
