"""What is told of memory: of the process, and of the board that a GPU shares with it."""

from __future__ import annotations

from typing import Any

import pytest

from device_agent import memory
from device_agent.memory import find_fall
from device_agent.sensors.load import Memory
from device_agent.summary import Opened


@pytest.mark.parametrize(
    ("before", "afterwards", "expected"),
    [
        (4000.0, (3600.0, 3500.0), 500.0),
        (4000.0, (3400.0, 3500.0), 600.0),  # the lowest
        (4000.0, (4100.0, 4050.0), 0.0),  # others freed more than the model took: a measured zero
        (None, (3600.0, 3500.0), None),
        (4000.0, (None, 3500.0), None),
        (4000.0, (None, None), None),
    ],
)
def test_the_fall_is_from_before_opening_to_the_lowest_afterwards(
    before: float | None, afterwards: tuple[float | None, ...], expected: float | None
) -> None:
    assert find_fall(before, *afterwards) == expected


def test_a_kernel_that_does_not_tell_what_is_left_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "read_memory", lambda _root: Memory(1000.0, None))
    assert memory.read_available() is None


def open_task(provider: str, **told: float | None) -> Opened:
    worker: Any = None
    sizes = {"baseline": 100.0, "loaded": 150.0, "peak": 200.0, **told}
    return Opened({}, worker, {"provider": provider, "memory_mb": sizes})


def test_what_a_gpu_holds_counts_when_another_worker_is_to_fit_beside_it() -> None:
    assert open_task("CUDAExecutionProvider", available_fall=900.0).size_mb == 1000.0
    assert open_task("CUDAExecutionProvider", available_fall=20.0).size_mb == 200.0
    assert open_task("CUDAExecutionProvider").size_mb == 200.0
    assert open_task("GPU", baseline=None, loaded=None, peak=300.0, available_fall=None).size_mb == 300.0
    assert open_task("CPUExecutionProvider", available_fall=900.0).size_mb == 200.0  # of other processes
