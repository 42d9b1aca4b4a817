"""Experiment trackers: what a measurement is there, read back from a real MLflow and from files of wandb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from host.ledger.rows import result_rows
from host.ledger.store import Ledger
from host.specs.measurement import Power
from host.tracking.records import LONGEST_TEXT, Outcome, Tracked, list_tracked, make_tracked, track_all
from host.workspace import Workspace
from tests.bench_command import BENCH, environment, run_bench
from tests.made_results import (
    make_failure,
    make_measurement,
    make_rounds,
    make_row,
    make_rows,
    make_run,
    make_sweep,
    make_unfit,
)

PRUNED = {"prune": {"granularity": "channel", "sparsity": 0.5, "finetune": None}, "quantize": None}


def test_a_measurement_has_settings_figures_tags_and_its_environment() -> None:
    row = make_row(
        flags=("busy",), runtime_settings={"spinning": False}, power=Power(source="rapl", energy_mj=7.0)
    )
    told = make_tracked(row, "p", PRUNED)
    assert told.parameters["device"] == "pi4"
    assert told.parameters["variant.prune.sparsity"] == "0.5"
    assert told.parameters["runtime_settings.spinning"] == "false"
    assert told.metrics["latency_ms.p50"] == row["latency_ms"]["p50"]
    assert told.metrics["power.energy_mj"] == 7.0
    assert (told.tags["flags"], told.tags["emulated"], told.tags["power_source"]) == ("busy", "no", "rapl")
    assert told.environment == {"before": {"governor": "performance"}}


def test_what_was_not_measured_has_no_metric() -> None:
    told = make_tracked(make_rows((make_failure("f", "x" * 2000, variant="big"), None))[0])
    assert not any(name.startswith("power.") for name in told.metrics)
    assert "latency_ms.p50" not in told.metrics
    assert not told.is_ok
    assert len(told.tags["error"]) == LONGEST_TEXT


def test_a_variant_that_no_board_was_asked_for_is_not_tracked() -> None:
    rows = make_rows(*make_sweep(), (make_unfit("u"), None))
    assert [told.name for told in list_tracked(make_run(), rows)] == [
        f"{name} on pi4 (onnxruntime, 1 thread)" for name in ("dense", "channel-50", "int8")
    ]


def test_a_measurement_is_the_same_one_until_its_result_is_another() -> None:
    first, again, later = (make_tracked(make_row(p50_ms=p50_ms)) for p50_ms in (5.0, 5.0, 6.0))
    assert (first.id, first.content) == (again.id, again.content)
    assert later.id == first.id
    assert later.content != first.content
    assert make_tracked(make_row(run="r2")).id != first.id


def test_outcomes_add_up() -> None:
    class Counting:
        where = "here"

        def track(self, measurement: Tracked) -> Outcome:
            return Outcome(known=1) if measurement.run == "r1" else Outcome(written=1)

    told = [make_tracked(make_row(run=run)) for run in ("r1", "r2", "r3")]
    assert track_all(told, Counting()) == Outcome(written=2, renewed=0, known=1)
    assert track_all([], Counting()) == Outcome()


def needs(name: str) -> pytest.MarkDecorator:
    """Skips where an extra is not installed, without importing it here."""
    return pytest.mark.skipif(find_spec(name) is None, reason=f"pip install 'boardbench[{name}]'")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with a run of four measurements, two of which failed."""
    (tmp_path / "devices.yaml").write_text("devices: {}\n")
    (dense, channel, _) = make_sweep(flags=("busy",))
    with Ledger.open(Workspace(tmp_path).ledger_url) as ledger:
        ledger.start_run(make_run())
        for measurement, p50_ms in (dense, channel):
            ledger.save(measurement, make_rounds(p50_ms))
        for task in ("again", "never"):
            ledger.save(make_failure(task, "no memory", variant=task), [])
    return tmp_path


def find_p50(root: Path, variant: str) -> float:
    with Ledger.open(Workspace(root).ledger_url) as ledger:
        (row,) = (row for row in result_rows(ledger) if row["variant"] == variant)
    return float(row["latency_ms"]["p50"])


def track(root: Path, *words: str, **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [*BENCH, "track", *words, "--format", "json"],
        cwd=root,
        env={**environment(), **env, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name("edge")
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([
    {"name": run.info.run_name, "status": run.info.status, "metrics": run.data.metrics,
     "params": run.data.params, "tags": run.data.tags, "environment": json.load(open(
         client.download_artifacts(run.info.run_id, "environment.json", sys.argv[2])))}
    for run in runs
]))
"""


def read_mlflow(root: Path, uri: str) -> dict[str, dict[str, Any]]:
    """What MLflow's own client says is there, by the names of runs."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_MLFLOW, uri, str(root)],
        cwd=root,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    found = {run["name"]: run for run in runs}
    assert len(found) == len(runs)
    return found


@needs("mlflow")
def test_mlflow_holds_every_measurement_once(root: Path) -> None:
    words = ("latest", "--to", "mlflow", "--project", "edge")
    assert track(root, *words)["written"] == 4
    with Ledger.open(
        Workspace(root).ledger_url
    ) as ledger:  # measured again after --resume, and well this time
        ledger.save(make_measurement("again", variant="again"), make_rounds(9.0))
    told = track(root, *words)
    assert (told["written"], told["renewed"], told["known"]) == (0, 1, 3)

    found = read_mlflow(root, f"sqlite:///{root / 'results' / 'mlflow.db'}")
    assert len(found) == 4
    dense = found["dense on pi4 (onnxruntime, 1 thread)"]
    assert dense["metrics"]["latency_ms.p50"] == find_p50(root, "dense")
    assert dense["params"]["device"] == "pi4"
    assert dense["tags"]["flags"] == "busy"
    assert dense["status"] == found["again on pi4 (onnxruntime, 1 thread)"]["status"] == "FINISHED"
    assert dense["environment"] == {"before": {"governor": "performance"}}
    failed = found["never on pi4 (onnxruntime, 1 thread)"]
    assert failed["status"] == "FAILED"
    assert "latency_ms.p50" not in failed["metrics"]
    assert "no memory" in failed["tags"]["error"]
    assert not (root / "mlruns").exists()


READ_WANDB = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

HEADER, BLOCK, LAST = 7, 32768, (1, 4)


def scan(file):
    # LevelDB's log: blocks of pieces: a checksum, a length, and whether it is whole, first, middle or last.
    data = open(file, "rb").read()
    assert data[:4] == b":W&B"
    at, held = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        held += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in LAST:
            yield held
            held = b""


def read(file):
    told = {"config": {}, "metrics": {}, "tags": [], "artifacts": [], "exit": None}
    for data in scan(file):
        record = pb.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            told |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group}
            told["project"] = record.run.project
            told["tags"] += list(record.run.tags)
            told["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            for item in record.history.item:
                told["metrics"][item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        if record.HasField("artifact"):
            told["artifacts"] += [entry.path for entry in record.artifact.manifest.contents]
        if record.HasField("exit"):
            told["exit"] = record.exit.exit_code
    return told


print(json.dumps([read(file) for file in sys.argv[1:]]))
"""


def read_wandb(files: list[Path]) -> list[dict[str, Any]]:
    """What the files of offline runs hold."""
    words = [sys.executable, "-W", "ignore", "-c", READ_WANDB, *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


@needs("wandb")
def test_files_of_an_offline_wandb_hold_every_measurement_once(root: Path) -> None:
    words = ("latest", "--to", "wandb", "--project", "edge")
    assert track(root, *words, WANDB_MODE="offline")["written"] == 4
    assert track(root, *words, WANDB_MODE="offline")["known"] == 4
    files = sorted((root / "results" / "wandb").glob("offline-run-*/*.wandb"))
    found = {told["name"]: told for told in read_wandb(files)}
    assert len(found) == len(files) == 4
    dense = found["dense on pi4 (onnxruntime, 1 thread)"]
    assert dense["metrics"]["latency_ms.p50"] == find_p50(root, "dense")
    assert (dense["project"], dense["group"], dense["tags"]) == ("edge", "r1", ["busy"])
    assert dense["config"]["device"] == "pi4"
    assert dense["artifacts"] == ["environment.json"]
    assert (dense["exit"], found["never on pi4 (onnxruntime, 1 thread)"]["exit"]) == (0, 1)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_with_the_command_that_installs_it(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from host.cli.main import run_bench as run_here

    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(root)
    assert run_here(["track", "latest", "--to", name]) == 2
    assert f"pip install 'boardbench[{name}]'" in capsys.readouterr().err


@needs("mlflow")
def test_a_store_that_cannot_be_used_is_a_clear_message(root: Path) -> None:
    (root / "broken.db").write_text("this is no database, and long enough to be read as one" * 20)
    ended = run_bench(root, "track", "r1", "--to", "mlflow", "--uri", f"sqlite:///{root / 'broken.db'}")
    assert ended.code == 2
    assert "MLflow at sqlite:///" in ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_does_not_exist_is_refused_before_a_tracker_is_opened(root: Path) -> None:
    ended = run_bench(root, "track", "r9", "--to", "mlflow")
    assert ended.code == 2
    assert "there is no run 'r9'" in ended.err
