"""Variants for runtimes that do not open ONNX files: converted here, or left out with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import converting
from host.converting import find_unconvertible, keep_convertible, provide_model
from host.errors import ModelError
from host.plan import Plan
from tests.test_boards import make_plan
from tests.test_collect import make_artifact
from tests.test_suitability import plan_runtimes
from tests.tiny_plans import Watched

NCNN: dict[str, object] = {"name": "ncnn"}
ABSENT = "no_converter_of_this_name"


def test_every_other_runtime_opens_the_file_itself(tmp_path: Path) -> None:
    plan = make_plan()
    artifact = make_artifact(None, 3, 8, 8)
    assert provide_model(plan.tasks[0], artifact, {}, tmp_path) == artifact.blob


def test_what_cannot_be_converted_is_a_failure_of_its_tasks_alone(tmp_path: Path) -> None:
    plan = plan_runtimes({}, NCNN)
    half = make_artifact(None, 3, 8, 8).model_copy(update={"precision": "fp16"})
    artifacts = {task.variant_id: half for task in plan.tasks}
    errors = find_unconvertible(plan, plan.tasks, artifacts, tmp_path)
    assert errors.keys() == {task.id for task in plan.tasks if task.runtime.name == "ncnn"}
    assert all("fp16" in error.message for error in errors.values())


def kept(plan: Plan, progress: Watched) -> list[str]:
    return [task.runtime.name for task in keep_convertible(plan.tasks, progress)]


def test_without_a_converter_ncnn_is_refused_or_left_out_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(converting, "CONVERTERS", (ABSENT,))
    progress = Watched()
    with pytest.raises(ModelError, match=f"{ABSENT} cannot be imported") as caught:
        kept(plan_runtimes({}, NCNN), progress)
    assert caught.value.hint == "pip install 'boardbench[ncnn]'"
    with pytest.raises(ModelError):  # nothing would be left
        kept(plan_runtimes({**NCNN, "optional": True}), progress)
    assert progress.said == []
    assert kept(plan_runtimes({}, {**NCNN, "optional": True}), progress) == ["onnxruntime"] * 2
    assert len(progress.said) == 1
    assert kept(plan_runtimes({}), progress) == ["onnxruntime"] * 2


def test_with_a_converter_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "CONVERTERS", ("json",))
    assert kept(plan_runtimes({}, NCNN), Watched()) == ["onnxruntime", "ncnn", "onnxruntime"]
