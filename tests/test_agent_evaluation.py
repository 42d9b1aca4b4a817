"""Accuracy and agreement over an evaluation set that is never in memory as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.evaluation import evaluate
from tests.agent_board import pack_arrays

X = np.random.default_rng(0).standard_normal((10, 2, 3)).astype(np.float32)


class Model:
    """Sums each row: three features become two scores; notes the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, feed: dict[str, Any]) -> list[Any]:
        self.batches.append(len(feed["x"]))
        return [feed["x"].sum(axis=2)]


def plant(folder: Path, name: str, **arrays: Any) -> str:
    path = folder / name
    path.write_bytes(pack_arrays(**arrays))
    return str(path)


def run(model: Model, evaluation: str | None, reference: str | None = None, batch: int = 4) -> Any:
    return evaluate(model.infer, "x", evaluation, reference, batch, lambda: None)


def test_every_image_counts_once_though_batches_are_full(tmp_path: Path) -> None:
    labels = X.sum(axis=2).argmax(axis=1)
    labels[9] = 1 - labels[9]  # the last image, in the batch that is filled up
    model = Model()
    found = run(model, plant(tmp_path, "set", x=X, y=labels))
    assert model.batches == [4, 4, 4]
    assert found == (pytest.approx(0.9), None, None)


def test_agreement_is_with_the_answers_of_the_host(tmp_path: Path) -> None:
    answers = X.sum(axis=2)
    other = answers.copy()
    other[0] = other[0][::-1]
    evaluation = plant(tmp_path, "set", x=X, y=np.zeros(10, dtype=np.int64))
    same = run(Model(), evaluation, plant(tmp_path, "same", outputs=answers))
    assert (same.agreement, same.max_abs_diff) == (1.0, 0.0)
    differs = run(Model(), evaluation, plant(tmp_path, "other", outputs=other))
    assert differs.agreement == pytest.approx(0.9)
    assert differs.max_abs_diff == pytest.approx(abs(answers[0, 0] - answers[0, 1]))


def test_outputs_without_a_number_have_no_difference(tmp_path: Path) -> None:
    evaluation = plant(tmp_path, "set", x=X, y=np.zeros(10, dtype=np.int64))
    reference = plant(tmp_path, "reference", outputs=np.full((10, 2), np.inf, dtype=np.float32))
    assert run(Model(), evaluation, reference).max_abs_diff is None


def test_without_a_set_nothing_is_known() -> None:
    model = Model()
    assert run(model, None) == (None, None, None)
    assert model.batches == []


def test_every_batch_is_a_sign_of_life(tmp_path: Path) -> None:
    signs: list[int] = []
    evaluation = plant(tmp_path, "set", x=X, y=np.zeros(10, dtype=np.int64))
    evaluate(Model().infer, "x", evaluation, None, 3, lambda: signs.append(1))
    assert len(signs) == 4


def test_an_array_in_another_order_is_refused_rather_than_misread(tmp_path: Path) -> None:
    evaluation = plant(tmp_path, "set", x=np.asfortranarray(X), y=np.zeros(10, dtype=np.int64))
    with pytest.raises(ValueError, match="C-ordered"):
        run(Model(), evaluation)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    evaluation = plant(tmp_path, "set", x=np.array([{}, {}], dtype=object), y=np.zeros(2))
    with pytest.raises(ValueError, match="plain"):
        run(Model(), evaluation)
