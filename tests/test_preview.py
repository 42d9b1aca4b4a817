"""What a sweep would do, counted without doing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.preview import preview_sweep
from host.specs.profile import parse_profile
from host.workspace import Workspace
from tests.tiny_workspace import make_tiny_workspace

STEPS = {
    "granularity": "channel",
    "sparsity": 0.5,
    "schedule": "iterative",
    "steps": 4,
    "finetune": {"epochs": 2},
}
TRAINED = {"scheme": "mixed", "weights": 6, "activations": 8, "finetune": {"epochs": 3}}


def test_epochs_count_every_step_once_and_every_training_of_a_quantization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_tiny_workspace(tmp_path))
    profile = parse_profile(
        {
            "name": "steps",
            "model": "tiny",
            "devices": [{"emulate": "x86-emulated"}],
            "variants": [{}, {"prune": STEPS, "quantize": [None, {"scheme": "static-int8"}, TRAINED]}],
        }
    )
    told = preview_sweep(profile, (), Workspace(tmp_path))
    assert [variant.epochs for variant in told.variants] == [0, 8, 8, 11]
    assert told.epochs_to_train == 6 + 8 + 3


def test_what_no_board_can_run_is_told_and_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_tiny_workspace(tmp_path))
    profile = parse_profile(
        {
            "name": "runtimes",
            "model": "tiny",
            "devices": [{"emulate": "x86-emulated"}],
            "variants": [{}, {"quantize": {"scheme": "static-int8"}}],
            "runtimes": [{"name": "ncnn"}],
        }
    )
    told = preview_sweep(profile, (), Workspace(tmp_path))
    assert [variant.variant for variant in told.variants] == ["dense"]
    assert told.devices[0].tasks == 1
    assert len(told.left_out) == 1
    assert told.left_out[0].startswith("ncnn leaves out int8:")
