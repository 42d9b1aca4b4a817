"""`bench profile` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.cli.main import run_bench
from host.fleet.registry import save_device
from host.specs.device import Device
from host.specs.operators import OperatorReport
from host.workspace import Workspace
from tests.made_onnx import make_convolution
from tests.main_job import Swept
from tests.tiny_workspace import make_tiny_workspace

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_tiny_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one or two ONNX files, or --profile"),
        (["m.onnx", "--profile", "tiny"], "one or two ONNX files, or --profile"),
        (["m.onnx"], "no device is named"),
        (["m.onnx", "--device", "x", "--variant", "dense"], "--variant chooses among"),
        (["a.onnx", "b.onnx", "c.onnx", "--device", "x"], "one or two are profiled at a time"),
        (["--profile", "tiny", "--device", "x", "--device", "y"], "on one device"),
        (["--profile", "tiny", "--shape", "1,3,8,8"], "--shape is for ONNX files"),
        (["--profile", "nothing"], "there is no profile 'nothing'"),
        (["--profile", "tiny", "--runtime", "abacus"], "--runtime: "),
        (["--profile", "tiny", "--provider", "CUDA"], "--provider: expected a name such as"),
        (["m.onnx", "--device", "nothing"], "does not exist"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    root: Path, capsys: Captured, words: list[str], said: str
) -> None:
    assert run_bench(["profile", *words]) == 2
    assert said in capsys.readouterr().err


def test_too_many_variants_are_refused_with_an_example(root: Path, capsys: Captured) -> None:
    assert run_bench(["profile", "--profile", "tiny"]) == 2
    told = capsys.readouterr().err
    assert "tiny has 3 variants" in told
    assert "--variant dense" in told


def test_a_runtime_that_tells_no_times_is_refused(root: Path, capsys: Captured) -> None:
    words = ["profile", "--profile", "tiny", "--variant", "dense", "--runtime", "ncnn"]
    assert run_bench(words) == 2
    assert "--runtime onnxruntime does" in capsys.readouterr().err


def test_a_file_answers_with_json_alone(
    emulated_workspace: Workspace, emulated_device: Device, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    save_device(emulated_workspace, emulated_device)
    monkeypatch.chdir(emulated_workspace.root)
    file = make_convolution(emulated_workspace.root / "plain.onnx", ("n", 3, "h", "w"))
    words = ["profile", str(file), "--device", "emulated", "--shape", "1,3,8,8", "--threads", "1"]
    assert run_bench([*words, "--format", "json"]) == 0
    report = OperatorReport.model_validate(json.loads(capsys.readouterr().out))
    assert [one.variant for one in report.variants] == ["plain"]
    assert report.layers


@pytest.mark.slow
def test_variants_of_a_profile_are_compared(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(swept.root)
    words = ["profile", "--profile", "tiny", "--device", "x86-emulated"]
    pair = ["--variant", "channel-l2-50", "--variant", "channel-l2-50+int8"]
    assert run_bench([*words, *pair, "--format", "json"]) == 0
    report = OperatorReport.model_validate(json.loads(capsys.readouterr().out))
    assert [one.variant for one in report.variants] == ["channel-l2-50", "channel-l2-50+int8"]
    weighted = [row for row in report.layers if "Conv" in row.kind]
    assert weighted
    assert all(row.change_us is not None for row in weighted)
    assert report.findings[0].kind == "latency"
