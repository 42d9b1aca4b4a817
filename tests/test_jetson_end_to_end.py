"""`bench sweep --profile jetson-trt` against boards that look like a Jetson, with and without TensorRT."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from host.fleet import emulator
from host.workspace import Workspace
from tests.bench_command import bench, run_bench
from tests.fake_jetson import MODEL, POWER_W, start_jetson
from tests.tiny_workspace import make_tiny_workspace

pytestmark = pytest.mark.slow


class Swept(NamedTuple):
    """A workspace, the rows of its sweep of jetson-trt, and what was said meanwhile."""

    root: Path
    rows: list[dict[str, Any]]
    said: str


SHIPPED = Path(__file__).resolve().parent.parent / "profiles" / "jetson-trt.yaml"
SMALLER = {
    "model: mobilenet_v2-digits": "model: tiny",
    "round_to: 8": "round_to: 4",
    "epochs: 12": "epochs: 1",
    "measure: standard": "measure: {preset: quick, round_s: 0.2, warmup_s: 0.2}",
    "limits: {min_accuracy: 0.95}": "",
}


def make_jetson_workspace(root: Path) -> Path:
    """A workspace whose jetson-trt is the shipped one, with a model that trains in seconds."""
    make_tiny_workspace(root)
    text = SHIPPED.read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    (root / "profiles" / "jetson-trt.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def bare_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a Jetson on which nobody has installed TensorRT."""
    root = make_jetson_workspace(tmp_path_factory.mktemp("bare"))
    start_jetson(Workspace(root), "bare")
    yield root
    emulator.down(Workspace(root), "bare")


def test_a_jetson_tells_what_it_is(bare_root: Path) -> None:
    facts = json.loads(bench(bare_root, "devices", "probe", "bare", "--format", "json"))
    assert facts["board"] == MODEL
    assert facts["power_sources"][0]["name"] == "ina VDD_IN"
    assert "tensorrt" not in facts["runtimes"]


def test_without_tensorrt_a_sweep_says_so_before_anything_is_built(bare_root: Path) -> None:
    ended = run_bench(bare_root, "sweep", "--profile", "jetson-trt")
    assert ended.code == 2, ended.err
    assert "bare cannot run what it is asked to run:" in ended.err
    assert "tensorrt is not on the board. On a Jetson: sudo apt install nvidia-jetpack" in ended.err
    assert "--profile pi4" in ended.err
    cache = bare_root / ".boardbench" / "cache"
    assert [folder.name for folder in cache.iterdir()] == ["agents"]  # no packages, and nothing built
    assert "holds no runs yet" in bench(bare_root, "results", code=2)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """A workspace with a Jetson that has TensorRT 10.3, and what jetson-trt came to there."""
    root = make_jetson_workspace(tmp_path_factory.mktemp("orin"))
    start_jetson(Workspace(root), "orin", tensorrt="10.3.0")
    try:
        ended = run_bench(root, "sweep", "--profile", "jetson-trt", "--format", "json")
        assert ended.code == 0, ended.out + ended.err
        yield Swept(root, json.loads(ended.out), ended.err)
    finally:
        emulator.down(Workspace(root), "orin")


def test_every_precision_is_measured_with_and_without_pruned_channels(swept: Swept) -> None:
    assert [(row["variant"], row["precision"]) for row in swept.rows] == [
        ("dense", "fp32"),
        ("fp16", "fp16"),
        ("int8-tensorrt", "int8"),
        ("channel-l2-50", "fp32"),
        ("channel-l2-50+fp16", "fp16"),
        ("channel-l2-50+int8-tensorrt", "int8"),
    ]
    for row in swept.rows:
        assert (row["status"], row["error"]) == ("ok", None)
        assert (row["runtime"], row["provider"], row["runtime_version"]) == ("tensorrt", "GPU", "10.3.0")
        assert row["board"] == MODEL
        assert row["threads"] is None  # no thread of the host computes
        assert row["accuracy_device"] == pytest.approx(row["accuracy_host"], abs=0.03)
    assert swept.rows[0]["speedup"] == 1.0
    assert all(row["speedup"] is not None for row in swept.rows)


def test_engines_are_built_on_the_board_and_computing_is_timed_apart(swept: Swept) -> None:
    for row in swept.rows:
        assert row["build_s"] > 0
        assert row["compute_ms"] > 0
        assert row["runtime_settings"]["engine"] == "built"


def test_power_is_that_of_the_sensors_of_the_module(swept: Swept) -> None:
    for row in swept.rows:
        assert row["power"]["source"] == "ina VDD_IN"
        assert row["power"]["load_w"] == pytest.approx(POWER_W, rel=0.01)
        assert [one["phase"] for one in row["power"]["course"]] == ["idle", "load", "idle"]
        watts = [watts for one in row["power"]["course"] for _, watts in one["points"]]
        assert watts == [pytest.approx(POWER_W, rel=0.01)] * len(watts)
        assert row["power"]["energy_net_mj"] is None  # a sensor that never moves: no load stands out of idle


def test_what_only_looks_like_a_jetson_is_flagged(swept: Swept) -> None:
    assert all("emulated" in row["flags"] for row in swept.rows)
    assert all(row["is_emulated"] for row in swept.rows)


def test_the_provider_that_the_board_lacks_is_left_out_with_a_word(swept: Swept) -> None:
    assert "orin: TensorrtExecutionProvider is not on the board" in swept.said
    assert "6 measurements are left out" in swept.said


def test_a_second_sweep_takes_the_engines_from_the_cache(swept: Swept) -> None:
    words = ("sweep", "--profile", "jetson-trt", "--variant", "fp16", "--format", "json")
    (row,) = json.loads(bench(swept.root, *words))
    assert row["build_s"] is None
    assert row["runtime_settings"]["engine"] == "cached"


@pytest.mark.parametrize("version", ["8.2.1", "11.4.0"])
def test_the_same_files_run_with_the_tensorrt_of_every_jetpack(swept: Swept, version: str) -> None:
    name = f"trt{version.split('.')[0]}"
    start_jetson(Workspace(swept.root), name, tensorrt=version)
    words = ("sweep", "--profile", "jetson-trt", "--device", name, "--format", "json")
    rows = json.loads(bench(swept.root, *words))
    emulator.down(Workspace(swept.root), name)
    assert [(row["status"], row["runtime_version"]) for row in rows] == [("ok", version)] * 6
    assert [row["model_sha256"] for row in rows] == [row["model_sha256"] for row in swept.rows]
