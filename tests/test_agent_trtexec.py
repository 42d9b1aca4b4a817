"""TensorRT by trtexec on stand-ins of its releases, and the parsers of what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import loop_only
from device_agent.run import BUILD_TIMEOUT_S, OPEN_TIMEOUT_S, choose_open_timeout
from device_agent.runtimes import tensorrt, tensorrt_recipe, trtexec, trtexec_engine, trtexec_output
from device_agent.runtimes.child import run_child
from device_agent.runtimes.session import Opening, RuntimeMissing, Session
from device_agent.runtimes.trtexec_engine import TrtexecFailed
from device_agent.validity import median
from host.fleet.agent_archive import build_agent
from host.fleet.journal import parse_event
from tests.agent_board import IMAGES, PROTOCOL, Board, make_model, pick, unpack
from tests.stand_ins import installing
from tests.test_agent_tensorrt import make_gather_model, make_half_model, make_quantized_model

RELEASES = ("8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.4.0")

Open = Callable[..., Session]

# As its source and public logs tell that 8.2 prints, written for these tests; so is a file of --exportTimes.
LOG = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --loadEngine=e --exposeDMA --useSpinWait
[11/21/2022-15:04:05] [I] === Inference Options ===
[11/21/2022-15:04:05] [I] Batch: Explicit
[11/21/2022-15:04:05] [I] Duration: 3s (+ 200ms warm up)
[11/21/2022-15:04:05] [I] ExposeDMA: Enabled
[11/21/2022-15:04:05] [I] Data transfers: Enabled
[11/21/2022-15:04:05] [I] Spin-wait: Enabled
[11/21/2022-15:04:05] [I] CUDA Graph: Disabled
[11/21/2022-15:04:05] [I] === Device Information ===
[11/21/2022-15:04:05] [I] Selected Device: NVIDIA Tegra X1
[11/21/2022-15:04:05] [I] Compute Capability: 5.3
[11/21/2022-15:04:06] [I] Starting inference
&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec --loadEngine=e --exposeDMA --useSpinWait
"""
TIMES = """\
[
  { "startEnqMs" : 0.0185, "endEnqMs" : 1.2, "startH2dMs" : 0.02, "endH2dMs" : 0.12, "startComputeMs" : 0.12\
, "endComputeMs" : 5.62, "startD2hMs" : 5.62, "endD2hMs" : 5.67, "h2dMs" : 0.1, "computeMs" : 5.5\
, "d2hMs" : 0.05, "latencyMs" : 5.65, "endToEndMs" : 5.65 }
, { "startEnqMs" : 6.1, "endEnqMs" : 7.2, "startH2dMs" : 6.1, "endH2dMs" : 6.2, "startComputeMs" : 6.2\
, "endComputeMs" : 11.6, "startD2hMs" : 11.6, "endD2hMs" : 11.65, "h2dMs" : 0.1, "computeMs" : 5.4\
, "d2hMs" : 0.05, "latencyMs" : 5.55, "endToEndMs" : 5.55 }
]
"""
OLD_TIME = '[{ "startInMs" : 0, "endInMs" : 1, "inMs" : 1, "computeMs" : 2, "outMs" : 1, "latencyMs" : 4 }]'


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("v8001", "8.0.1"), ("v8201", "8.2.1"), ("v8602", "8.6.2"), ("v100300", "10.3.0"),
        ("v101600", "10.16.0"), ("v110400", "11.4.0"), ("v11.1.0.106", "11.1.0.106"),
    ],
)  # fmt: skip
def test_the_banner_tells_the_version(told: str, expected: str) -> None:
    text = f"&&&& RUNNING TensorRT.trtexec [TensorRT {told}] [b26] # trtexec --help\n=== Model Options ==="
    assert trtexec_output.parse_version(text) == expected
    assert trtexec_output.parse_version("trtexec: command not found") is None


def test_an_option_is_known_by_a_line_of_its_own() -> None:
    text = (
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help\n"
        "  --onnx=<file>               ONNX model\n"
        "  --versionCompatible, --vc   Mark the engine as version compatible.\n"
        "                              --skipInference is enabled by default\n"
    )
    assert trtexec_output.parse_options(text) == {"--onnx", "--versionCompatible"}


def test_times_are_read_from_every_release() -> None:
    assert trtexec_output.parse_times(TIMES) == [(5.65, 5.5, 0.1), (5.55, 5.4, 0.1)]
    assert trtexec_output.parse_times(OLD_TIME) == [(4, 2, 1)]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[3]", "[{}]", '[{"latencyMs": 1, "computeMs": 1}]', TIMES[:300], TIMES.replace("5.65", "inf"),
     TIMES.replace("5.55", "0"), TIMES.replace("5.65", "-nan"), TIMES.replace("5.5,", "null,")],
)  # fmt: skip
def test_a_file_of_times_in_another_form_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        trtexec_output.parse_times(text)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("Data transfers: Enabled", "Data transfers: Disabled"),
        ("CUDA Graph: Disabled", "CUDA Graph: Enabled"),
        ("Spin-wait: Enabled", "Spin-wait: Disabled"),
        ("ExposeDMA: Enabled", "ExposeDMA: Disabled"),
    ],
)
def test_a_run_under_other_conditions_is_seen_in_its_log(line: str, wrong: str) -> None:
    assert trtexec_output.find_deviations(LOG) == []
    assert trtexec_output.find_deviations(LOG.replace(line, wrong)) == [wrong]


def test_the_log_tells_the_gpu_and_the_verdict() -> None:
    settings = trtexec_output.parse_settings(LOG)
    assert (settings["Selected Device"], settings["Compute Capability"]) == ("NVIDIA Tegra X1", "5.3")
    assert trtexec_output.has_passed(LOG)
    assert not trtexec_output.has_passed(LOG.replace("PASSED", "FAILED"))
    assert not trtexec_output.has_passed(LOG.rpartition("&&&&")[0])


def test_the_reason_is_what_was_logged_as_an_error() -> None:
    text = LOG + "[11/21/2022-15:04:07] [E] Engine deserialization failed\n  --onnx  of the help\n"
    assert trtexec_output.find_reason(text) == "Engine deserialization failed"
    assert trtexec_output.find_reason("Illegal instruction\n\n") == "Illegal instruction"


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def program(release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trtexec of a release on the PATH of a board whose Python has no tensorrt."""
    for name, value in installing.install_trtexec(tmp_path / "bin", release).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as Python marks what it cannot import
    return str(tmp_path / "bin" / "trtexec")


@pytest.fixture
def open_model(program: str, tmp_path: Path) -> Iterator[Open]:
    opened: list[Session] = []

    def open_one(model: bytes, feed: dict[str, Any], **changes: Any) -> Session:
        path = tmp_path / "model"
        path.write_bytes(model)
        asked = Opening(
            model=str(path), sha256="0" * 64, provider="GPU", threads=None, options={}, feed=feed,
            cache=str(tmp_path / "engines"),
        )  # fmt: skip
        opened.append(tensorrt.load().open(asked._replace(**changes)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def time_loop(session: Session, seconds: float, least: int) -> Any:
    assert session.time_loop is not None
    return session.time_loop(seconds, least)


def list_files(tmp_path: Path) -> list[str]:
    return sorted(one.name.partition(".")[2] for one in (tmp_path / "engines").rglob("*") if one.is_file())


def test_every_release_builds_once_and_runs(open_model: Open, tmp_path: Path) -> None:
    built, again = (open_model(make_quantized_model("n"), {"x": IMAGES[:2]}) for _ in range(2))
    assert built.describe().build_s is not None
    assert again.describe().build_s is None
    assert again.describe().settings["precisions"] == ["int8"]
    loop = time_loop(again, 0, 5)
    assert len(loop.durations_ns) == 5
    assert loop.compute_ms < median(loop.durations_ns) / 1e6
    assert loop.peak_mb > 1
    built.close()
    again.close()
    assert list_files(tmp_path) == ["engine"]


@pytest.mark.parametrize("release", ["8.2.1", "10.3.0", "11.4.0"], indirect=True)
def test_halves_and_indices_of_64_bits_are_taken(open_model: Open) -> None:
    halves = open_model(make_half_model(), {"x": np.ones((1, 8), dtype=np.float16)})
    assert halves.describe().settings["precisions"] == ["fp16"]
    open_model(make_gather_model(), {"x": np.array([9, 0, 4])}, sha256="1" * 64)


@pytest.mark.parametrize("release", ["8.2.1", "11.4.0"], indirect=True)
def test_what_a_time_means_is_said(open_model: Open, release: str) -> None:
    described = open_model(make_model(), {"x": IMAGES[:1]}).describe()
    settings = described.settings
    assert (described.provider, described.nodes) == ("GPU", None)
    assert (settings["via"], settings["gpu"], settings["compute_capability"]) == ("trtexec", "Orin", "8.7")
    assert settings["clock"] == "CUDA events: H2D + compute + D2H"
    assert settings["strongly_typed"] == (release == "11.4.0")
    assert settings["quality"].startswith("not measured")


@pytest.mark.parametrize("release", ["10.3.0"], indirect=True)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_engine_is_built_anew(open_model: Open, tmp_path: Path, share: float) -> None:
    open_model(make_model(), {"x": IMAGES[:1]})
    (engine,) = (tmp_path / "engines").rglob("*.engine")
    whole = engine.read_bytes()
    engine.write_bytes(whole[: int(share * len(whole))])
    assert open_model(make_model(), {"x": IMAGES[:1]}).describe().build_s is not None
    assert engine.read_bytes() == whole


@pytest.mark.parametrize("release", ["8.2.1"], indirect=True)
def test_a_model_that_cannot_be_built_leaves_its_reason_and_no_engine(
    open_model: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = tensorrt_recipe.write_recipe
    monkeypatch.setattr(
        trtexec, "write_recipe", lambda asked, types: forget(asked, types)._replace(precisions=[])
    )
    with pytest.raises(TrtexecFailed, match=r"(?s)exit code 1: .*int8 is not configured in the builder"):
        open_model(make_quantized_model(), {"x": IMAGES[:1]})
    assert not list((tmp_path / "engines").rglob("*.engine"))


@pytest.mark.parametrize("release", ["8.5.2"], indirect=True)
def test_an_option_that_there_is_not_is_refused(open_model: Open) -> None:
    with pytest.raises(ValueError, match="no option 'streams'"):
        open_model(make_model(), {"x": IMAGES[:1]}, options={"streams": 2})
    with pytest.raises(RuntimeMissing, match="has no DLA"):
        open_model(make_model(), {"x": IMAGES[:1]}, provider="DLA")


@pytest.mark.parametrize("release", ["10.3.0", "11.4.0"], indirect=True)
def test_times_without_transfers_are_no_latency(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_TRTEXEC_TRANSFERS", "off")
    with pytest.raises(TrtexecFailed, match="not measure as it was told: Data transfers: Disabled"):
        open_model(make_model(), {"x": IMAGES[:1]})
    monkeypatch.setattr(trtexec_engine, "find_deviations", lambda _: [])
    with pytest.raises(TrtexecFailed, match="left the transfers out"):
        open_model(make_model(), {"x": IMAGES[:1]})


@pytest.mark.parametrize("release", ["10.3.0"], indirect=True)
def test_a_trtexec_that_hangs_is_ended(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_model(make_model(), {"x": IMAGES[:1]})
    monkeypatch.setenv("STAND_IN_TRTEXEC_DELAY_S", "500")
    monkeypatch.setattr(trtexec_engine, "_START_TIMEOUT_S", 3.0)
    with pytest.raises(TrtexecFailed, match="did not end within 3 s"):
        time_loop(session, 0, 1)


def test_an_unknown_option_fails_as_the_real_one_does(program: str) -> None:
    child = subprocess.run([program, "--onnx=m", "--frobnicate=3"], capture_output=True, text=True)
    assert child.returncode == 1
    assert "[E] Unknown option: --frobnicate 3" in child.stdout
    assert child.stdout.splitlines()[-1].startswith("&&&& FAILED TensorRT.trtexec [TensorRT v")


@pytest.mark.parametrize(
    ("release", "refused"),
    [
        ("8.2.1", "--memPoolSize"), ("8.2.1", "--stronglyTyped"), ("8.5.2", "--skipInference"),
        ("10.3.0", "--workspace"), ("10.3.0", "--buildOnly"), ("11.4.0", "--fp16"), ("11.4.0", "--int8"),
        ("10.3.0", "--includeDataTransfers"),
    ],
    indirect=["release"],
)  # fmt: skip
def test_the_stand_in_knows_no_option_of_another_release(program: str, refused: str) -> None:
    child = subprocess.run([program, "--onnx=m", refused], capture_output=True, text=True)
    assert child.returncode == 1
    assert f"Unknown option: {refused}" in child.stdout


def test_the_probe_is_told_that_it_is_trtexec(program: str, release: str) -> None:
    described = tensorrt.describe()
    assert described is not None
    assert (described["version"], described["providers"], described["via"]) == (release, ["GPU"], "trtexec")


def test_a_trtexec_that_does_not_run_is_missing(tmp_path: Path) -> None:
    broken = tmp_path / "trtexec"
    broken.write_text("#!/bin/sh\necho error while loading shared libraries: libnvinfer.so.8\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeMissing, match="libnvinfer"):
        trtexec.load(str(broken))
    with pytest.raises(RuntimeMissing, match="does not run"):
        trtexec.load(str(tmp_path / "nothing"))


def test_a_name_with_a_colon_is_quoted() -> None:
    from device_agent.runtimes.tensorrt_recipe import Recipe
    from device_agent.runtimes.trtexec_options import write_shapes

    recipe = Recipe("m", "0", [], {"Input:0": [1, 3], "mask": [2]}, ["Input:0", "mask"], 256)
    assert write_shapes(recipe) == "'Input:0':1x3,mask:2"


def test_a_program_dies_with_its_worker(tmp_path: Path) -> None:
    """A killed worker must not leave a trtexec on the GPU."""
    pid = tmp_path / "pid"
    code = (
        "import sys; from device_agent.runtimes.child import run_child; "
        f"run_child(['sh', '-c', 'echo $$ > {pid}; exec sleep 500'], {str(tmp_path / 'log')!r}, 500)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    worker.kill()
    worker.wait()
    wait_until(lambda: not Path("/proc", pid.read_text().strip(), "exe").exists())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_programs_memory_is_its_own(tmp_path: Path) -> None:
    code = "held = bytearray(200 << 20); print('done')"
    finished = run_child([sys.executable, "-c", code], str(tmp_path / "log"), 60)
    assert (finished.code, finished.text, finished.is_late) == (0, "done\n", False)
    assert finished.peak_mb > 200


RULES = dict(PROTOCOL, warmup_inferences=3, warmup_s=5e-9, round_samples=4, steady_window=2)


def test_the_start_of_a_loop_is_its_warm_up() -> None:
    split = loop_only.split_loop([9, 8, 7, 1, 1, 1, 1, 1, 1], RULES)
    assert split == (3, pytest.approx(24e-9), [1, 1, 1, 1, 1, 1], True)


def test_a_loop_that_is_still_getting_faster_is_not_steady() -> None:
    assert not loop_only.split_loop([90, 80, 70, 60, 50, 20, 10, 9, 8], RULES).is_steady


def test_a_short_loop_keeps_as_many_samples_as_a_round_needs() -> None:
    split = loop_only.split_loop([1] * 9, dict(RULES, warmup_s=60.0))
    assert (split.warmup_count, len(split.samples_ns)) == (5, 4)


def test_a_paced_load_is_refused() -> None:
    rounds = loop_only.LoopRounds(lambda *_: pytest.fail("it runs"), dict(RULES, scenario="paced"))
    with pytest.raises(ValueError, match="back to back only"):
        rounds.measure()
    with pytest.raises(ValueError, match="no sustained load"):
        rounds.sustain(lambda _: None)


@pytest.mark.parametrize(
    ("runtime", "provider", "expected"),
    [
        ("tensorrt", "GPU", BUILD_TIMEOUT_S),
        ("onnxruntime", "TensorrtExecutionProvider", BUILD_TIMEOUT_S),
        ("onnxruntime", "CPUExecutionProvider", OPEN_TIMEOUT_S),
    ],
)
def test_what_builds_engines_may_take_longer_to_open(runtime: str, provider: str, expected: float) -> None:
    assert choose_open_timeout({"runtime": runtime, "provider": provider}) == expected


@pytest.mark.parametrize("release", ["8.2.1"], indirect=True)
def test_a_run_measures_all_that_trtexec_can_tell(program: str, tmp_path: Path) -> None:
    board = Board(tmp_path / "work", build_agent(tmp_path).path)
    task = board.describe_task("trt", make_model(), runtime="tensorrt", provider="GPU", threads=None)
    meter = {"command": ["sh", "-c", "while :; do echo 1 5.0; sleep 0.1; done"]}
    board.put_job("r", task, meter=meter)
    events = board.measure("r")
    (result,) = pick(events, "result")
    assert result["status"] == "ok", result
    measured = result["measurement"]
    assert measured["accuracy"] is None
    assert measured["agreement"] is None
    assert measured["power"]["energy_mj"] is None
    assert measured["power"]["note"].startswith("not measured: every loop of this runtime is a process")
    assert 0 < measured["compute_ms"] < measured["first_inference_ms"]
    assert measured["build_s"] > 0
    assert measured["memory_mb"]["baseline"] is None
    assert measured["memory_mb"]["peak"] > 1
    rounds = pick(events, "round")
    assert len(rounds) == PROTOCOL["rounds"]
    for one in rounds:
        samples = unpack(one)
        assert len(samples) == one["count"] >= PROTOCOL["round_samples"]
        assert one["warmup"]["inferences"] >= PROTOCOL["warmup_inferences"]
        assert median(samples) / 1e6 > measured["compute_ms"] / 10
    for event in board.read_journal_lines("r"):
        parse_event(event)
