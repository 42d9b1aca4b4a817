"""How a runtime is chosen on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.cli.main import run_bench
from host.cli.runtimes import settle_runtime
from tests.tiny_workspace import make_tiny_workspace


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runtime", "abacus"], "--runtime: "),
        (["--runtime", "openvino", "--provider", "CPUExecutionProvider"], "openvino"),
        (["--provider", "CUDA"], "--provider: expected a name such as"),
        (["--paced", "nan"], "expected a rate in Hz"),
    ],
)
def test_a_runtime_that_cannot_be_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    make_tiny_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_bench(["run", "m.onnx", "--device", "x", *words]) == 2
    assert said in capsys.readouterr().err


def test_each_runtime_has_its_own_provider_unless_one_is_named() -> None:
    names = ("onnxruntime", "openvino", "ncnn", "tensorrt")
    providers = [settle_runtime(name, None, None).provider for name in names]
    assert providers == ["CPUExecutionProvider", "CPU", "CPU", "GPU"]
    assert settle_runtime("onnxruntime", "CUDAExecutionProvider", 2, 4).threads == 2
